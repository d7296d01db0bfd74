"""Which points of a pack's trend are shown, of readings and of windows."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from aggregations.quarters import RecordArray
from domain.readings import ABSENT, BoolArray, Int32Array, Int64Array
from kernels.downsample import extremes, lttb, min_max

POINTS_MIN: Final = 4
"""The smallest budget: both ends, and a least and a largest value between them."""


class Method(StrEnum):
    """How points are chosen: the shape of the line, or every spike."""

    LTTB = "lttb"
    MIN_MAX = "min_max"


def chosen_rows(ts_ms: Int64Array, thousandths: Int32Array, points: int, method: Method) -> Int64Array:
    """Rows to show, ascending: those chosen for any measure, at most `points` of each.

    ts_ms int64[n], ascending; thousandths int32[measures, n] with ABSENT; points >= POINTS_MIN.
    """
    chosen = np.zeros(len(ts_ms), np.bool_)
    for values in thousandths:
        rows = np.flatnonzero(values != ABSENT)
        chosen[rows[_chosen(ts_ms[rows], values[rows], points, method)]] = True
    return np.flatnonzero(chosen)


def _chosen(ts_ms: Int64Array, values: Int32Array, points: int, method: Method) -> Int64Array:
    return lttb(ts_ms, values, points) if method is Method.LTTB else min_max(values, points)


@dataclass(frozen=True, slots=True, eq=False)
class Sought:
    """Points of one measure: some by their time, the others by a value and a window in which it first stands.

    ts_ms int64[k]. starts_ms and ends_ms int64[s], thousandths int32[s].
    """

    ts_ms: Int64Array
    starts_ms: Int64Array
    ends_ms: Int64Array
    thousandths: Int32Array


def sought(bounds_ms: Int64Array, part: RecordArray, points: int, method: Method) -> Sought:
    """The points to show of one measure whose windows are known, at most `points`; points >= POINTS_MIN.

    bounds_ms int64[w + 1]; part: the measure's part of TOTAL[w]. The ends are known. Others are least and largest
    values of windows: with MIN_MAX those of buckets of equally many windows with readings; with LTTB chosen among all
    of them as if they stood a third and two thirds into their windows, in the order in which the window rises or falls.
    """
    window = np.flatnonzero(part["count"] > 0)
    if len(window) == 0:
        nothing = np.empty(0, np.int64)
        return Sought(nothing, nothing, nothing, np.empty(0, np.int32))
    some = part[window]
    ends_ms = np.unique([some["first_ms"][0], some["last_ms"][-1]])
    if method is Method.MIN_MAX:
        least_at, largest_at = extremes(some["minimum"], some["maximum"], min((points - 2) // 2, len(window)))
        place, is_largest = (
            np.concatenate([least_at, largest_at]),
            np.arange(2 * len(least_at)) >= len(least_at),
        )
    else:
        place, is_largest = _by_shape(bounds_ms, window, some, points)
    values = np.where(is_largest, some["maximum"][place], some["minimum"][place])
    at = window[place]
    return Sought(ends_ms, bounds_ms[at], bounds_ms[at + 1], values.astype(np.int32))


def _by_shape(
    bounds_ms: Int64Array, window: Int64Array, some: RecordArray, points: int
) -> tuple[Int64Array, BoolArray]:
    """Positions among the windows of the values that LTTB chooses between the ends, and whether each is the largest."""
    rises = some["first"] <= some["last"]
    is_largest = np.stack([~rises, rises], axis=1).ravel()
    starts_ms, length_ms = bounds_ms[window], bounds_ms[window + 1] - bounds_ms[window]
    ts_ms = np.stack([starts_ms + length_ms // 3, starts_ms + 2 * length_ms // 3], axis=1).ravel()
    place = np.repeat(np.arange(len(window)), 2)
    values = np.where(is_largest, some["maximum"][place], some["minimum"][place])
    line_ms = np.concatenate([some["first_ms"][:1], ts_ms, some["last_ms"][-1:]])
    line = np.concatenate([some["first"][:1], values, some["last"][-1:]]).astype(np.int32)
    chosen = lttb(line_ms, line, points)[1:-1] - 1
    return place[chosen], is_largest[chosen]
