"""A naive recount of windows from raw readings: dictionaries, whole numbers, and the zone's own clock."""

import math
import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from tests.kernels.naive_rollup import joined, turned

Reading = tuple[int, dict[str, float | None]]
Point = tuple[int, int]
Line = list[Point]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
GAP_MS = 300_000
DAY_S = 86_400
HOUR_MS, MINUTE_MS = 3_600_000, 60_000
"""No zone changes its clock twice within an hour, and since 1973 each has done so at a whole minute."""


def length_of(step: str) -> tuple[int, int]:
    """A step's months and seconds."""
    date, _, time = step[1:].partition("T")
    months = seconds = 0
    for part, units in ((date, {"W": 7 * DAY_S, "D": DAY_S}), (time, {"H": 3600, "M": 60, "S": 1})):
        for number, unit in re.findall(r"(\d+)(.)", part):
            if unit in units:
                seconds += int(number) * units[unit]
            else:
                months += int(number) * {"Y": 12, "M": 1}[unit]
    return months, seconds


def offset_ms(zone: ZoneInfo, moment_ms: int) -> int:
    moment = EPOCH + timedelta(milliseconds=moment_ms)
    return (moment.astimezone(zone).utcoffset() or timedelta()) // timedelta(milliseconds=1)


@lru_cache(500)
def stretches_of(zone: ZoneInfo, year: int) -> list[tuple[int, int, int]]:
    """The stretches of a year in which a zone keeps its offset, with it: by a look at each hour, then each minute."""
    hour_ms, end_ms = (to_milliseconds(datetime(one, 1, 1, tzinfo=UTC)) for one in (year, year + 1))
    found, begin_ms = [], hour_ms
    while hour_ms < end_ms:
        if offset_ms(zone, hour_ms) != offset_ms(zone, hour_ms + HOUR_MS):
            minutes = range(hour_ms + MINUTE_MS, hour_ms + HOUR_MS + 1, MINUTE_MS)
            change_ms = next(one for one in minutes if offset_ms(zone, one) != offset_ms(zone, hour_ms))
            found.append((begin_ms, change_ms, offset_ms(zone, hour_ms)))
            begin_ms = change_ms
        hour_ms += HOUR_MS
    return [*found, (begin_ms, end_ms, offset_ms(zone, begin_ms))] if begin_ms < end_ms else found


