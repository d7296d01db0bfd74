"""Time as the engine sees it: injected, anchored to the monotonic clock, and guarded against jumps."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

MILLISECONDS_PER_SECOND = 1000


def to_ms(moment: datetime) -> int:
    """Milliseconds since 1970 of an aware datetime, floored.

    >>> to_ms(datetime(2026, 1, 1, tzinfo=UTC))
    1767225600000
    """
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * MILLISECONDS_PER_SECOND + delta.microseconds // 1000


def rfc3339(moment: datetime) -> str:
    """A moment of any zone as RFC 3339 text in UTC, cut to the millisecond.

    >>> rfc3339(datetime(2026, 1, 31, 12, 0, 0, 1999, UTC))
    '2026-01-31T12:00:00.001Z'
    """
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def from_ms(ms: int) -> datetime:
    """The aware UTC datetime of milliseconds since 1970.

    >>> from_ms(1767225600000).isoformat()
    '2026-01-01T00:00:00+00:00'
    """
    seconds, rest = divmod(ms, MILLISECONDS_PER_SECOND)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest * 1000)


@dataclass(slots=True)
class AnchoredClock:
    """Wall-clock milliseconds that follow the monotonic clock between readings of the wall clock.

    Small corrections of the wall clock are followed. A jump of more than `jump_ms_max` against the monotonic
    clock freezes the clock: it goes on by the monotonic clock alone, and `jumped_by_ms` is not None until
    `confirm` accepts the wall clock as it is. Engine rule E6.
    """

    wall_ms: Callable[[], int]
    monotonic_ms: Callable[[], int]
    jump_ms_max: int = 60_000
    _anchor_wall_ms: int = field(init=False)
    _anchor_monotonic_ms: int = field(init=False)
    _jumped_by_ms: int | None = field(init=False, default=None)
    _latest_ms: int = field(init=False)

    def __post_init__(self) -> None:
        self._anchor_wall_ms = self.wall_ms()
        self._anchor_monotonic_ms = self.monotonic_ms()
        self._latest_ms = self._anchor_wall_ms

    def now_ms(self) -> int:
        """Milliseconds since 1970; never behind an earlier answer, unless a jump back was confirmed."""
        expected = self._anchor_wall_ms + self.monotonic_ms() - self._anchor_monotonic_ms
        if self._jumped_by_ms is None:
            drift = self.wall_ms() - expected
            if abs(drift) > self.jump_ms_max:
                self._jumped_by_ms = drift
            else:
                self._anchor_wall_ms += drift
                expected += drift
        self._latest_ms = max(self._latest_ms, expected)
        return self._latest_ms

    @property
    def jumped_by_ms(self) -> int | None:
        """How far the wall clock jumped, while that is unconfirmed."""
        return self._jumped_by_ms

    def require_confirmation(self, jumped_by_ms: int) -> None:
        """Freeze because of evidence from outside, such as stored arrivals that lie in the future."""
        self._jumped_by_ms = jumped_by_ms

    def confirm(self) -> None:
        """Accept the wall clock as it is now and go on from there."""
        self._anchor_wall_ms = self.wall_ms()
        self._anchor_monotonic_ms = self.monotonic_ms()
        self._latest_ms = self._anchor_wall_ms
        self._jumped_by_ms = None
