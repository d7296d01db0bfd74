"""Windows of time: the quarter-hour from which all of them are made."""

from dataclasses import dataclass
from typing import Final

from domain.clock import MILLISECONDS_PER_SECOND
from domain.errors import InvalidRequestError

QUARTER_S: Final = 900
"""The base window: every zone's offset is a multiple of it, so hours and days of any zone are made of whole ones."""

QUARTER_MS: Final = QUARTER_S * MILLISECONDS_PER_SECOND


def quarter_of(ts_ms: int) -> int:
    """Start of the quarter-hour that holds a time, both in milliseconds since 1970.

    >>> quarter_of(1_767_225_600_000 + 899_999)
    1767225600000
    """
    return ts_ms - ts_ms % QUARTER_MS


@dataclass(frozen=True, slots=True)
class Step:
    """The length of windows: a fixed number of seconds, or of calendar days or months of a zone.

    Exactly one of the three isn't 0. Seconds follow the zone's clock: see `aggregations.calendars`.
    """

    text: str
    seconds: int = 0
    days: int = 0
    months: int = 0

    @property
    def least_s(self) -> int:
        """What it lasts at least, whatever clocks and calendars do; short steps are judged by it."""
        return self.seconds or self.days * 82_800 or self.months * 2_415_600


def _fixed(text: str, seconds: int) -> tuple[str, Step]:
    return text, Step(text, seconds=seconds)


STEPS: Final[dict[str, Step]] = dict(
    [
        *(_fixed(f"PT{seconds}S", seconds) for seconds in (1, 2, 5, 10, 15, 30)),
        *(_fixed(f"PT{minutes}M", 60 * minutes) for minutes in (1, 2, 3, 5, 10, 15, 30)),
        *(_fixed(f"PT{hours}H", 3600 * hours) for hours in (1, 2, 3, 4, 6, 8, 12)),
        ("P1D", Step("P1D", days=1)),
        ("P1W", Step("P1W", days=7)),
        *((f"P{months}M", Step(f"P{months}M", months=months)) for months in (1, 3, 6)),
        ("P1Y", Step("P1Y", months=12)),
    ]
)
"""The steps that there are, by their ISO 8601 text, from short to long: parts of an hour, of a day, of a year."""


def step_of(text: str) -> Step:
    """The step of an ISO 8601 duration. Raises InvalidRequestError for one that isn't among STEPS.

    >>> step_of("P1M").months
    1
    """
    found = STEPS.get(text)
    if found is None:
        raise InvalidRequestError(f"steps are {', '.join(STEPS)}", field="step")
    return found
