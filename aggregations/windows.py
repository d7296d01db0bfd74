"""Windows folded from quarters, exactly: totals that can be added in any grouping, and what is told of them."""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from aggregations.quarters import FLOW_FIELDS, RecordArray, Records
from domain.measures import MEASURE_NAMES, THOUSANDTHS_PER_UNIT
from domain.readings import BoolArray, Float64Array, Int64Array

_LIMB_BITS: Final = 32
_LIMB_MASK: Final = (1 << _LIMB_BITS) - 1
_INT64_MAX: Final = int(np.iinfo(np.int64).max)

_SUMS: Final = ("sum", "sum_of_squares", "twice_area")
_MEASURE_FIELDS: Final = [
    ("count", "<i8"),
    ("first_ms", "<i8"),
    ("last_ms", "<i8"),
    ("covered_ms", "<i8"),
    *((f"{name}_{limb}", "<i8") for name in _SUMS for limb in ("high", "low")),
    ("minimum", "<i4"),
    ("maximum", "<i4"),
    ("first", "<i4"),
    ("last", "<i4"),
    ("saturated", "<i8"),
]
TOTAL: Final = np.dtype(
    [(name, _MEASURE_FIELDS) for name in MEASURE_NAMES]
    + [(f"{name}_{limb}", "<i8") for name in FLOW_FIELDS for limb in ("high", "low")]
    + [("covered_ms", "<i8"), ("energy_covered_ms", "<i8")]
)
"""A window of any length. As in QUARTER, but times are milliseconds since 1970, and a sum is high * 2**32 + low with
0 <= low < 2**32: those of a year don't fit into 64 bits. saturated: a quarter's sum of squares didn't fit either."""

_MILLIS_PER_HOUR: Final = 3_600_000
_DOUBLED_PER_HOUR: Final = 2 * THOUSANDTHS_PER_UNIT * _MILLIS_PER_HOUR


def totals_of(found: Records) -> RecordArray:
    """TOTAL[r] of quarter records, or of any other windows, at the same positions."""
    totals = np.zeros(len(found), TOTAL)
    for name in MEASURE_NAMES:
        part, total = found.records[name], totals[name]
        present = part["count"] > 0
        for field in ("count", "covered_ms", "minimum", "maximum", "first", "last"):
            total[field] = part[field]
        for field in ("first_ms", "last_ms"):
            total[field] = np.where(present, part[field] + found.starts_ms, 0)
        for field in _SUMS:
            _put_limbs(total, field, part[field])
        total["saturated"] = part["sum_of_squares"] == _INT64_MAX
    for field in FLOW_FIELDS:
        _put_limbs(totals, field, found.records[field])
    for field in ("covered_ms", "energy_covered_ms"):
        totals[field] = found.records[field]
    return totals


def _put_limbs(into: RecordArray, field: str, values: Int64Array) -> None:
    into[f"{field}_high"], into[f"{field}_low"] = values >> _LIMB_BITS, values & _LIMB_MASK


def fold(totals: RecordArray, window: Int64Array) -> tuple[Int64Array, RecordArray]:
    """The windows that have anything, ascending, and the total of each.

    totals TOTAL[n] in order of time within each window; window int64[n], which one each belongs to. Exact, so that
    folding parts first changes no bit.
    """
    if len(totals) == 0:
        return np.empty(0, np.int64), totals
    order = np.argsort(window, kind="stable")
    totals, window = totals[order], window[order]
    starts = np.flatnonzero(np.append(True, window[1:] != window[:-1]))
    folded = np.zeros(len(starts), TOTAL)
    for name in MEASURE_NAMES:
        _fold_measure(totals[name], starts, folded[name])
    for field in FLOW_FIELDS:
        _fold_sum(totals, field, starts, folded)
    for field in ("covered_ms", "energy_covered_ms"):
        folded[field] = np.add.reduceat(totals[field], starts)
    return window[starts], folded


def _fold_measure(part: RecordArray, starts: Int64Array, folded: RecordArray) -> None:
    for field in ("count", "covered_ms"):
        folded[field] = np.add.reduceat(part[field], starts)
    folded["minimum"] = np.minimum.reduceat(part["minimum"], starts)
    folded["maximum"] = np.maximum.reduceat(part["maximum"], starts)
    folded["saturated"] = np.maximum.reduceat(part["saturated"], starts)
    for field in _SUMS:
        _fold_sum(part, field, starts, folded)
    position, present = np.arange(len(part)), part["count"] > 0
    first = np.minimum.reduceat(np.where(present, position, len(part)), starts)
    last = np.maximum.reduceat(np.where(present, position, -1), starts)
    some = last >= 0
    for end, which in (("first", first), ("last", last)):
        for field in (end, f"{end}_ms"):
            folded[field][some] = part[field][which[some]]


