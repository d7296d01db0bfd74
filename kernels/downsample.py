"""Which points of a series to draw when there are more than a picture can show."""

from typing import Final

import numpy as np
import numpy.typing as npt
from numba import njit

LTTB_POINTS_MIN: Final = 3
MIN_MAX_POINTS_MIN: Final = 4


@njit("void(int64[::1], int32[::1], int64[::1])", nogil=True, cache=True)
def fill_lttb(ts_ms, values, chosen):  # type: ignore[no-untyped-def]
    rows, buckets = len(values), len(chosen) - 2
    chosen[0], chosen[-1] = 0, rows - 1
    for bucket in range(buckets):
        first = 1 + bucket * (rows - 2) // buckets
        behind = 1 + (bucket + 1) * (rows - 2) // buckets
        after = rows if bucket + 1 == buckets else 1 + (bucket + 2) * (rows - 2) // buckets
        last_ts, last_value = ts_ms[chosen[bucket]], float(values[chosen[bucket]])
        mean_ts = mean_value = 0.0
        for row in range(behind, after):
            mean_ts += float(ts_ms[row] - last_ts)
            mean_value += float(values[row])
        mean_ts /= after - behind
        mean_value = mean_value / (after - behind) - last_value
        largest = -1.0
        for row in range(first, behind):
            area = abs(mean_ts * (float(values[row]) - last_value) - float(ts_ms[row] - last_ts) * mean_value)
            if area > largest:
                largest, chosen[bucket + 1] = area, row


def lttb(ts_ms: npt.NDArray[np.int64], values: npt.NDArray[np.int32], points: int) -> npt.NDArray[np.int64]:
    """Rows of the points that keep the shape of a line, ascending: int64[min(points, n)].

    ts_ms int64[n], ascending; values int32[n], none absent; points >= LTTB_POINTS_MIN. The first and the last row, and
    of each of points - 2 buckets of equally many rows the one that makes the largest triangle with the point chosen
    before it and the mean of the next bucket; the earliest of several. Source: Sveinn Steinarsson, "Downsampling Time
    Series for Visual Representation", University of Iceland 2013, section 4.2 (largest triangle three buckets).
    """
    if points >= len(values):
        return np.arange(len(values), dtype=np.int64)
    chosen = np.empty(points, np.int64)
    fill_lttb(np.ascontiguousarray(ts_ms), np.ascontiguousarray(values), chosen)
    return chosen


@njit("void(int32[::1], int32[::1], int64[::1], int64[::1])", nogil=True, cache=True)
def fill_extremes(least, largest, least_at, largest_at):  # type: ignore[no-untyped-def]
    rows, buckets = len(least), len(least_at)
    for bucket in range(buckets):
        first, behind = bucket * rows // buckets, (bucket + 1) * rows // buckets
        least_at[bucket] = largest_at[bucket] = first
        for row in range(first + 1, behind):
            if least[row] < least[least_at[bucket]]:
                least_at[bucket] = row
            if largest[row] > largest[largest_at[bucket]]:
                largest_at[bucket] = row


def extremes(
    least: npt.NDArray[np.int32], largest: npt.NDArray[np.int32], buckets: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Of each bucket of equally many rows, where its least and its largest value stand: int64[buckets] each.

    least and largest int32[n]: of the rows, equal for points; 1 <= buckets <= n. The earliest row of several.
    """
    least_at, largest_at = np.empty(buckets, np.int64), np.empty(buckets, np.int64)
    fill_extremes(np.ascontiguousarray(least), np.ascontiguousarray(largest), least_at, largest_at)
    return least_at, largest_at


def min_max(values: npt.NDArray[np.int32], points: int) -> npt.NDArray[np.int64]:
    """Rows of the points that keep every spike, ascending: at most `points` of them, int64.

    values int32[n], none absent; points >= MIN_MAX_POINTS_MIN. The first and the last row, and the least and the
    largest of each of (points - 2) // 2 buckets of equally many rows between them, one where both are the same.
    """
    if points >= len(values):
        return np.arange(len(values), dtype=np.int64)
    between = values[1:-1]
    least_at, largest_at = extremes(between, between, (points - 2) // 2)
    ends = np.array([0, len(values) - 1], np.int64)
    return np.unique(np.concatenate([ends, least_at + 1, largest_at + 1]))
