"""Readings rolled up into windows of time, one record for each series and window, exact in whole numbers.

A record is made of words of eight bytes, little-endian. For each measure: count, minimum, maximum, first, last,
first_ms, last_ms, covered_ms (int32), sum, sum_of_squares, twice_area (int64). Then charged, discharged,
charged_energy, discharged_energy (int64), covered_ms, energy_covered_ms (int32). `aggregations.quarters` names them.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
from numba import njit

from kernels.identity import is_sorted, sorted_order
from kernels.rolling import MEASURE_WORDS, PACK_WORDS, clear_records, fill_records
from kernels.runs import find_runs, place_records

GAP_MS_MAX: Final = 900_000
VALUE_MAX: Final = 5_000_000
"""Largest |thousandths| for which no sum but that of squares can leave its type, at 1 kHz for a quarter-hour."""


@njit("void(int32[:, ::1], int64[::1], int32[:, ::1], int32[:, ::1])", nogil=True, cache=True)
def gather_columns(thousandths, order, rows, gathered):  # type: ignore[no-untyped-def]
    """Set gathered int32[measures, n] to the columns in an order, by way of rows int32[n, measures].

    A row is one cache line, where its measures apart are one each: three times as fast for readings in arrival order.
    """
    for row in range(rows.shape[0]):
        for measure in range(rows.shape[1]):
            rows[row, measure] = thousandths[measure, row]
    for row in range(rows.shape[0]):
        for measure in range(rows.shape[1]):
            gathered[measure, row] = rows[order[row], measure]


def rollup(
    series: npt.NDArray[np.int32],
    ts_ms: npt.NDArray[np.int64],
    thousandths: npt.NDArray[np.int32],
    bounds: npt.NDArray[np.int64],
    gap_ms: int,
    *,
    voltage: int,
    current: int,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The records of all windows with anything in them: series int32[r], window int64[r], words int64[r, w].

    series int32[n]: a small number for each stretch of readings that lines may join (a pack's tenure). ts_ms int64[n],
    thousandths int32[measures, n] with ABSENT, |value| <= VALUE_MAX, in any order; rows of one series and time bring
    different measures and are put together. bounds int64[k + 1]: ascending; window w is bounds[w] <= t < bounds[w + 1].
    Readings outside of all windows count only as ends of lines. gap_ms <= GAP_MS_MAX: consecutive values at most that
    far apart are joined by a line, split at bounds. voltage, current: their rows of `thousandths`. Records are in order
    of (series, window). O(n) for sorted readings; a sum of squares that leaves int64 stays at its largest.
    """
    thousandths = np.ascontiguousarray(thousandths)
    if not is_sorted(series, ts_ms):
        order = sorted_order(series, ts_ms)
        gathered = np.empty_like(thousandths)
        gather_columns(thousandths, order, np.empty(thousandths.shape[::-1], np.int32), gathered)
        series, ts_ms, thousandths = series[order], ts_ms[order], gathered
    series, ts_ms, thousandths = _one_row_a_time(series, ts_ms, thousandths)
    bounds = np.ascontiguousarray(bounds, np.int64)
    run_first, run_window = np.empty(len(series) + 1, np.int64), np.empty(len(series) + 1, np.int64)
    runs, records = find_runs(series, ts_ms, bounds, gap_ms, run_first, run_window)
    run_record = np.empty(runs, np.int64)
    record_series, record_window = np.empty(records, np.int32), np.empty(records, np.int64)
    place_records(
        runs, series, ts_ms, bounds, gap_ms, run_first, run_window, run_record, record_series, record_window
    )
    words = np.empty((records, len(thousandths) * MEASURE_WORDS + PACK_WORDS), np.int64)
    halves = words.view(np.int32)
    clear_records(words, halves, len(thousandths))
    if records:
        fill_records(
            runs, series, ts_ms, thousandths, bounds, gap_ms, run_first, run_window, run_record, words, halves,
            (voltage, current),
        )  # fmt: skip
    return record_series, record_window, words


def _one_row_a_time(
    series: npt.NDArray[np.int32], ts_ms: npt.NDArray[np.int64], thousandths: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Sorted rows with those of one series and time put together; ABSENT is the least of all values."""
    different = np.ones(len(series), np.bool_)
    different[1:] = (series[1:] != series[:-1]) | (ts_ms[1:] != ts_ms[:-1])
    if different.all():
        return series, ts_ms, thousandths
    first = np.flatnonzero(different)
    return series[first], ts_ms[first], np.maximum.reduceat(thousandths, first, axis=1)