def _fold_sum(part: RecordArray, field: str, starts: Int64Array, folded: RecordArray) -> None:
    low = np.add.reduceat(part[f"{field}_low"], starts)
    folded[f"{field}_high"] = np.add.reduceat(part[f"{field}_high"], starts) + (low >> _LIMB_BITS)
    folded[f"{field}_low"] = low & _LIMB_MASK


Column = npt.NDArray[np.int64] | npt.NDArray[np.float64]


def whole(part: RecordArray, field: str) -> npt.NDArray[np.object_]:
    """A sum as Python's whole numbers."""
    high: npt.NDArray[np.object_] = part[f"{field}_high"].astype(object)
    found: npt.NDArray[np.object_] = (high << _LIMB_BITS) + part[f"{field}_low"].astype(object)
    return found


def measure_columns(totals: RecordArray, name: str) -> dict[str, tuple[Column, BoolArray]]:
    """What is told of one measure in each window: columns with masks of where they hold something.

    Values in the measure's unit, each the float64 nearest to the exact one but for the standard deviation, whose
    root is of the nearest. It is that of all values of the window (divided by their number), and not told where the
    sum of squares didn't fit. The time-weighted mean is that of the lines between the values.
    """
    part = totals[name]
    some = part["count"] > 0
    covered = part["covered_ms"] > 0
    count = np.where(some, part["count"], 1).astype(object)
    total, squares = whole(part, "sum"), whole(part, "sum_of_squares")
    spread = np.maximum(count * squares - total * total, 0)
    twice_ms = np.where(covered, part["covered_ms"], 1).astype(object) * 2
    deviation = np.array([math.sqrt(one) for one in spread], np.float64)
    return {
        f"{name}_count": (part["count"], np.ones_like(some)),
        f"{name}_min": (part["minimum"] / THOUSANDTHS_PER_UNIT, some),
        f"{name}_max": (part["maximum"] / THOUSANDTHS_PER_UNIT, some),
        f"{name}_mean": (_floats(total, count * THOUSANDTHS_PER_UNIT), some),
        f"{name}_standard_deviation": (
            deviation / (count * THOUSANDTHS_PER_UNIT).astype(np.float64),
            some & (part["saturated"] == 0),
        ),
        f"{name}_first": (part["first"] / THOUSANDTHS_PER_UNIT, some),
        f"{name}_first_ts": (part["first_ms"], some),
        f"{name}_last": (part["last"] / THOUSANDTHS_PER_UNIT, some),
        f"{name}_last_ts": (part["last_ms"], some),
        f"{name}_time_weighted_mean": (
            _floats(whole(part, "twice_area"), twice_ms * THOUSANDTHS_PER_UNIT),
            covered,
        ),
        f"{name}_covered_s": (part["covered_ms"] / 1000, np.ones_like(some)),
    }


def pack_columns(totals: RecordArray) -> dict[str, tuple[Column, BoolArray]]:
    """What is told of a pack in each window: charge, energy and seconds covered; see `measure_columns`."""
    flowed, powered = totals["current_a"]["covered_ms"] > 0, totals["energy_covered_ms"] > 0
    hours = np.full(len(totals), _DOUBLED_PER_HOUR, object)
    return {
        "charged_ah": (_floats(whole(totals, "charged"), hours), flowed),
        "discharged_ah": (_floats(whole(totals, "discharged"), hours), flowed),
        "charged_wh": (_floats(whole(totals, "charged_energy"), hours), powered),
        "discharged_wh": (_floats(whole(totals, "discharged_energy"), hours), powered),
        "covered_s": (totals["covered_ms"] / 1000, np.ones(len(totals), np.bool_)),
    }


def _floats(
    numerator: npt.NDArray[np.object_], denominator: npt.NDArray[np.object_] | Sequence[Any]
) -> Float64Array:
    """Each quotient as the float64 nearest to it: Python divides whole numbers so."""
    return np.array([one / other for one, other in zip(numerator, denominator, strict=True)], np.float64)


def spread_over(windows: Int64Array, totals: RecordArray, count: int) -> RecordArray:
    """TOTAL[count] with the totals at their windows, and nothing at the others."""
    every = np.zeros(count, TOTAL)
    for name in MEASURE_NAMES:
        every[name]["minimum"], every[name]["maximum"] = np.iinfo(np.int32).max, np.iinfo(np.int32).min
    every[windows] = totals
    return every
