"""Windows of time: the quarter-hour from which all of them are made, and how long they may be."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from domain.clock import MILLISECONDS_PER_SECOND
from domain.errors import InvalidRequestError

QUARTER_S: Final = 900
"""The base window: every zone's offset is a multiple of it, so hours and days of any zone are made of whole ones."""

QUARTER_MS: Final = QUARTER_S * MILLISECONDS_PER_SECOND

HOUR_S: Final = 3600
DAY_S: Final = 86_400
WEEK_S: Final = 7 * DAY_S
MONTHS_PER_YEAR: Final = 12
_MONTH_DAYS_LEAST, _MONTH_DAYS_MOST = 28, 31

ORIGIN: Final = datetime(2000, 1, 3)  # noqa: DTZ001 - what a zone's clock shows, in whatever zone
"""A Monday's midnight on the zone's clock, from which windows of weeks, days and time are counted, both ways."""

_ORIGIN_MONTH: Final = 2000 * MONTHS_PER_YEAR
"""January 2000, from which windows of months and years are counted."""

SECONDS_MAX: Final = 366 * DAY_S
"""A leap year, the longest step."""


def quarter_of(ts_ms: int) -> int:
    """Start of the quarter-hour that holds a time, both in milliseconds since 1970.

    >>> quarter_of(1_767_225_600_000 + 899_999)
    1767225600000
    """
    return ts_ms - ts_ms % QUARTER_MS


@dataclass(frozen=True, slots=True)
class Step:
    """The length of windows: seconds on a zone's clock, or months of its calendar; one of the two is 0.

    A day is 86,400 seconds on the clock, however long it lasts: see `aggregations.calendars`.
    """

    seconds: int = 0
    months: int = 0

    @property
    def text(self) -> str:
        """The shortest ISO 8601 duration of one part.

        >>> Step(5400).text, Step(7 * 86_400).text, Step(months=12).text
        ('PT90M', 'P1W', 'P1Y')
        """
        if self.months:
            return "P1Y" if self.months == MONTHS_PER_YEAR else f"P{self.months}M"
        for length, before, behind in (
            (WEEK_S, "P", "W"),
            (DAY_S, "P", "D"),
            (HOUR_S, "PT", "H"),
            (60, "PT", "M"),
        ):
            if self.seconds % length == 0:
                return f"{before}{self.seconds // length}{behind}"
        return f"PT{self.seconds}S"

    @property
    def least_s(self) -> int:
        """About what it lasts at least, as clocks and calendars go; how many windows there are is judged by it."""
        if self.months:
            return self.months * _MONTH_DAYS_LEAST * DAY_S - HOUR_S
        return self.seconds if self.seconds < DAY_S else self.seconds - HOUR_S

    @property
    def most_s(self) -> int:
        """What it lasts at most, but for changes of the clock."""
        return self.seconds or self.months * _MONTH_DAYS_MOST * DAY_S

    @property
    def is_of_days(self) -> bool:
        """Whether its windows are made of whole days."""
        return self.seconds % DAY_S == 0

    @property
    def is_of_quarters(self) -> bool:
        """Whether its windows are made of whole quarter-hours, as every zone has them."""
        return self.seconds % QUARTER_S == 0

    def number_at(self, clock: datetime) -> int:
        """Which window a clock's time lies in, counted from the origin.

        >>> Step(90 * 60).number_at(datetime(2000, 1, 3, 3, 0)), Step(months=3).number_at(datetime(1999, 12, 31))
        (2, -1)
        """
        if self.months:
            return (clock.year * MONTHS_PER_YEAR + clock.month - 1 - _ORIGIN_MONTH) // self.months
        return (clock - ORIGIN) // timedelta(seconds=self.seconds)

    def begins_at(self, number: int) -> datetime:
        """The clock's time at which the window of a number begins.

        >>> Step(90 * 60).begins_at(2), Step(months=3).begins_at(-1)
        (datetime.datetime(2000, 1, 3, 3, 0), datetime.datetime(1999, 10, 1, 0, 0))
        """
        if self.months:
            year, month = divmod(_ORIGIN_MONTH + number * self.months, MONTHS_PER_YEAR)
            return datetime(year, month + 1, 1)  # noqa: DTZ001 - a clock's time
        return ORIGIN + number * timedelta(seconds=self.seconds)


_DURATION: Final = re.compile(
    r"P(?=.)(?:(?P<years>\d{1,9})Y)?(?:(?P<months>\d{1,9})M)?(?:(?P<weeks>\d{1,9})W)?(?:(?P<days>\d{1,9})D)?"
    r"(?:T(?=.)(?:(?P<hours>\d{1,9})H)?(?:(?P<minutes>\d{1,9})M)?(?:(?P<seconds>\d{1,9})S)?)?",
    re.ASCII,
)


def step_of(text: str) -> Step:
    """The step of an ISO 8601 duration from PT1S to P1Y. Raises InvalidRequestError.

    >>> step_of("P1DT12H"), step_of("P3M")
    (Step(seconds=129600, months=0), Step(seconds=0, months=3))
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise InvalidRequestError(
            "a step is an ISO 8601 duration of whole numbers, such as PT15M, P1D or P1M", field="step"
        )
    parts = {name: int(digits or 0) for name, digits in found.groupdict().items()}
    months = parts.pop("years") * MONTHS_PER_YEAR + parts.pop("months")
    seconds = (
        int(timedelta(**parts).total_seconds()) if max(parts.values()) <= SECONDS_MAX else SECONDS_MAX + 1
    )
    if months and seconds:
        raise InvalidRequestError(
            "months differ in length: a step is of years and months, or of weeks, days and time, and not of both",
            field="step",
        )
    if not months and not seconds:
        raise InvalidRequestError("the shortest step is a second", field="step", limit="PT1S")
    if months > MONTHS_PER_YEAR or seconds > SECONDS_MAX:
        raise InvalidRequestError("the longest step is a year", field="step", limit="P1Y")
    return Step(seconds, months)


DAY: Final = Step(DAY_S)

USUAL_STEPS: Final = tuple(
    map(
        step_of,
        (
            *("PT1S", "PT2S", "PT5S", "PT10S", "PT15S", "PT30S"),
            *("PT1M", "PT2M", "PT3M", "PT5M", "PT10M", "PT15M", "PT30M"),
            *("PT1H", "PT2H", "PT3H", "PT4H", "PT6H", "PT8H", "PT12H"),
            *("P1D", "P1W", "P1M", "P3M", "P6M", "P1Y"),
        ),
    )
)
"""Steps that are proposed where one asks for too many windows, from short to long: parts of an hour, a day, a year."""
