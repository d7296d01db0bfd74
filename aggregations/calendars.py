"""Where the windows of a step begin in a zone, as its clock and its calendar have them."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from domain.clock import MILLISECONDS_PER_SECOND, from_ms, to_ms
from domain.readings import Int64Array
from domain.windows import DAY_S, HOUR_S, ORIGIN, Step


def window_starts(step: Step, zone: ZoneInfo, from_ms_: int, to_ms_: int) -> Int64Array:
    """Starts of the windows that overlap from <= t < to, and behind them the end of the last: int64[k + 1], ms.

    Windows are counted on the zone's clock and calendar, from the origin of `domain.windows`. Those of at most an
    hour lie between two changes of the clock: a change ends one and begins another, so the hour that comes twice has
    its own ones twice. Longer ones begin with the first moment at which the clock shows their time or, where that is
    skipped, a later one, so that one lasts longer or shorter where clocks change.
    """
    if step.seconds and step.seconds <= HOUR_S:
        return _by_clock(step, zone, from_ms_, to_ms_)
    starts: list[int] = []
    for _, start in _numbered(step, zone, from_ms_):
        if starts and start <= from_ms_:
            starts.pop()
        starts.append(start)
        if start >= to_ms_:
            break
    return np.array(starts, np.int64)


@dataclass(frozen=True, slots=True)
class CalendarWindow:
    """A window of whole days: where it begins in one zone, and its days wherever: first <= day < behind."""

    starts_ms: int
    first: date
    behind: date


def calendar_windows(step: Step, zone: ZoneInfo, from_ms_: int, to_ms_: int) -> list[CalendarWindow]:
    """The windows of a step of days that begin in from <= t < to in a zone."""
    found: list[CalendarWindow] = []
    for number, start in _numbered(step, zone, from_ms_):
        if start >= to_ms_:
            break
        if start >= from_ms_:
            first, behind = (step.begins_at(one).date() for one in (number, number + 1))
            found.append(CalendarWindow(start, first, behind))
    return found


def _numbered(step: Step, zone: ZoneInfo, from_ms_: int) -> Iterator[tuple[int, int]]:
    """Numbers and starts of windows longer than an hour, from one at or before `from` on, without end."""
    number = step.number_at(_clock_at(from_ms(from_ms_), zone)) - 1
    start, behind = (_start_of(step, zone, one) for one in (number, number + 1))
    while True:
        # A day that is skipped as a whole has no window.
        if start < behind:
            yield number, start
        number, start, behind = number + 1, behind, _start_of(step, zone, number + 2)


def _start_of(step: Step, zone: ZoneInfo, number: int) -> int:
    return to_ms(first_moment(step.begins_at(number), zone))


def day_bounds(day: date, zone: ZoneInfo) -> tuple[int, int]:
    """First moment of a day and of the next in a zone, milliseconds since 1970; equal for a day that is skipped.

    >>> [bound // 3_600_000 for bound in day_bounds(date(1970, 1, 1), ZoneInfo("Europe/Zurich"))]
    [-1, 23]
    """
    starts = (first_moment(datetime.combine(one, time()), zone) for one in (day, day + timedelta(days=1)))
    begins, ends = (to_ms(start) for start in starts)
    return begins, ends


def first_moment(local: datetime, zone: ZoneInfo) -> datetime:
    """The first moment at which a zone's clock shows a time or, where it skips that, a later one; in UTC."""
    candidate = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if _clock_at(candidate, zone) == local:
        return candidate
    # Before the clock is put forward it runs behind, after it ahead: the moment of the change lies between.
    before, after = local.replace(tzinfo=zone, fold=1).astimezone(UTC), candidate
    while after - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=(after - before) // timedelta(seconds=2))
        before, after = (before, middle) if _clock_at(middle, zone) >= local else (middle, after)
    return after


def _clock_at(moment: datetime, zone: ZoneInfo) -> datetime:
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def _by_clock(step: Step, zone: ZoneInfo, from_ms_: int, to_ms_: int) -> Int64Array:
    """Windows of at most an hour; each stretch of one offset has its own, and begins one."""
    length_ms = step.seconds * MILLISECONDS_PER_SECOND
    origin_ms = to_ms(ORIGIN.replace(tzinfo=UTC))
    parts = []
    for begins, ends, offset_ms in _offsets(zone, from_ms_ - HOUR_S * 1000, to_ms_ + HOUR_S * 1000):
        first = begins - (begins + offset_ms - origin_ms) % length_ms
        part = np.arange(first, ends, length_ms, dtype=np.int64)
        part[0] = begins
        parts.append(part)
    starts = np.concatenate(parts)
    first_kept = np.searchsorted(starts, from_ms_, "right") - 1
    return starts[first_kept : np.searchsorted(starts, to_ms_, "left") + 1]


def _offsets(zone: ZoneInfo, from_ms_: int, to_ms_: int) -> Iterator[tuple[int, int, int]]:
    """The stretches of from <= t < to in which a zone keeps one offset: begin, end, offset, in milliseconds."""
    begins, offset_ms = from_ms_, _offset_ms(zone, from_ms_)
    checked = from_ms_
    while checked < to_ms_:
        # Two changes within a day that cancel each other out are not known of any zone.
        reached = min(checked + DAY_S * 1000, to_ms_)
        changed_ms = _offset_ms(zone, reached)
        if changed_ms != offset_ms:
            low, high = checked, reached
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if _offset_ms(zone, middle) == offset_ms else (low, middle)
            yield begins, high, offset_ms
            begins, offset_ms = high, changed_ms
        checked = reached
    if begins < to_ms_:
        yield begins, to_ms_, offset_ms


def _offset_ms(zone: ZoneInfo, moment_ms: int) -> int:
    offset = from_ms(moment_ms).astimezone(zone).utcoffset()
    return 0 if offset is None else offset // timedelta(milliseconds=1)
