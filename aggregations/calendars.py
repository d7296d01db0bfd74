"""Where the windows of a step begin in a zone: hours, days, weeks, months as its clocks and calendar have them."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from domain.clock import MILLISECONDS_PER_SECOND, from_ms, to_ms
from domain.readings import Int64Array
from domain.windows import Step

_DAY_S = 86_400
_HOUR_S = 3600
_MONTHS_PER_YEAR = 12


def window_starts(step: Step, zone: ZoneInfo, from_ms_: int, to_ms_: int) -> Int64Array:
    """Starts of the windows that overlap from <= t < to, and behind them the end of the last: int64[k + 1], ms.

    Steps of at most an hour are pieces of the zone's hours: where clocks go back, the hour that comes twice is two
    windows. Longer parts of a day begin at the zone's clock times (00:00, 06:00, …), so that one lasts longer or
    shorter where clocks change. Days begin at midnight, or with their first moment where midnight is skipped; weeks
    with Monday; months, quarters, half-years and years with their first day.
    """
    if step.seconds and step.seconds <= _HOUR_S:
        return _by_clock(step, zone, from_ms_, to_ms_)
    moments = _calendar_times(step, from_ms(from_ms_).astimezone(zone).date())
    starts: list[int] = []
    for local in moments:
        start = to_ms(first_moment(local, zone))
        # A day that is skipped as a whole has no window.
        if starts and start <= starts[-1]:
            continue
        if starts and start <= from_ms_:
            starts.pop()
        starts.append(start)
        if start >= to_ms_:
            return np.array(starts, np.int64)
    raise AssertionError("the calendar has no end")


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


def _calendar_times(step: Step, first_day: date) -> Iterator[datetime]:
    """Local times at which windows begin, from one before the first day on, without end."""
    if step.months:
        month = first_day.year * _MONTHS_PER_YEAR + first_day.month - 1
        month = month // step.months * step.months - step.months
        while True:
            yield datetime(month // _MONTHS_PER_YEAR, month % _MONTHS_PER_YEAR + 1, 1)  # noqa: DTZ001 - a clock's time
            month += step.months
    day = first_day - timedelta(days=step.days or 1)
    if step.days == 7:  # noqa: PLR2004 - a week
        day -= timedelta(days=day.weekday())
    while True:
        for second in range(0, _DAY_S, step.seconds or _DAY_S):
            yield datetime.combine(day, time()) + timedelta(seconds=second)
        day += timedelta(days=step.days or 1)


def _by_clock(step: Step, zone: ZoneInfo, from_ms_: int, to_ms_: int) -> Int64Array:
    """Pieces of the zone's hours; each stretch of one offset has its own, and begins one."""
    length_ms = step.seconds * MILLISECONDS_PER_SECOND
    parts = []
    for begins, ends, offset_ms in _offsets(zone, from_ms_ - _HOUR_S * 1000, to_ms_ + _HOUR_S * 1000):
        first = (begins + offset_ms) // length_ms * length_ms - offset_ms
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
        reached = min(checked + _DAY_S * 1000, to_ms_)
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
