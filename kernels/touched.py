"""Which quarter-hours readings touch."""

import numpy as np
import numpy.typing as npt
from numba import njit


@njit(
    "int64(int32[::1], int32[::1], int64[::1], int32[::1], int64, int64, int64, int64[::1], int64[::1])",
    nogil=True,
    cache=True,
)
def touched_into(tenant, pack, ts_ms, batch, reach_ms, window_ms, before_ms, row_of, starts):  # type: ignore[no-untyped-def]
    found = 0
    for row in range(len(pack)):
        start = (ts_ms[row] - reach_ms) // window_ms * window_ms
        last = min(ts_ms[row] + reach_ms, before_ms - 1) // window_ms * window_ms
        if found > 0:
            same = row_of[found - 1]
            if pack[same] == pack[row] and batch[same] == batch[row] and tenant[same] == tenant[row]:
                # In order of time, what lies up to the last one found has been found already.
                start = max(start, starts[found - 1] + window_ms)
        while start <= last:
            row_of[found] = row
            starts[found] = start
            found += 1
            start += window_ms
    return found


def touched_windows(
    tenant: npt.NDArray[np.int32],
    pack: npt.NDArray[np.int32],
    ts_ms: npt.NDArray[np.int64],
    batch: npt.NDArray[np.int32],
    *,
    reach_ms: int,
    window_ms: int,
    before_ms: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Every window that overlaps [t - reach, t + reach] of a reading and starts before `before_ms`.

    tenant, pack, batch int32[n] and ts_ms int64[n], sorted by (pack, ts_ms). Gives row int64[k], a reading that
    touches the window, and starts int64[k], the window's start; (tenant, pack, batch, start) stands once each.
    reach_ms <= window_ms, so a reading touches three windows at most.
    """
    near = ts_ms - reach_ms < before_ms
    if not near.any():
        return np.empty(0, np.int64), np.empty(0, np.int64)
    rows = np.flatnonzero(near)
    row_of, starts = np.empty(3 * len(rows), np.int64), np.empty(3 * len(rows), np.int64)
    count = touched_into(
        tenant[rows], pack[rows], ts_ms[rows], batch[rows], reach_ms, window_ms, before_ms, row_of, starts
    )
    row_of, starts = rows[row_of[:count]], starts[:count]
    # Batches of one group may interleave, and then the same window was found more than once.
    order = np.lexsort((starts, batch[row_of], tenant[row_of], pack[row_of]))
    row_of, starts = row_of[order], starts[order]
    different = np.ones(count, np.bool_)
    different[1:] = starts[1:] != starts[:-1]
    for column in (tenant, pack, batch):
        different[1:] |= column[row_of[1:]] != column[row_of[:-1]]
    return row_of[different], starts[different]
