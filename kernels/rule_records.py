"""The records that the evaluation of rules works on, and the numbers that stand for kinds and states in them."""

from typing import Final

import numba
import numpy as np

ABSENT: Final = np.iinfo(np.int32).min
NEVER_MS: Final = np.iinfo(np.int64).min
"""Time of what has never been."""
NONE: Final = -1
NO_RATE: Final = np.iinfo(np.int64).max
"""The tightest rate of a measure that no rule looks at."""

THRESHOLD: Final = 0
RATE: Final = 1
IMBALANCE: Final = 2
MISSING: Final = 3
SKEW: Final = 4

ABOVE: Final = 1
BELOW: Final = -1
EITHER: Final = 0

NORMAL: Final = 0
PENDING: Final = 1
RAISED: Final = 2
PROVISIONAL: Final = 3

TO_PENDING: Final = 0
TO_DROPPED: Final = 1
TO_RAISED: Final = 2
TO_CLEARED: Final = 3
AS_LATE: Final = 4
TO_PROVISIONAL: Final = 5
TO_WITHDRAWN: Final = 6

MEASURED: Final = 0
SUPERSEDED: Final = 1
DISABLED: Final = 2
OUT_OF_SCOPE: Final = 3
SILENT: Final = 4
BY_HAND: Final = 5

RAISES_KEPT: Final = 16
"""Times of raises that a state remembers; flapping can't be asked for beyond as many."""

MICRO_PER_MILLI_BY_MS: Final = 1_000_000
"""Thousandths over milliseconds, times this, are millionths a second."""

VERSION: Final = np.dtype(
    [
        ("rule", np.int32),
        ("number", np.int32),
        ("tenant", np.int32),
        ("kind", np.int32),
        ("enabled", np.int32),
        ("side", np.int32),
        ("measure", np.int32),
        ("other", np.int32),
        ("other_side", np.int32),
        ("flap_raises_max", np.int32),
        ("limit", np.int64),
        ("clear_limit", np.int64),
        ("other_limit", np.int64),
        ("duration_ms", np.int64),
        ("reach_ms", np.int64),
        ("flap_window_ms", np.int64),
        ("effective_from_ms", np.int64),
    ],
    align=True,
)
"""One version of a rule.

`measure` and `other` are rows of measures, NONE without: for an imbalance the highest and the lowest cell, for a
threshold the measured one and the one that must lie on `other_side` of `other_limit` meanwhile. `limit` and
`clear_limit` are thousandths (threshold, imbalance), millionths a second (rate), milliseconds (missing, skew).
`reach_ms`: how far apart two values may lie for a rate.
"""

BOUNDS: Final = np.dtype(
    [
        ("imbalance", np.int64),
        ("after_ms", np.int64),
        ("skew_ms", np.int64),
        ("rates", np.int64),
        ("pairs", np.int64),
    ],
    align=True,
)
"""The tightest limits of a profile's rules, so that one look tells that none of them can breach.

rates: how many of its rules look at rates; pairs: how many look at another measure of the same moment."""

STATE: Final = np.dtype(
    [
        ("pack", np.int32),
        ("rule", np.int32),
        ("tenant", np.int32),
        ("version", np.int32),
        ("status", np.int32),
        ("flapping", np.int32),
        ("next", np.int32),
        ("seen", np.int32),
        ("changed", np.int32),
        ("onset_ms", np.int64),
        ("clear_since_ms", np.int64),
        ("raises_ms", np.int64, (RAISES_KEPT,)),
    ],
    align=True,
)
"""Where one rule stands for one pack. `raises_ms`: times of the last raises, oldest first, NEVER_MS before.

`next`, `seen` and `changed` are the evaluation's own: the pack's next state, the reading that looked at it last,
and whether it differs from what was given.
"""

TRANSITION: Final = np.dtype(
    [
        ("reading", np.int32),
        ("pack", np.int32),
        ("rule", np.int32),
        ("tenant", np.int32),
        ("version", np.int32),
        ("kind", np.int32),
        ("reason", np.int32),
        ("flapping", np.int32),
        ("rule_ms", np.int64),
        ("onset_ms", np.int64),
        ("value", np.int64),
    ],
    align=True,
)
"""One thing that happened; `reading` is its position among those evaluated, or NONE."""

VERSION_TYPE = numba.from_dtype(VERSION)
BOUNDS_TYPE = numba.from_dtype(BOUNDS)
STATE_TYPE = numba.from_dtype(STATE)
TRANSITION_TYPE = numba.from_dtype(TRANSITION)
