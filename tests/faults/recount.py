"""One window recounted from readings, in Python's whole numbers: shares no code with the kernels, and is quick enough
to be done for every quarter-hour after every kill. Rule E13 says what a window holds.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from domain.measures import MEASURE_NAMES

Values = Mapping[str, int]
Point = tuple[int, int]
"""Milliseconds, and a value in thousandths."""

SQUARES_MAX = 2**63 - 1
_NOTHING = {"count": 0, "sum": 0, "squares": 0}


def _nearest(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)


def twice_area(first: int, last: int, duration_ms: int, until_ms: int) -> int:
    """Twice the area under the line from `first` to `last`, up to a time from its start, to the nearest whole."""
    return _nearest((2 * first * duration_ms + (last - first) * until_ms) * until_ms, duration_ms)


def twice_area_above(first: int, last: int, duration_ms: int, until_ms: int) -> int:
    """The same of the part above zero."""
    if first >= 0 and last >= 0:
        return twice_area(first, last, duration_ms, until_ms)
    if first <= 0 and last <= 0:
        return 0
    # The line's height at that time, times its duration.
    height = first * duration_ms + (last - first) * until_ms
    if first < 0:
        return _nearest(height * height, duration_ms * (last - first)) if height > 0 else 0
    return (
        twice_area(first, last, duration_ms, until_ms)
        if height >= 0
        else _nearest(first * first * duration_ms, first - last)
    )


class Line:
    """What is known of one quantity around a window: its points in order of time, joined where they are near enough."""

    def __init__(self, points: Sequence[Point], begin_ms: int, end_ms: int, gap_ms: int) -> None:
        self.inside = [point for point in points if begin_ms <= point[0] < end_ms]
        self._begin_ms, self._end_ms = begin_ms, end_ms
        self._pairs = [
            (one, other)
            for one, other in pairwise(points)
            if other[0] - one[0] <= gap_ms and one[0] < end_ms and other[0] > begin_ms
        ]

    def covered_ms(self) -> int:
        return sum(until - since for _, _, since, until in self._parts())

    def area(self, of: Callable[[int, int, int, int], int], sign: int = 1) -> int:
        """The sum of what the window gets of each line: differences of areas from the line's own start on."""
        total = 0
        for one, other, since, until in self._parts():
            ends = sign * one[1], sign * other[1], other[0] - one[0]
            total += of(*ends, until - one[0]) - of(*ends, since - one[0])
        return total

    def _parts(self) -> Iterator[tuple[Point, Point, int, int]]:
        for one, other in self._pairs:
            yield one, other, max(one[0], self._begin_ms), min(other[0], self._end_ms)


class Readings:
    """The readings of one pack, put together by time: milliseconds to values in thousandths by measure."""

    def __init__(self, moments: Mapping[int, Values]) -> None:
        self._moments = moments
        self.times_ms = sorted(moments)

    def window(self, begin_ms: int, end_ms: int, gap_ms: int) -> dict[str, Any] | None:
        """The record of begin_ms <= t < end_ms, in the fields of a stored one; None when there is no reading in it."""
        near = self.times_ms[
            bisect_left(self.times_ms, begin_ms - gap_ms) : bisect_right(self.times_ms, end_ms + gap_ms)
        ]
        everything = Line([(ts_ms, 0) for ts_ms in near], begin_ms, end_ms, gap_ms)
        if not everything.inside:
            return None

        def line(points: Sequence[Point]) -> Line:
            return Line(points, begin_ms, end_ms, gap_ms)

        moments = [(ts_ms, self._moments[ts_ms]) for ts_ms in near]
        lines = {
            name: line([(ts_ms, values[name]) for ts_ms, values in moments if name in values])
            for name in MEASURE_NAMES
        }
        power = line(
            [
                (ts_ms, _nearest(values["voltage_v"] * values["current_a"], 1000))
                for ts_ms, values in moments
                if "voltage_v" in values and "current_a" in values
            ]
        )
        current = lines["current_a"]
        return {
            "measures": [_measure(lines[name], begin_ms) for name in MEASURE_NAMES],
            "charged": current.area(twice_area_above),
            "discharged": current.area(twice_area_above, -1),
            "charged_energy": power.area(twice_area_above),
            "discharged_energy": power.area(twice_area_above, -1),
            "covered_ms": everything.covered_ms(),
            "energy_covered_ms": power.covered_ms(),
        }


def _measure(line: Line, begin_ms: int) -> dict[str, int]:
    joined = {"area": line.area(twice_area), "covered_ms": line.covered_ms()}
    if not line.inside:
        return _NOTHING | joined
    values = [value for _, value in line.inside]
    return joined | {
        "count": len(values),
        "minimum": min(values),
        "maximum": max(values),
        "first": values[0],
        "first_ms": line.inside[0][0] - begin_ms,
        "last": values[-1],
        "last_ms": line.inside[-1][0] - begin_ms,
        "sum": sum(values),
        "squares": min(sum(value * value for value in values), SQUARES_MAX),
    }
