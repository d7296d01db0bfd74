"""The columns that the evaluation of rules takes and fills, as tuples of arrays."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import types

from kernels.rule_records import BOUNDS_TYPE, STATE_TYPE, TRANSITION_TYPE, VERSION_TYPE

Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
Records = npt.NDArray[np.void]


class Readings(NamedTuple):
    """Readings in order of arrival, n of them.

    slot int32[n]: row of the pack in Packs. profile, tenant and tenure int32[n]. ts_ms, rule_ms and skew_ms (event
    time minus arrival) int64[n]. thousandths int32[measures, n]. One without any measure stands for one set aside
    because of its time: it feeds clock skew and moves nothing.
    """

    slot: Int32s
    profile: Int32s
    tenant: Int32s
    tenure: Int32s
    ts_ms: Int64s
    rule_ms: Int64s
    skew_ms: Int64s
    thousandths: Int32s


class Packs(NamedTuple):
    """What is remembered of the readings' packs, p of them; changed in place.

    pack int32[p]. tenant and tenure int32[p] of the last reading, 0 before the first. clock_ms int64[p].
    last_ts_ms int64[p, measures] and last int32[p, measures]: event time and thousandths of the last live values.
    head int32[p]: position of the first state, NONE without; busy int32[p]: how many of them aren't normal.
    """

    pack: Int32s
    tenant: Int32s
    tenure: Int32s
    clock_ms: Int64s
    last_ts_ms: Int64s
    last: Int32s
    head: Int32s
    busy: Int32s


class Tables(NamedTuple):
    """Rules, compiled.

    versions: by rule and number; those of rule k from version_start[k] to version_start[k + 1]. The rules of
    profile q are profile_rule from profile_start[q] to profile_start[q + 1]. bounds [profiles], low and high
    int32[profiles, measures], rate int64[profiles, measures]: the tightest limits of a profile. cells int32[2]:
    the measures of the highest and the lowest cell.
    """

    versions: Records
    version_start: Int32s
    profile_start: Int32s
    profile_rule: Int32s
    bounds: Records
    low: Int32s
    high: Int32s
    rate: Int64s
    cells: Int32s


class Results(NamedTuple):
    """States, and transitions in their order; counts int64[2]: how many of each are there."""

    states: Records
    made: Records
    counts: Int64s


MADE = 0
STATES = 1
"""Rows of `Results.counts`."""

# Arrays of Numba's own types, in the order of the fields.
READINGS_TYPE = types.NamedTuple(  # type: ignore[no-untyped-call]
    [types.int32[::1]] * 4 + [types.int64[::1]] * 3 + [types.int32[:, ::1]], Readings
)
PACKS_TYPE = types.NamedTuple(  # type: ignore[no-untyped-call]
    [types.int32[::1]] * 3
    + [types.int64[::1], types.int64[:, ::1], types.int32[:, ::1]]
    + [types.int32[::1]] * 2,
    Packs,
)
TABLES_TYPE = types.NamedTuple(  # type: ignore[no-untyped-call]
    [types.Array(VERSION_TYPE, 1, "C")]
    + [types.int32[::1]] * 3
    + [types.Array(BOUNDS_TYPE, 1, "C")]
    + [types.int32[:, ::1]] * 2
    + [types.int64[:, ::1], types.int32[::1]],
    Tables,
)
RESULTS_TYPE = types.NamedTuple(  # type: ignore[no-untyped-call]
    [types.Array(STATE_TYPE, 1, "C"), types.Array(TRANSITION_TYPE, 1, "C"), types.int64[::1]], Results
)
