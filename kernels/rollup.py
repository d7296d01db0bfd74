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
from kernels.rolling import ABSENT, LANES, MEASURE_WORDS, PACK_WORDS, clear_records, fill_records
from kernels.runs import find_runs, place_records

GAP_MS_MAX: Final = 900_000
VALUE_MAX: Final = 5_000_000
"""Largest |thousandths| for which no sum but that of squares can leave its type, at 1 kHz for a quarter-hour."""


@njit("void(int32[:, ::1], int32[:, ::1])", nogil=True, cache=True)
def turn(thousandths, rows):  # type: ignore[no-untyped-def]
    """Set rows int32[n, LANES] to the columns of thousandths int32[measures, n], ABSENT behind them."""
    for row in range(rows.shape[0]):
        for measure in range(thousandths.shape[0]):
            rows[row, measure] = thousandths[measure, row]
        for measure in range(thousandths.shape[0], LANES):
            rows[row, measure] = ABSENT


@njit("void(int32[:, ::1], int64[::1], int32[:, ::1])", nogil=True, cache=True)
def pick(rows, order, picked):  # type: ignore[no-untyped-def]
    """Set picked int32[n, LANES] to the rows in an order; a row is half a cache line."""
    for row in range(picked.shape[0]):
        source = order[row]
        for measure in range(LANES):
            picked[row, measure] = rows[source, measure]


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
    measures = len(thousandths)
    if measures > LANES:
        raise ValueError(f"{measures} measures are more than {LANES}: make LANES twice as large")
    rows = np.empty((len(series), LANES), np.int32)
    turn(np.ascontiguousarray(thousandths), rows)
    if not is_sorted(series, ts_ms):
        order = sorted_order(series, ts_ms)
        sorted_rows = np.empty_like(rows)
        pick(rows, order, sorted_rows)
        series, ts_ms, rows = series[order], ts_ms[order], sorted_rows
    series, ts_ms, rows = _one_row_a_time(series, ts_ms, rows)
    bounds = np.ascontiguousarray(bounds, np.int64)
    run_first, run_window = np.empty(len(series) + 1, np.int64), np.empty(len(series) + 1, np.int64)
    runs, records = find_runs(series, ts_ms, bounds, gap_ms, run_first, run_window)
    run_record = np.empty(runs, np.int64)
    record_series, record_window = np.empty(records, np.int32), np.empty(records, np.int64)
    place_records(
        runs, series, ts_ms, bounds, gap_ms, run_first, run_window, run_record, record_series, record_window
    )
    words = np.empty((records, measures * MEASURE_WORDS + PACK_WORDS), np.int64)
    halves = words.view(np.int32)
    clear_records(words, halves, measures)
    if records:
        fill_records(
            runs, series, ts_ms, rows, bounds, gap_ms, run_first, run_window, run_record, words, halves,
            (voltage, current),
        )  # fmt: skip
    return record_series, record_window, words


def _one_row_a_time(
    series: npt.NDArray[np.int32], ts_ms: npt.NDArray[np.int64], rows: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Sorted rows with those of one series and time put together; ABSENT is the least of all values."""
    different = np.ones(len(series), np.bool_)
    different[1:] = (series[1:] != series[:-1]) | (ts_ms[1:] != ts_ms[:-1])
    if different.all():
        return series, ts_ms, rows
    first = np.flatnonzero(different)
    return series[first], ts_ms[first], np.maximum.reduceat(rows, first, axis=0)
