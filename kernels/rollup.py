"""Readings rolled up into windows of time, one record for each series and window, exact in whole numbers.

A record is made of words of eight bytes, little-endian. For each measure: count, minimum, maximum, first, last,
first_ms, last_ms, covered_ms (int32), sum, sum_of_squares, twice_area (int64). Then charged, discharged,
charged_energy, discharged_energy (int64), covered_ms, energy_covered_ms (int32). `aggregations.quarters` names them.
"""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kernels.filling import fill_records
from kernels.identity import is_sorted, sorted_order
from kernels.layout import MEASURE_WORDS, PACK_WORDS
from kernels.pieces import turn
from kernels.runs import find_runs, place_records
from kernels.vectors import LANES

GAP_MS_MAX: Final = 900_000
_READINGS_OF_THREAD_MIN: Final = 100_000
VALUE_MAX: Final = 5_000_000
"""Largest |thousandths| for which no sum but that of squares can leave its type, at 1 kHz for a quarter-hour."""


def rollup(
    series: npt.NDArray[np.int32],
    ts_ms: npt.NDArray[np.int64],
    thousandths: npt.NDArray[np.int32],
    bounds: npt.NDArray[np.int64],
    gap_ms: int,
    *,
    voltage: int,
    current: int,
    threads: int = 1,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The records of all windows with anything in them: series int32[r], window int64[r], words int64[r, w].

    series int32[n]: a small number for each stretch of readings that lines may join (a pack's tenure). ts_ms int64[n],
    thousandths int32[measures, n] with ABSENT, |value| <= VALUE_MAX, in any order; rows of one series and time bring
    different measures and are put together. bounds int64[k + 1]: ascending; window w is bounds[w] <= t < bounds[w + 1].
    Readings outside of all windows count only as ends of lines. gap_ms <= GAP_MS_MAX: consecutive values at most that
    far apart are joined by a line, split at bounds. voltage, current: their rows of `thousandths`. Records are in order
    of (series, window). threads: how many fill the records of a large input; the results are the same.

    O(n) for sorted readings; a sum of squares that leaves int64 stays at its largest. Raises ValueError for more
    measures than LANES.
    """
    measures = len(thousandths)
    if measures > LANES:
        raise ValueError(f"{measures} measures are more than {LANES}: make LANES twice as large")
    given = _in_order(series, ts_ms, np.ascontiguousarray(thousandths))
    series, ts_ms = given[:2]
    bounds = np.ascontiguousarray(bounds, np.int64)
    run_first, run_window = np.empty(len(series) + 1, np.int64), np.empty(len(series) + 1, np.int64)
    runs, records = find_runs(series, ts_ms, bounds, gap_ms, run_first, run_window)
    run_record = np.empty(runs, np.int64)
    record_series, record_window = np.empty(records, np.int32), np.empty(records, np.int64)
    place_records(
        runs, series, ts_ms, bounds, gap_ms, run_first, run_window, run_record, record_series, record_window
    )
    words = np.empty((records, measures * MEASURE_WORDS + PACK_WORDS), np.int64)
    if records:
        longest = int(np.diff(run_first[: runs + 1]).max())
        halves, flows, found = words.view(np.int32), (voltage, current), (run_first, run_window, run_record)
        spans = _spans(series, run_first[:runs], threads)
        _in_threads([(given, found, span, longest, bounds, gap_ms, flows, words, halves) for span in spans])
    return record_series, record_window, words


Given = tuple[
    npt.NDArray[np.int32],
    npt.NDArray[np.int64],
    npt.NDArray[np.int32],
    npt.NDArray[np.int32],
    npt.NDArray[np.int64],
]


def _in_order(
    series: npt.NDArray[np.int32], ts_ms: npt.NDArray[np.int64], thousandths: npt.NDArray[np.int32]
) -> Given:
    """Readings in order of (series, time), one of each; as `kernels.pieces.GIVEN` says."""
    none = np.empty((0, LANES), np.int32), np.empty(0, np.int64)
    is_in_order = is_sorted(series, ts_ms)
    if is_in_order and _are_all_different(series, ts_ms):
        return series, ts_ms, thousandths, *none
    rows = np.empty((len(series), LANES), np.int32)
    turn(thousandths, 0, rows)
    order = sorted_order(series, ts_ms)
    series, ts_ms = series[order], ts_ms[order]
    if not _are_all_different(series, ts_ms):
        different = np.ones(len(series), np.bool_)
        different[1:] = (series[1:] != series[:-1]) | (ts_ms[1:] != ts_ms[:-1])
        first = np.flatnonzero(different)
        series, ts_ms = series[first], ts_ms[first]
        rows, order = np.maximum.reduceat(rows[order], first, axis=0), np.arange(len(first), dtype=np.int64)
    return series, ts_ms, thousandths, rows, order


def _are_all_different(series: npt.NDArray[np.int32], ts_ms: npt.NDArray[np.int64]) -> bool:
    return not bool(((series[1:] == series[:-1]) & (ts_ms[1:] == ts_ms[:-1])).any())


def _spans(
    series: npt.NDArray[np.int32], run_first: npt.NDArray[np.int64], threads: int
) -> list[tuple[int, int]]:
    """Runs of about as many readings for each thread, and of whole series."""
    threads = max(1, min(threads, len(series) // _READINGS_OF_THREAD_MIN))
    rows = [np.searchsorted(series, series[len(series) * thread // threads]) for thread in range(threads)]
    cuts = [*np.searchsorted(run_first, rows).tolist(), len(run_first)]
    return [(begins, ends) for begins, ends in pairwise(cuts) if begins < ends]


def _in_threads(parts: list[tuple[Any, ...]]) -> None:
    """Fill the records of all parts, the first one in the calling thread."""
    with ThreadPoolExecutor(max_workers=len(parts)) as pool:
        others = [pool.submit(fill_records, *part) for part in parts[1:]]
        fill_records(*parts[0])
        for other in others:
            other.result()
