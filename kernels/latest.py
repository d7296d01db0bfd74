"""Latest value and largest time of each pack, kept up to date from committed readings."""

import numpy as np
from numba import njit

ABSENT = np.iinfo(np.int32).min


@njit(
    "void(int32[::1], int64[::1], int32[:, ::1], int64[::1], int64[:, ::1], int32[:, ::1])",
    nogil=True,
    cache=True,
)
def advance(pack, ts_ms, thousandths, watermark_ms, latest_ts_ms, latest):  # type: ignore[no-untyped-def]
    """Apply readings, in any order, to the state of their packs, in place.

    pack int32[n], ts_ms int64[n], thousandths int32[measures, n]: committed readings.
    watermark_ms int64[p]: largest stored time of each pack. latest_ts_ms int64[measures, p] and latest
    int32[measures, p]: time and thousandths of the latest value of each measure. Latest is by event time;
    applying a reading twice changes nothing.
    """
    for row in range(len(pack)):
        which = pack[row]
        time = ts_ms[row]
        watermark_ms[which] = max(watermark_ms[which], time)
        for measure in range(thousandths.shape[0]):
            value = thousandths[measure, row]
            if value != ABSENT and time >= latest_ts_ms[measure, which]:
                latest_ts_ms[measure, which] = time
                latest[measure, which] = value


@njit("void(int32[::1], int64[::1], int64[::1], boolean[::1])", nogil=True, cache=True)
def mark_not_newer(pack, ts_ms, watermark_ms, wanted):  # type: ignore[no-untyped-def]
    """Mark readings that aren't newer than their pack's watermark; wanted bool[n] is set in place."""
    for row in range(len(pack)):
        wanted[row] = ts_ms[row] <= watermark_ms[pack[row]]
