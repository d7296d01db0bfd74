"""Whose each reading is: the tenure that holds at its time."""

import numpy as np
from numba import njit


@njit(
    "void(int32[::1], int32[::1], int64[::1], int32[::1], int32[::1], int64[::1], int64[::1], int32[::1])",
    nogil=True,
    cache=True,
)
def find_tenures(tenant, pack, ts_ms, of_tenant, of_pack, from_ms, to_ms, found):  # type: ignore[no-untyped-def]
    """Set found int32[n] to the position of each reading's tenure, or to -1 where its tenant held the pack not.

    tenant, pack int32[n], ts_ms int64[n]: readings. of_tenant, of_pack int32[t], from_ms, to_ms int64[t]: tenures in
    order of (pack, from), from <= time < to. O(n log t), less for readings of one pack behind each other.
    """
    first = np.int64(0)
    for row in range(len(pack)):
        if row == 0 or pack[row] != pack[row - 1]:
            first = np.searchsorted(of_pack, pack[row])
        found[row] = -1
        place = first
        while place < len(of_pack) and of_pack[place] == pack[row]:
            if of_tenant[place] == tenant[row] and from_ms[place] <= ts_ms[row] < to_ms[place]:
                found[row] = place
                break
            place += 1
