"""A naive recount of windows from raw readings: dictionaries, whole numbers, and the zone's own clock."""

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from tests.kernels.naive_rollup import joined, turned

Reading = tuple[int, dict[str, float | None]]
Point = tuple[int, int]
Line = list[Point]
GAP_MS = 300_000
HOURS = {"PT6H": 6, "PT12H": 12}


def window_of(ts_ms: int, step: str, zone: ZoneInfo) -> Any:
    """What tells the windows of a step apart: two moments are in one window when this is equal."""
    clock = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ts_ms)).astimezone(zone)
    if step == "P1Y":
        return clock.year
    if step == "P1M":
        return clock.year, clock.month
    if step == "P1W":
        return clock.date() - timedelta(days=clock.weekday())
    if step == "P1D":
        return clock.date()
    if step in HOURS:
        return clock.date(), clock.hour // HOURS[step]
    minutes = 60 if step == "PT1H" else int(step[2:-1])
    return clock.date(), clock.hour, clock.minute // minutes, clock.utcoffset()


def recount(
    readings: list[Reading], step: str, zone: ZoneInfo, starts: datetime, ends: datetime
) -> dict[int, dict[str, Any]]:
    """The windows that hold anything of starts <= t < ends, by their starts; found by a clock's small steps."""
    from_ms, to_ms = (int(moment.timestamp() * 1000) for moment in (starts, ends))
    begins: dict[Any, int] = {}
    cuts = {from_ms, to_ms}
    # Every zone's offset, and so every window of a quarter-hour or more, is a multiple of 15 minutes.
    tick_ms = 60_000 if step in ("PT1M", "PT5M") else 900_000
    first = from_ms // tick_ms * tick_ms
    minute_ms, last = first, window_of(first, step, zone)
    while minute_ms < to_ms:
        minute_ms += tick_ms
        window = window_of(minute_ms, step, zone)
        if window != last and minute_ms < to_ms:
            cuts.add(minute_ms)
        last = window
    minute_ms, window = first, window_of(from_ms, step, zone)
    while window_of(minute_ms - tick_ms, step, zone) == window:
        minute_ms -= tick_ms
    begins[window] = minute_ms
    bounds = sorted(cuts)
    for cut in bounds[1:-1]:
        begins.setdefault(window_of(cut, step, zone), cut)
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
    for begin, end in pairwise(bounds):
        label = begins[window_of(begin, step, zone)]
        window_found = _window(lines, flows, moments, begin, end)
        if window_found is not None:
            found[label] = window_found
    return dict(found)


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
