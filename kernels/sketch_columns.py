"""The columns of the live sketches, and where things stand in them."""

from typing import Any, Final, NamedTuple

import numba
import numpy as np
import numpy.typing as npt
from numba import types

Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
Records = npt.NDArray[np.void]

BARE: Final[dict[str, Any]] = {"nogil": True, "_nrt": False}
"""How functions that allocate nothing are compiled: without counts of references, which would take two thirds of the
time, as each look at one of the many columns would change one.
"""

ABSENT: Final = np.iinfo(np.int32).min
NEVER_MS: Final = np.iinfo(np.int64).min
NONE: Final = -1

NEVER_SEEN: Final = 0
SILENT: Final = 1
REPORTING: Final = 2
STATES: Final = 3
"""A unit is a cell and a state: STATES * cell + state."""

PAGE_BINS: Final = 64
PAGE_BITS: Final = 6
PAGES: Final = 64
BINS: Final = PAGES * PAGE_BINS
CHARGE_BIN: Final = 0
HEALTH_BIN: Final = 16 * PAGE_BINS
SKEW_BIN: Final = 35 * PAGE_BINS
AGE_BIN: Final = 43 * PAGE_BINS
"""First bins of state of charge, of health, of clock skew and of the age of the last arrival."""

BIN_THOUSANDTHS: Final = 100
"""Shares are rounded to tenths of a percent before they are counted."""
CHARGE_BINS: Final = 1001
HEALTH_BINS: Final = 1201
SKEW_BINS: Final = 512
SKEW_SIDE: Final = 256
"""Bins of each sign of clock skew; each doubling of its size has eight."""
AGE_LEVELS: Final = PAGES - 43
"""Pages of age: level k counts spans of 2**k seconds, and has the newest 64 of them."""

RATE_SECONDS: Final = 64
"""Seconds of which arrivals are counted; a power of two, and more than the window that is answered."""

CHARGE: Final = 0
HEALTH: Final = 1
TEMPERATURE: Final = 2
CELL_LOW: Final = 3
CELL_HIGH: Final = 4
VALUES: Final = 5
"""Columns of the values that are counted of a pack."""

EXTREMES: Final = 4
HOTTEST, COLDEST, HIGHEST_CELL, LOWEST_CELL = range(EXTREMES)

SIZES: Final = 32
"""Slots are given out in ranges of 2**k."""

PACK: Final = np.dtype(
    [
        ("cell", np.int32),
        ("unit", np.int32),
        ("slot", np.int32),
        ("arrived_tenant", np.int32),
        ("later", np.int32),
        ("earlier", np.int32),
        ("since_ms", np.int64),
        ("arrived_ms", np.int64),
        ("newest_ts_ms", np.int64),
        ("skew_ms", np.int64),
    ],
    align=True,
)
"""One pack. `cell`: where it is now, NONE while nobody holds it. `unit`: where it is counted, NONE nowhere; `slot`: its
place among the slots of that unit. `since_ms`: what was measured before belongs to a holder before.

`arrived_ms`: the last live arrival, under `arrived_tenant`; `newest_ts_ms`: the newest live event time, `skew_ms` its
arrival minus it. `later` and `earlier`: neighbours among the packs that arrived in the same second.
"""

UNIT: Final = np.dtype(
    [
        ("packs", np.int32),
        ("offset", np.int32),
        ("capacity", np.int32),
        ("filled", np.int32),
        ("arrived", np.int32),
        ("beyond", np.int32),
        ("charged", np.int32),
        ("healthy", np.int32),
        ("charge_sum", np.int64),
        ("health_sum", np.int64),
    ],
    align=True,
)
"""One unit. `packs` counted; slots from `offset`, of which `filled` are taken; how many packs have arrived live, are
`beyond` the limit of clock skew, and have a state of charge (`charged`) and of health (`healthy`), with the sums of
those in thousandths.
"""

PACK_TYPE = numba.from_dtype(PACK)
UNIT_TYPE = numba.from_dtype(UNIT)