class Clock:
    """A zone's clock in about from <= t < to: the stretches in which it runs evenly."""

    def __init__(self, zone: ZoneInfo, from_ms: int, to_ms: int) -> None:
        years = [(EPOCH + timedelta(milliseconds=one)).year for one in (from_ms, to_ms)]
        self.stretches: list[tuple[int, int, int]] = []
        for year in range(years[0], years[1] + 1):
            for begin, end, offset in stretches_of(zone, year):
                goes_on = bool(self.stretches) and self.stretches[-1][2] == offset
                self.stretches.append((self.stretches.pop()[0] if goes_on else begin, end, offset))
        self.stretches = [
            (max(begin, from_ms), min(end, to_ms), offset)
            for begin, end, offset in self.stretches
            if begin < to_ms and end > from_ms
        ]

    def window_of(self, ts_ms: int, months: int, seconds: int) -> Any:
        """What tells the windows of a step apart: two moments are in one window when this is equal.

        A clock that was put back shows again what it showed before. Of short steps that is another window, of long
        ones it still is the last window that it came to.
        """
        reached = []
        for place, (begin, end, offset) in enumerate(self.stretches):
            if begin <= ts_ms:
                shown_ms = min(ts_ms, end - 1) + offset
                clock = EPOCH + timedelta(milliseconds=shown_ms)
                if months:
                    reached.append((place, ((clock.year - 2000) * 12 + clock.month - 1) // months))
                else:
                    monday = datetime(2000, 1, 3, tzinfo=UTC)
                    reached.append((place, (clock - monday) // timedelta(seconds=seconds)))
        return reached[-1] if 0 < seconds <= 3600 else max(number for _, number in reached)

    def starts(self, months: int, seconds: int) -> list[int]:
        """Every moment at which a window begins, but for the first stretch's own begin."""
        grid_ms = (seconds or DAY_S) * 1000
        monday_ms = to_milliseconds(datetime(2000, 1, 3, tzinfo=UTC))
        moments = []
        for begin, end, offset in self.stretches:
            moments += [begin, *range(begin + (monday_ms - begin - offset) % grid_ms, end, grid_ms)]
        found, last = [], self.window_of(moments[0], months, seconds)
        for moment in moments:
            window = self.window_of(moment, months, seconds)
            if window != last:
                found.append(moment)
            last = window
        return found


def window_starts(step: str, zone: ZoneInfo, from_ms: int, to_ms: int) -> list[int]:
    """Starts of the windows that overlap from <= t < to, and of the one behind."""
    months, seconds = length_of(step)
    around_ms = (max(seconds, months * 31 * DAY_S) + 3 * DAY_S) * 1000
    if 0 < seconds <= 3600:
        around_ms = 3 * 3_600_000
    starts = Clock(zone, from_ms - around_ms, to_ms + around_ms).starts(months, seconds)
    first = max(place for place, start in enumerate(starts) if start <= from_ms)
    behind = min(place for place, start in enumerate(starts) if start >= to_ms)
    return starts[first : behind + 1]


def recount(
    readings: list[Reading], step: str, zone: ZoneInfo, starts: datetime, ends: datetime
) -> dict[int, dict[str, Any]]:
    """The windows that hold anything of starts <= t < ends, by their starts."""
    from_ms, to_ms = (to_milliseconds(moment) for moment in (starts, ends))
    labels = window_starts(step, zone, from_ms, to_ms)
    bounds = [from_ms, *labels[1:-1], to_ms]
    names = sorted({name for _, values in readings for name in values})
    lines = {
        name: sorted(
            (ts_ms, round(values[name] * 1000)) for ts_ms, values in readings if values.get(name) is not None
        )
        for name in names
    }
    found: dict[int, dict[str, Any]] = defaultdict(dict)
    voltage, current = dict(lines["voltage_v"]), dict(lines["current_a"])
    powers = [
        (ts_ms, (voltage[ts_ms] * current[ts_ms] + 500) // 1000)
        for ts_ms in sorted(voltage.keys() & current.keys())
    ]
    moments = [(ts_ms, 0) for ts_ms in sorted({ts_ms for ts_ms, _ in readings})]
    flows = {
        unit: (line, [turned(point) for point in line])
        for unit, line in (("ah", lines["current_a"]), ("wh", powers))
    }
    for label, (begin, end) in zip(labels[:-1], pairwise(bounds), strict=True):
        window_found = _window(lines, flows, moments, begin, end)
        if window_found is not None:
            found[label] = window_found
    return dict(found)


def to_milliseconds(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(milliseconds=1)


def _near(line: Line, begin: int, end: int) -> Line:
    return line[bisect_left(line, (begin - GAP_MS,)) : bisect_left(line, (end + GAP_MS + 1,))]


def _covered_ms(line: Line, begin: int, end: int) -> int:
    pairs = joined(_near(line, begin, end), GAP_MS)
    return sum(max(0, min(end, last[0]) - max(begin, first[0])) for first, last in pairs)


def nearest(numerator: int, denominator: int) -> int:
    """The whole number nearest to a quotient, the larger one of two; denominator > 0."""
    return (2 * numerator + denominator) // (2 * denominator)


def twice_area(first: Point, last: Point, until: int) -> int:
    """Twice the integral of a line from its start, rounded."""
    (began, low), (ended, high) = first, last
    length, gone = ended - began, until - began
    return nearest((2 * low * length + (high - low) * gone) * gone, length)


def twice_area_above(first: Point, last: Point, until: int) -> int:
    """Twice the integral of a line, where it is above zero, from its start, rounded."""
    (began, low), (ended, high) = first, last
    length = ended - began
    reached = low * length + (high - low) * (until - began)
    if low >= 0 and reached >= 0:
        return twice_area(first, last, until)
    if low > 0:
        # A triangle to where the line crosses zero.
        return nearest(low * low * length, low - high)
    if reached > 0:
        # A triangle from there on: its height is reached / length, and so is its slope (high - low) / length.
        return nearest(reached * reached, length * (high - low))
    return 0


def _integral(line: Line, begin: int, end: int, area: Callable[[Point, Point, int], int]) -> int:
    total = 0
    for first, last in joined(_near(line, begin, end), GAP_MS):
        low, high = max(begin, first[0]), min(end, last[0])
        if low < high:
            total += area(first, last, high) - area(first, last, low)
    return total


def _window(
    lines: dict[str, Line], flows: dict[str, tuple[Line, Line]], moments: Line, begin: int, end: int
) -> dict[str, Any] | None:
    told: dict[str, Any] = {}
    for name, line in lines.items():
        inside = line[bisect_left(line, (begin,)) : bisect_left(line, (end,))]
        values = [value for _, value in inside]
        count, covered_ms = len(values), _covered_ms(line, begin, end)
        total = sum(values)
        told |= {
            f"{name}_count": count,
            f"{name}_min": min(values) / 1000 if count else None,
            f"{name}_max": max(values) / 1000 if count else None,
            f"{name}_mean": total / (1000 * count) if count else None,
            f"{name}_standard_deviation": math.sqrt(
                sum((count * value - total) ** 2 for value in values) / count
            )
            / (1000 * count)
            if count
            else None,
            f"{name}_first": values[0] / 1000 if count else None,
            f"{name}_first_ts": inside[0][0] if count else None,
            f"{name}_last": values[-1] / 1000 if count else None,
            f"{name}_last_ts": inside[-1][0] if count else None,
            f"{name}_time_weighted_mean": _integral(line, begin, end, twice_area) / 2000 / covered_ms
            if covered_ms
            else None,
            f"{name}_covered_s": covered_ms / 1000,
        }
    for unit, (charging, discharging) in flows.items():
        some = _covered_ms(charging, begin, end) > 0
        for name, line in (("charged", charging), ("discharged", discharging)):
            told[f"{name}_{unit}"] = _integral(line, begin, end, twice_area_above) / 7.2e9 if some else None
    told["covered_s"] = _covered_ms(moments, begin, end) / 1000
    some = told["covered_s"] > 0 or any(told[f"{name}_count"] for name in lines)
    return told if some else None
