"""Readings rolled up into windows of time, one record for each series and window, exact in whole numbers.

A record is RECORD_WORDS of eight bytes, little-endian. For each measure: count, minimum, maximum, first, last,
first_ms, last_ms, covered_ms (int32), sum, sum_of_squares, twice_area (int64). Then charged, discharged,
charged_energy, discharged_energy (int64), covered_ms, energy_covered_ms (int32). `aggregations.quarters` names them.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
from numba import njit

from kernels.identity import sorted_order
from kernels.lines import twice_area, twice_area_above

ABSENT = np.iinfo(np.int32).min
INT64_MAX = np.iinfo(np.int64).max

MEASURE_WORDS: Final = 7
PACK_WORDS: Final = 5
GAP_MS_MAX: Final = 900_000
VALUE_MAX: Final = 5_000_000
"""Largest |thousandths| for which no sum but that of squares can leave its type, at 1 kHz for a quarter-hour."""

NEVER_MS = np.int64(-(2**62))
NO_POWER = np.iinfo(np.int64).min
_PIECE_ROWS = 1 << 16
_COUNT, _MINIMUM, _MAXIMUM, _FIRST, _LAST, _FIRST_MS, _LAST_MS, _COVERED = range(8)
_SUM, _SQUARES, _AREA = 4, 5, 6
_CHARGED, _DISCHARGED, _CHARGED_ENERGY, _DISCHARGED_ENERGY = range(4)
_PACK_COVERED, _ENERGY_COVERED = 8, 9


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
    low, high = np.int64(-1), last
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
    "void(int64, int32[::1], int64[::1], int64[::1], int64, int64[::1], int64[::1], int64[::1], int32[::1], int64[::1])",
    nogil=True,
    cache=True,
)
def place_records(
    runs, series, ts_ms, bounds, gap_ms, run_first, run_window, run_record, record_series, record_window
):  # type: ignore[no-untyped-def]
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


@njit(
    "void(int64[:, ::1], int64, int64, int64[::1], int64, int64, int64, int64, int64, int64, int64)",
    nogil=True,
    cache=True,
)
def split_area(
    words, word, signed_word, bounds, record, window, began_ms, ended_ms, first, last, from_window
):  # type: ignore[no-untyped-def]
    """Give each window its part of the line from (began_ms, first) to (ended_ms, last), which ends in `window`.

    record: that of `window`; those of the windows before it stand before it. word: where twice the area is added, or
    -1; signed_word: where that above zero is, and behind it that below, or -1. Parts are differences of rounded
    areas from the line's start on, so they add up to the whole.
    """
    windows = len(bounds) - 1
    duration = ended_ms - began_ms
    area = above = below = np.int64(0)
    for passed in range(from_window, min(window, windows - 1) + 1):
        until = min(ended_ms, bounds[passed + 1]) - began_ms if passed >= 0 else bounds[0] - began_ms
        into = record - (window - passed)
        if word >= 0:
            reached = twice_area(first, last, duration, until)
            if passed >= 0:
                words[into, word] += reached - area
            area = reached
        if signed_word >= 0:
            reached = twice_area_above(first, last, duration, until)
            reached_below = twice_area_above(-first, -last, duration, until)
            if passed >= 0:
                words[into, signed_word] += reached - above
                words[into, signed_word + 1] += reached_below - below
            above, below = reached, reached_below


@njit(
    "void(int32[:, ::1], int64, int64[::1], int64, int64, int64, int64, int64)",
    nogil=True,
    cache=True,
)
def split_time(halves, half, bounds, record, window, began_ms, ended_ms, from_window):  # type: ignore[no-untyped-def]
    """Give each window its part of the time from began_ms to ended_ms; as in `split_area`."""
    for passed in range(max(from_window, 0), min(window, len(bounds) - 2) + 1):
        from_ms, to_ms = max(began_ms, bounds[passed]), min(ended_ms, bounds[passed + 1])
        halves[record - (window - passed), half] += to_ms - from_ms


@njit("UniTuple(int64, 2)(int32[::1], int64, int64)", nogil=True, cache=True, inline="always")
def ends_of(values, start, stop):  # type: ignore[no-untyped-def]
    """The first and the last row with a value among start <= row < stop; first == stop when there is none."""
    first, last = start, stop - 1
    while first < stop and values[first] == ABSENT:
        first += 1
    while last > first and values[last] == ABSENT:
        last -= 1
    return first, last


@njit(
    "void(int32[::1], int64[::1], int64, int64, int64, int64, int64[::1], int32[::1])", nogil=True, cache=True
)
def roll_values(values, ts_ms, first, last, began_ms, gap_ms, words, halves):  # type: ignore[no-untyped-def]
    """One measure's values of one window, rows first to last, into its part of the record.

    words int64[7], halves int32[14]: the same bytes. Both ends hold a value.
    """
    count, total, squares, area, covered = np.int64(0), np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    minimum = maximum = values[first]
    before_ms, before = ts_ms[first], np.int64(0)
    for piece in range(first, last + 1, _PIECE_ROWS):
        piece_squares = np.int64(0)
        for row in range(piece, min(piece + _PIECE_ROWS, last + 1)):
            if values[row] == ABSENT:
                continue
            value = np.int64(values[row])
            duration = ts_ms[row] - before_ms
            if duration <= gap_ms:
                area += (before + value) * duration
                covered += duration
            count += 1
            total += value
            piece_squares += value * value
            minimum = min(minimum, values[row])
            maximum = max(maximum, values[row])
            before_ms, before = ts_ms[row], value
        squares = squares + piece_squares if squares <= INT64_MAX - piece_squares else INT64_MAX
    halves[_COUNT], halves[_MINIMUM], halves[_MAXIMUM] = count, minimum, maximum
    halves[_FIRST], halves[_LAST] = values[first], values[last]
    halves[_FIRST_MS], halves[_LAST_MS] = ts_ms[first] - began_ms, ts_ms[last] - began_ms
    halves[_COVERED] += covered
    words[_SUM], words[_SQUARES] = total, squares
    words[_AREA] += area


@njit("void(int64[::1], int64, int64, int64, int64)", nogil=True, cache=True, inline="always")
def add_flow(words, word, before, value, duration):  # type: ignore[no-untyped-def]
    """Add twice the area above zero to words[word], and that below to the next, of a line inside a window."""
    if before >= 0 and value >= 0:
        words[word] += (before + value) * duration
    elif before <= 0 and value <= 0:
        words[word + 1] -= (before + value) * duration
    else:
        words[word] += twice_area_above(before, value, duration, duration)
        words[word + 1] += twice_area_above(-before, -value, duration, duration)


@njit("int64(int32[::1], int32[::1], int64)", nogil=True, cache=True, inline="always")
def power_at(voltage, current, row):  # type: ignore[no-untyped-def]
    """Power in milliwatts of a row with both, rounded to the nearest, else NO_POWER."""
    if voltage[row] == ABSENT or current[row] == ABSENT:
        return NO_POWER
    return (np.int64(voltage[row]) * np.int64(current[row]) + 500) // 1000


@njit("void(int32[::1], int64[::1], int64, int64, int64, int64[::1])", nogil=True, cache=True)
def roll_charge(current, ts_ms, first, last, gap_ms, flows):  # type: ignore[no-untyped-def]
    """Charge that flowed in and out between the rows first to last of one window; flows int64[4] of its record."""
    before_ms, before = ts_ms[first], np.int64(current[first])
    for row in range(first + 1, last + 1):
        if current[row] == ABSENT:
            continue
        value, duration = np.int64(current[row]), ts_ms[row] - before_ms
        if duration <= gap_ms:
            add_flow(flows, _CHARGED, before, value, duration)
        before_ms, before = ts_ms[row], value


@njit(
    "UniTuple(int64, 4)(int32[::1], int32[::1], int64[::1], int64, int64, int64, int64[::1], int32[::1], boolean)",
    nogil=True,
    cache=True,
)
def roll_energy(voltage, current, ts_ms, start, stop, gap_ms, flows, covers, inside):  # type: ignore[no-untyped-def]
    """Energy that flowed between the rows of one run; gives (first row, its power, last row, its power).

    flows int64[4] and covers int32[2] of the run's record, filled only when it lies inside. First row == stop when
    no row has both.
    """
    first, last = stop, stop
    first_power = before = np.int64(0)
    for row in range(start, stop):
        power = power_at(voltage, current, row)
        if power == NO_POWER:
            continue
        if first == stop:
            first, first_power = row, power
        elif inside and ts_ms[row] - ts_ms[last] <= gap_ms:
            add_flow(flows, _CHARGED_ENERGY, before, power, ts_ms[row] - ts_ms[last])
            covers[1] += ts_ms[row] - ts_ms[last]
        last, before = row, power
    return first, first_power, last, before


@njit(
    "void(int64, int32[::1], int64[::1], int32[:, ::1], int64[::1], int64, int64, int64, int64[::1], int64[::1], int64[::1],"
    " int64[:, ::1], int32[:, ::1])",
    nogil=True,
    cache=True,
)
def fill_records(
    runs,
    series,
    ts_ms,
    thousandths,
    bounds,
    gap_ms,
    voltage,
    current,
    run_first,
    run_window,
    run_record,
    words,
    halves,
):  # type: ignore[no-untyped-def]
    """All records from all runs; words int64[records, w] and halves int32[records, 2 w] are the same bytes.

    What is remembered of each measure, and behind them of power, is its last value before the run.
    """
    measures = thousandths.shape[0]
    pack_word, windows = measures * MEASURE_WORDS, len(bounds) - 1
    before_ms = np.empty(measures + 1, np.int64)
    before = np.empty(measures + 1, np.int64)
    before_window = np.empty(measures + 1, np.int64)
    for run in range(runs):
        start, stop = run_first[run], run_first[run + 1]
        window, record = run_window[run], run_record[run]
        inside = 0 <= window < windows
        if start == 0 or series[start] != series[start - 1]:
            before_ms[:] = NEVER_MS
        elif ts_ms[start] - ts_ms[start - 1] <= gap_ms:
            split_time(
                halves, 2 * pack_word + _PACK_COVERED, bounds, record, window, ts_ms[start - 1], ts_ms[start],
                run_window[run - 1],
            )  # fmt: skip
        for measure in range(measures):
            first, last = ends_of(thousandths[measure], start, stop)
            if first == stop:
                continue
            word = measure * MEASURE_WORDS
            if ts_ms[first] - before_ms[measure] <= gap_ms:
                split_area(
                    words, word + _AREA, pack_word + _CHARGED if measure == current else -1, bounds, record, window,
                    before_ms[measure], ts_ms[first], before[measure], thousandths[measure, first], before_window[measure],
                )  # fmt: skip
                split_time(
                    halves, 2 * word + _COVERED, bounds, record, window, before_ms[measure], ts_ms[first],
                    before_window[measure],
                )  # fmt: skip
            if inside:
                roll_values(
                    thousandths[measure], ts_ms, first, last, bounds[window], gap_ms,
                    words[record, word : word + MEASURE_WORDS], halves[record, 2 * word : 2 * (word + MEASURE_WORDS)],
                )  # fmt: skip
                if measure == current:
                    roll_charge(
                        thousandths[measure],
                        ts_ms,
                        first,
                        last,
                        gap_ms,
                        words[record, pack_word : pack_word + 4],
                    )
            before_ms[measure], before[measure] = ts_ms[last], thousandths[measure, last]
            before_window[measure] = window
        place = min(record, len(words) - 1)
        covers = halves[place, 2 * pack_word + _PACK_COVERED :]
        if inside:
            for row in range(start + 1, stop):
                if ts_ms[row] - ts_ms[row - 1] <= gap_ms:
                    covers[0] += ts_ms[row] - ts_ms[row - 1]
        first, first_power, last, last_power = roll_energy(
            thousandths[voltage], thousandths[current], ts_ms, start, stop, gap_ms,
            words[place, pack_word : pack_word + 4], covers, inside,
        )  # fmt: skip
        if first == stop:
            continue
        if ts_ms[first] - before_ms[measures] <= gap_ms:
            split_area(
                words, -1, pack_word + _CHARGED_ENERGY, bounds, record, window,
                before_ms[measures], ts_ms[first], before[measures], first_power, before_window[measures],
            )  # fmt: skip
            split_time(
                halves, 2 * pack_word + _ENERGY_COVERED, bounds, record, window, before_ms[measures], ts_ms[first],
                before_window[measures],
            )  # fmt: skip
        before_ms[measures], before[measures], before_window[measures] = ts_ms[last], last_power, window


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
    order = sorted_order(series, ts_ms)
    series, ts_ms = series[order], ts_ms[order]
    thousandths = np.ascontiguousarray(thousandths[:, order])
    series, ts_ms, thousandths = _one_row_a_time(series, ts_ms, thousandths)
    bounds = np.ascontiguousarray(bounds, np.int64)
    run_first, run_window = np.empty(len(series) + 1, np.int64), np.empty(len(series) + 1, np.int64)
    runs, records = find_runs(series, ts_ms, bounds, gap_ms, run_first, run_window)
    run_record = np.empty(runs, np.int64)
    record_series, record_window = np.empty(records, np.int32), np.empty(records, np.int64)
    place_records(
        runs, series, ts_ms, bounds, gap_ms, run_first, run_window, run_record, record_series, record_window
    )
    words = np.zeros((records, len(thousandths) * MEASURE_WORDS + PACK_WORDS), np.int64)
    halves = words.view(np.int32)
    for half in range(0, len(thousandths) * MEASURE_WORDS * 2, MEASURE_WORDS * 2):
        halves[:, half + _MINIMUM], halves[:, half + _MAXIMUM] = np.iinfo(np.int32).max, ABSENT
    if records:
        fill_records(
            runs, series, ts_ms, thousandths, bounds, gap_ms, voltage, current, run_first, run_window, run_record,
            words, halves,
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