class Sketch(NamedTuple):
    """Everything that is remembered, changed in place. Rows are never fewer than the largest number met.

    pack PACK[packs]; value int32[packs, VALUES], thousandths as counted, ABSENT for none.
    unit UNIT[units]; page_of int32[units, PAGES], the page with these bins of a unit, NONE while all are empty.
    page int32[pages, PAGE_BINS]; page_total int32[pages]; spare int32[pages], numbers of the empty pages.
    member int32[slots], the pack of a slot; winner int32[EXTREMES, slots]: of a unit with capacity c, the node n
    (1 <= n < c) at offset + n, the pack that wins among its leaves.
    ring int32[seconds, a power of two]: the first pack that arrived last in a second.
    rate int32[cells, RATE_SECONDS]; rate_s int64[RATE_SECONDS], the second that a column counts.
    tenant int32[cells].
    numbers int64[NUMBERS]; room int32[SIZES]: the first free range of each size, whose `member` says the next one.
    """

    pack: Records
    value: Int32s
    unit: Records
    page_of: Int32s
    page: Int32s
    page_total: Int32s
    spare: Int32s
    member: Int32s
    winner: Int32s
    ring: Int32s
    rate: Int32s
    rate_s: Int64s
    tenant: Int32s
    numbers: Int64s
    room: Int32s


NOW_S, SPARE_PAGES, SLOTS_USED, SILENT_AFTER_S, SKEW_MS_MAX, SWEPT_S = range(6)
NUMBERS: Final = 6
"""Rows of `Sketch.numbers`; SWEPT_S: no pack that arrived last in this second, or before, is counted as reporting."""


class Arrivals(NamedTuple):
    """Live readings in order of their packs: pack and tenant int32[n], ts_ms and arrived_ms int64[n].

    thousandths int32[measures, n]; one without any measure is passed over.
    """

    pack: Int32s
    tenant: Int32s
    ts_ms: Int64s
    arrived_ms: Int64s
    thousandths: Int32s


class Latest(NamedTuple):
    """What is known of packs: watermark_ms int64[p], ts_ms int64[measures, p], thousandths int32[measures, p]."""

    watermark_ms: Int64s
    ts_ms: Int64s
    thousandths: Int32s


CHARGE_BUCKETS: Final = 20
HEALTH_BUCKETS: Final = 60
CHARGE_BUCKET_BINS: Final = 50
HEALTH_BUCKET_BINS: Final = 20
"""Buckets for plots, of 5 % and of 2 %; what is on the upper end belongs to the last one."""


class Merged(NamedTuple):
    """Figures of g groups of units.

    packs int64[g, STATES]. measured int64[g, 2] and sums int64[g, 2] of state of charge and of health.
    quantiles int64[g, 2, q], in tenths of a percent, of the ranks asked for. buckets int64[g, 2, HEALTH_BUCKETS].
    holder and extreme int32[g, EXTREMES], NONE and ABSENT without.
    arrived and beyond int64[g]. age_s int64[g, q] and skew_ms int64[g, q], of the ranks asked for.
    """

    packs: Int64s
    measured: Int64s
    sums: Int64s
    quantiles: Int64s
    buckets: Int64s
    holder: Int32s
    extreme: Int32s
    arrived: Int64s
    beyond: Int64s
    age_s: Int64s
    skew_ms: Int64s


# Arrays of Numba's own types, in the order of the fields.
SKETCH_TYPE = types.NamedTuple(  # type: ignore[no-untyped-call]
    [types.Array(PACK_TYPE, 1, "C"), types.int32[:, ::1], types.Array(UNIT_TYPE, 1, "C")]
    + [types.int32[:, ::1]] * 2
    + [types.int32[::1]] * 3
    + [types.int32[:, ::1], types.int32[::1], types.int32[:, ::1], types.int64[::1], types.int32[::1]]
    + [types.int64[::1], types.int32[::1]],
    Sketch,
)
ARRIVALS_TYPE = types.NamedTuple(  # type: ignore[no-untyped-call]
    [types.int32[::1]] * 2 + [types.int64[::1]] * 2 + [types.int32[:, ::1]], Arrivals
)
LATEST_TYPE = types.NamedTuple(  # type: ignore[no-untyped-call]
    [types.int64[::1], types.int64[:, ::1], types.int32[:, ::1]], Latest
)
MERGED_TYPE = types.NamedTuple(  # type: ignore[no-untyped-call]
    [types.int64[:, ::1]] * 3
    + [types.int64[:, :, ::1]] * 2
    + [types.int32[:, ::1]] * 2
    + [types.int64[::1]] * 2
    + [types.int64[:, ::1]] * 2,
    Merged,
)
