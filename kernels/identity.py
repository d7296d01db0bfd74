"""Which measures of which readings are new, by identity (pack, time, measure)."""

import numpy as np
import numpy.typing as npt
from numba import njit

ABSENT = np.iinfo(np.int32).min


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
    """The stable order of readings by (pack, time); cheap when they come in that order, as good senders do."""
    if is_sorted(pack, ts_ms):
        return np.arange(len(pack), dtype=np.int64)
    return np.lexsort((ts_ms, pack)).astype(np.int64, copy=False)


@njit("boolean(int32[::1], int64[::1])", nogil=True, cache=True)
def is_sorted(pack, ts_ms):  # type: ignore[no-untyped-def]
    """Whether readings are in order of (pack, time); pack int32[n], ts_ms int64[n]."""
    for row in range(1, len(pack)):
        if pack[row] < pack[row - 1] or (pack[row] == pack[row - 1] and ts_ms[row] < ts_ms[row - 1]):
            return False
    return True
