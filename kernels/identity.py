"""Which measures of which readings are new, by identity (pack, time, measure)."""

import numpy as np
import numpy.typing as npt
from numba import njit

ABSENT = np.iinfo(np.int32).min
_BEFORE_ALL_MS = np.int64(np.iinfo(np.int64).min)


@njit(
    "void(int64[::1], int32[::1], int64[::1], int32[:, ::1], int64, uint32[::1], uint32[::1])",
    nogil=True,
    cache=True,
)
def classify_into(order, pack, ts_ms, thousandths, stored, fresh, conflicting):  # type: ignore[no-untyped-def]
    measures = thousandths.shape[0]
    kept = np.empty(measures, np.int32)
    for position in range(len(order)):
        row = order[position]
        previous = order[position - 1]
        if position == 0 or pack[row] != pack[previous] or ts_ms[row] != ts_ms[previous]:
            kept[:] = ABSENT
        for measure in range(measures):
            value = thousandths[measure, row]
            if value == ABSENT:
                continue
            if kept[measure] == ABSENT:
                kept[measure] = value
                if row >= stored:
                    fresh[row - stored] |= np.uint32(1) << np.uint32(measure)
            elif kept[measure] != value and row >= stored:
                conflicting[row - stored] |= np.uint32(1) << np.uint32(measure)


def classify(
    pack: npt.NDArray[np.int32],
    ts_ms: npt.NDArray[np.int64],
    thousandths: npt.NDArray[np.int32],
    stored: int,
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """Two bit masks for each arriving reading: its new measures, and those that contradict what came first.

    pack int32[s + n], ts_ms int64[s + n], thousandths int32[measures, s + n] hold first `stored` (= s) readings
    of the store, then n arriving ones in their order of arrival. Bit m of a mask stands for measure m; a
    measure with neither bit is absent or a duplicate. Of several readings with one identity the first counts,
    the stored before all. Up to 32 measures; O((s + n) log(s + n)) unless already sorted.
    """
    count = len(pack) - stored
    fresh = np.zeros(count, np.uint32)
    conflicting = np.zeros(count, np.uint32)
    classify_into(
        sorted_order(pack, ts_ms), pack, ts_ms, np.ascontiguousarray(thousandths), stored, fresh, conflicting
    )
    return fresh, conflicting


def sorted_order(pack: npt.NDArray[np.int32], ts_ms: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The stable order int64[n] of readings by (pack, time), pack int32[n] and ts_ms int64[n].

    O(n) when they come in that order, as good senders do, or when each pack's do and the packs' numbers are dense:
    5 ns a reading where a sort of keys takes 8 to 115. Else O(n log n).
    """
    if is_sorted(pack, ts_ms):
        return np.arange(len(pack), dtype=np.int64)
    lowest = int(pack.min())
    numbers = int(pack.max()) - lowest + 1
    if numbers > len(pack):
        return np.lexsort((ts_ms, pack)).astype(np.int64, copy=False)
    order = np.empty(len(pack), np.int64)
    order_dense(pack, ts_ms, lowest, np.zeros((numbers, 2), np.int64), order)
    return order


@njit("void(int64[::1], int64[::1])", nogil=True, cache=True)
def order_by_time(ts_ms, order):  # type: ignore[no-untyped-def]
    """Put a part of an order into the stable order of time."""
    for place in range(1, len(order)):
        if ts_ms[order[place]] < ts_ms[order[place - 1]]:
            order[:] = order[np.argsort(ts_ms[order], kind="mergesort")]
            return


@njit("void(int32[::1], int64[::1], int64, int64[:, ::1], int64[::1])", nogil=True, cache=True)
def order_dense(pack, ts_ms, lowest, groups, order):  # type: ignore[no-untyped-def]
    """Set order int64[n] to the stable order by (pack, time) by counting each pack's readings.

    groups int64[numbers, 2], zeros, for the packs from `lowest` on: at first how many readings, then where the next
    one goes, and the time of the last.
    """
    for row in range(len(pack)):
        groups[pack[row] - lowest, 0] += 1
    start = np.int64(0)
    for group in range(len(groups)):
        count = groups[group, 0]
        groups[group, 0], groups[group, 1] = start, _BEFORE_ALL_MS
        start += count
    are_ordered = True
    for row in range(len(pack)):
        group = pack[row] - lowest
        order[groups[group, 0]] = row
        are_ordered &= ts_ms[row] >= groups[group, 1]
        groups[group, 0] += 1
        groups[group, 1] = ts_ms[row]
    start = np.int64(0)
    for group in range(0 if are_ordered else len(groups)):
        order_by_time(ts_ms, order[start : groups[group, 0]])
        start = groups[group, 0]


@njit("boolean(int32[::1], int64[::1])", nogil=True, cache=True)
def is_sorted(pack, ts_ms):  # type: ignore[no-untyped-def]
    """Whether readings are in order of (pack, time); pack int32[n], ts_ms int64[n]."""
    for row in range(1, len(pack)):
        if pack[row] < pack[row - 1] or (pack[row] == pack[row - 1] and ts_ms[row] < ts_ms[row - 1]):
            return False
    return True
