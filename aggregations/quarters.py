"""Quarter records: what is known of one tenure's quarter-hour (rule E13), as structured NumPy arrays."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from domain.measures import MEASURE_INDEX, MEASURES
from domain.readings import BoolArray, Int32Array, Int64Array
from kernels.rollup import rollup

RecordArray = npt.NDArray[np.void]

MEASURE_FIELDS: Final = (
    ("count", "<i4"),
    ("minimum", "<i4"),
    ("maximum", "<i4"),
    ("first", "<i4"),
    ("last", "<i4"),
    ("first_ms", "<i4"),
    ("last_ms", "<i4"),
    ("covered_ms", "<i4"),
    ("sum", "<i8"),
    ("sum_of_squares", "<i8"),
    ("twice_area", "<i8"),
)
"""Of one measure, in thousandths of its unit. first_ms and last_ms count from the window's start, covered_ms is the
time between consecutive values near enough. sum_of_squares stays at its largest when it would leave its type.
twice_area is 2 x the integral over that time, in thousandths times milliseconds. Without a value minimum and maximum
are the type's largest and least, the others 0."""

FLOW_FIELDS: Final = ("charged", "discharged", "charged_energy", "discharged_energy")
"""2 x the integral of the current above and below zero, in mA ms, and of the power, in mW ms; all of them >= 0."""

QUARTER: Final = np.dtype(
    [(measure.name, list(MEASURE_FIELDS)) for measure in MEASURES]
    + [(name, "<i8") for name in FLOW_FIELDS]
    + [("covered_ms", "<i4"), ("energy_covered_ms", "<i4")]
)
"""covered_ms is the time between consecutive readings near enough, energy_covered_ms that between those with both."""


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Readings of one tenure or more, in any order, n of them.

    series int32[n], whose they are, as a position among some tenures. ts_ms int64[n]. thousandths int32[measures, n].
    """

    series: Int32Array
    ts_ms: Int64Array
    thousandths: Int32Array

    def __len__(self) -> int:
        return len(self.ts_ms)


@dataclass(frozen=True, slots=True, eq=False)
class Records:
    """Window records in order of (series, starts_ms), r of them.

    series int32[r]. starts_ms int64[r], where the window begins. records QUARTER[r].
    """

    series: Int32Array
    starts_ms: Int64Array
    records: RecordArray

    def __len__(self) -> int:
        return len(self.starts_ms)

    def of(self, chosen: BoolArray | Int64Array) -> "Records":
        """Those chosen by a mask or by positions."""
        return Records(self.series[chosen], self.starts_ms[chosen], self.records[chosen])


def count_windows(readings: Columns, bounds_ms: Int64Array, gap_ms: int, threads: int = 1) -> Records:
    """The records of the windows bounds_ms[w] <= t < bounds_ms[w + 1] that hold anything.

    bounds_ms int64[k + 1], ascending. Readings outside, up to gap_ms away, are the ends of lines that reach in.
    threads: one leaves the other cores to the writer.
    """
    series, window, words = rollup(
        readings.series,
        readings.ts_ms,
        readings.thousandths,
        bounds_ms,
        gap_ms,
        voltage=MEASURE_INDEX["voltage_v"],
        current=MEASURE_INDEX["current_a"],
        threads=threads,
    )
    return Records(series, bounds_ms[window], words.view(QUARTER)[:, 0])


def records_from_bytes(packed: bytes) -> RecordArray:
    """Records that were stored one behind the other."""
    found: np.ndarray[Any, np.dtype[np.void]] = np.frombuffer(packed, QUARTER)
    return found
