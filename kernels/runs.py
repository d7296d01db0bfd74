"""Runs of sorted readings that lie in one window of time, and where the record of each window goes."""

from typing import Final

import numpy as np
from numba import njit

PLACE: Final = "UniTuple(int64, 6)"
"""A run in a piece: its first row and the one behind it, its window and record, the window of the run before, and how
it meets that one."""

BEGINS, APART, IS_CUT, PASSES = range(4)
"""The run is its series' first; or is too far from the one before; or the line between them crosses one bound; or
more."""


@njit("int64(int64[::1], int64, int64)", nogil=True, cache=True)
def window_at(bounds, ts_ms, near):  # type: ignore[no-untyped-def]
    """The window that holds a time: w with bounds[w] <= ts_ms < bounds[w + 1]; -1 before all, len - 1 behind.

    near: where to look first, at most the answer or anything in range.
    """
    last = len(bounds) - 1
    if near >= 0 and bounds[near] <= ts_ms:
        if near == last or ts_ms < bounds[near + 1]:
            return near
        if near + 1 == last or ts_ms < bounds[near + 2]:
            return near + 1
    low, high = -1, last
    while low < high:
        middle = (low + high + 1) // 2
        if bounds[middle] <= ts_ms:
            low = middle
        else:
            high = middle - 1
    return low


@njit(
    "UniTuple(int64, 2)(int32[::1], int64[::1], int64[::1], int64, int64[::1], int64[::1])",
    nogil=True,
    cache=True,
)
def find_runs(series, ts_ms, bounds, gap_ms, run_first, run_window):  # type: ignore[no-untyped-def]
    """Runs of rows of one series and window: their first rows and windows; gives the numbers of runs and records.

    run_first, run_window int64[n + 1] are filled. A window that a line of at most gap_ms passes over without a
    reading has a record too.
    """
    windows = len(bounds) - 1
    runs, records = np.int64(0), np.int64(0)
    window = np.int64(-1)
    for row in range(len(series)):
        same = row > 0 and series[row] == series[row - 1]
        if same and (window == windows or ts_ms[row] < bounds[window + 1]):
            continue
        previous = window
        window = window_at(bounds, ts_ms[row], window)
        if same and ts_ms[row] - ts_ms[row - 1] <= gap_ms:
            records += max(min(window, windows) - previous - 1, 0)
        run_first[runs] = row
        run_window[runs] = window
        runs += 1
        if 0 <= window < windows:
            records += 1
    run_first[runs] = len(series)
    return runs, records


@njit(
    "void(int64, int32[::1], int64[::1], int64[::1], int64, int64[::1], int64[::1], int64[::1], int32[::1],"
    " int64[::1])",
    nogil=True,
    cache=True,
)
def place_records(  # type: ignore[no-untyped-def]
    runs, series, ts_ms, bounds, gap_ms, run_first, run_window, run_record, record_series, record_window
):
    """The record of each run, and the series and window of each record; see `find_runs`."""
    windows = len(bounds) - 1
    record = np.int64(0)
    for run in range(runs):
        row, window = run_first[run], run_window[run]
        if row > 0 and series[row] == series[row - 1] and ts_ms[row] - ts_ms[row - 1] <= gap_ms:
            for passed in range(run_window[run - 1] + 1, min(window, windows)):
                record_series[record] = series[row]
                record_window[record] = passed
                record += 1
        run_record[run] = record
        if 0 <= window < windows:
            record_series[record] = series[row]
            record_window[record] = window
            record += 1
