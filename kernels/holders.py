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
    order of (pack, from), from <= time < to. O(n + t + packs), with room for the packs from the first to the last.
    """
    found[:] = -1
    if len(of_pack) == 0:
        return
    lowest, highest = np.int64(of_pack[0]), np.int64(of_pack[-1])
    first = np.zeros(highest - lowest + 1, np.int32)
    for place in range(len(of_pack) - 1, -1, -1):
        first[of_pack[place] - lowest] = place
    for row in range(len(pack)):
        if not lowest <= pack[row] <= highest:
            continue
        place = first[pack[row] - lowest]
        while place < len(of_pack) and of_pack[place] == pack[row]:
            if of_tenant[place] == tenant[row] and from_ms[place] <= ts_ms[row] < to_ms[place]:
                found[row] = place
                break
            place += 1
