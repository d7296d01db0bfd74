"""The records of windows, filled run by run; `kernels.rollup` says what they hold."""

from typing import Final

import numpy as np
from numba import njit

from kernels.lines import twice_area, twice_area_above, twice_triangles

ABSENT = np.iinfo(np.int32).min
INT32_MAX = np.iinfo(np.int32).max
INT64_MAX = np.int64(np.iinfo(np.int64).max)
NEVER_MS = np.int64(-(2**62))
NO_POWER = np.int64(np.iinfo(np.int64).min)

LANES: Final = 8
"""Measures at most: a row of readings has that many columns, those behind the last measure ABSENT."""

MEASURE_WORDS: Final = 7
PACK_WORDS: Final = 5
COUNT, MINIMUM, MAXIMUM, FIRST, LAST, FIRST_MS, LAST_MS, COVERED = range(8)

_SUM, _SQUARES, _AREA = 4, 5, 6
_CHARGED, _CHARGED_ENERGY = 0, 2
_PACK_COVERED, _ENERGY_COVERED = 8, 9
_PIECE_ROWS = 1 << 16


@njit(
    "void(int64[:, ::1], int64, int64, int64[::1], int64, int64, int64, int64, int64, int64, int64)",
    nogil=True,
    cache=True,
    forceinline=True,
)
def split_area(  # type: ignore[no-untyped-def]
    words, word, signed_word, bounds, record, window, began_ms, ended_ms, first, last, from_window
):
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
    forceinline=True,
)
def split_time(halves, half, bounds, record, window, began_ms, ended_ms, from_window):  # type: ignore[no-untyped-def]
    """Give each window its part of the time from began_ms to ended_ms; as in `split_area`."""
    for passed in range(max(from_window, 0), min(window, len(bounds) - 2) + 1):
        from_ms, to_ms = max(began_ms, bounds[passed]), min(ended_ms, bounds[passed + 1])
        halves[record - (window - passed), half] += to_ms - from_ms


@njit("void(int64[:, ::1], int32[:, ::1], int64)", nogil=True, cache=True)
def clear_records(words, halves, measures):  # type: ignore[no-untyped-def]
    """Records of nothing: all 0, but the least and the largest value of their type as maximum and minimum."""
    for record in range(words.shape[0]):
        for word in range(words.shape[1]):
            words[record, word] = 0
        for measure in range(measures):
            half = 2 * measure * MEASURE_WORDS
            halves[record, half + MINIMUM], halves[record, half + MAXIMUM] = INT32_MAX, ABSENT


@njit("UniTuple(int64, 2)(int32[:, ::1], int64, int64, int64)", nogil=True, cache=True, forceinline=True)
def ends_of(rows, measure, start, stop):  # type: ignore[no-untyped-def]
    """The first and the last row with a value among start <= row < stop; first == stop when there is none."""
    first, last = start, stop - 1
    while first < stop and rows[first, measure] == ABSENT:
        first += 1
    while last > first and rows[last, measure] == ABSENT:
        last -= 1
    return first, last


@njit(
    "void(int32[:, ::1], int64[::1], int64, int64, int64, int64, int64, int64[:, ::1], int32[:, ::1], int64)",
    nogil=True,
    cache=True,
)
def roll_values(rows, ts_ms, measure, first, last, began_ms, gap_ms, words, halves, record):  # type: ignore[no-untyped-def]
    """One measure's values of one window, rows first to last, into its record; both ends hold a value."""
    count, total, squares, area, covered = np.int64(0), np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    minimum = maximum = rows[first, measure]
    before_ms, before = ts_ms[first], np.int64(0)
    for piece in range(first, last + 1, _PIECE_ROWS):
        piece_squares = np.int64(0)
        for row in range(piece, min(piece + _PIECE_ROWS, last + 1)):
            if rows[row, measure] == ABSENT:
                continue
            value = np.int64(rows[row, measure])
            duration = ts_ms[row] - before_ms
            if duration <= gap_ms:
                area += (before + value) * duration
                covered += duration
            count += 1
            total += value
            piece_squares += value * value
            minimum = min(minimum, rows[row, measure])
            maximum = max(maximum, rows[row, measure])
            before_ms, before = ts_ms[row], value
        squares = squares + piece_squares if squares <= INT64_MAX - piece_squares else INT64_MAX
    word, half = measure * MEASURE_WORDS, 2 * measure * MEASURE_WORDS
    halves[record, half + COUNT] = count
    halves[record, half + MINIMUM], halves[record, half + MAXIMUM] = minimum, maximum
    halves[record, half + FIRST] = rows[first, measure]
    halves[record, half + LAST] = rows[last, measure]
    halves[record, half + FIRST_MS] = ts_ms[first] - began_ms
    halves[record, half + LAST_MS] = ts_ms[last] - began_ms
    halves[record, half + COVERED] += covered
    words[record, word + _SUM], words[record, word + _SQUARES] = total, squares
    words[record, word + _AREA] += area


@njit(
    "void(int32[:, ::1], int64[::1], int64, int64, int64[:, ::1], int32[:, ::1])",
    nogil=True,
    cache=True,
    forceinline=True,
)
def roll_lanes(rows, ts_ms, start, stop, sums, extremes):  # type: ignore[no-untyped-def]
    """Sums and extremes of all measures of start <= row < stop; meaningless for one with an ABSENT minimum.

    sums int64[3, LANES]: of values, of squares, twice the area. extremes int32[2, LANES]: minimum, maximum. For at
    most _PIECE_ROWS rows, near enough to be joined. The inner loop is a few vector instructions, because its length
    is known: three times as fast as a loop over rows for each measure, which is short for a reading a minute.
    """
    some, times = rows[start:stop], ts_ms[start:stop]
    for measure in range(LANES):
        value = np.int64(some[0, measure])
        sums[0, measure], sums[1, measure], sums[2, measure] = value, value * value, 0
        extremes[0, measure] = extremes[1, measure] = some[0, measure]
    for row in range(1, len(times)):
        duration = times[row] - times[row - 1]
        for measure in range(LANES):
            value = np.int64(some[row, measure])
            sums[0, measure] += value
            sums[1, measure] += value * value
            sums[2, measure] += (value + some[row - 1, measure]) * duration
            extremes[0, measure] = min(extremes[0, measure], some[row, measure])
            extremes[1, measure] = max(extremes[1, measure], some[row, measure])


@njit(
    "void(int32[:, ::1], int64[::1], int64, int64, int64, int64, int64[:, ::1], int32[:, ::1], int64[:, ::1],"
    " int32[:, ::1], int64)",
    nogil=True,
    cache=True,
    forceinline=True,
)
def put_lane(rows, ts_ms, measure, start, stop, began_ms, sums, extremes, words, halves, record):  # type: ignore[no-untyped-def]
    """Put what `roll_lanes` found of one measure, which every row holds, into the record."""
    word, half = measure * MEASURE_WORDS, 2 * measure * MEASURE_WORDS
    halves[record, half + COUNT] = stop - start
    halves[record, half + MINIMUM], halves[record, half + MAXIMUM] = (
        extremes[0, measure],
        extremes[1, measure],
    )
    halves[record, half + FIRST], halves[record, half + LAST] = rows[start, measure], rows[stop - 1, measure]
    halves[record, half + FIRST_MS] = ts_ms[start] - began_ms
    halves[record, half + LAST_MS] = ts_ms[stop - 1] - began_ms
    halves[record, half + COVERED] += ts_ms[stop - 1] - ts_ms[start]
    words[record, word + _SUM], words[record, word + _SQUARES] = sums[0, measure], sums[1, measure]
    words[record, word + _AREA] += sums[2, measure]


@njit("UniTuple(int64, 2)(int64, int64, int64)", nogil=True, cache=True, inline="always")
def flow_of(before, value, duration):  # type: ignore[no-untyped-def]
    """Twice the areas above and below zero of a line."""
    if before >= 0 and value >= 0:
        return (before + value) * duration, np.int64(0)
    if before <= 0 and value <= 0:
        return np.int64(0), -(before + value) * duration
    above, below = twice_triangles(max(before, value), -min(before, value), duration)
    return above, below


@njit("int64(int32[:, ::1], int64, int64, int64)", nogil=True, cache=True, inline="always")
def power_at(rows, voltage, current, row):  # type: ignore[no-untyped-def]
    """Power in milliwatts of a row with both, rounded to the nearest, else NO_POWER."""
    if rows[row, voltage] == ABSENT or rows[row, current] == ABSENT:
        return NO_POWER
    return (np.int64(rows[row, voltage]) * np.int64(rows[row, current]) + 500) // 1000


@njit(
    "void(int32[:, ::1], int64[::1], int64, int64, int64, int64, int64[:, ::1], int64, int64)",
    nogil=True,
    cache=True,
    forceinline=True,
)
def roll_charge(rows, ts_ms, current, first, last, gap_ms, words, record, word):  # type: ignore[no-untyped-def]
    """Charge in and out between the rows first to last of one window, into words[record, word] and behind it."""
    charged, discharged = np.int64(0), np.int64(0)
    before_ms, before = ts_ms[first], np.int64(rows[first, current])
    for row in range(first + 1, last + 1):
        if rows[row, current] == ABSENT:
            continue
        value, duration = np.int64(rows[row, current]), ts_ms[row] - before_ms
        if duration <= gap_ms:
            above, below = flow_of(before, value, duration)
            charged += above
            discharged += below
        before_ms, before = ts_ms[row], value
    words[record, word] += charged
    words[record, word + 1] += discharged


@njit(
    "UniTuple(int64, 4)(int32[:, ::1], int64[::1], int64, int64, int64, int64, int64, int64[:, ::1], int32[:, ::1],"
    " int64, boolean)",
    nogil=True,
    cache=True,
    forceinline=True,
)
def roll_energy(rows, ts_ms, voltage, current, start, stop, gap_ms, words, halves, record, inside):  # type: ignore[no-untyped-def]
    """Energy that flowed between the rows of one run, into its record when it lies inside of the windows.

    Gives (first row, its power, last row, its power); first row == stop when no row has both.
    """
    first, last = stop, stop
    first_power = before = charged = discharged = covered = np.int64(0)
    for row in range(start, stop):
        power = power_at(rows, voltage, current, row)
        if power == NO_POWER:
            continue
        if first == stop:
            first, first_power = row, power
        elif ts_ms[row] - ts_ms[last] <= gap_ms:
            above, below = flow_of(before, power, ts_ms[row] - ts_ms[last])
            charged += above
            discharged += below
            covered += ts_ms[row] - ts_ms[last]
        last, before = row, power
    if inside:
        word = words.shape[1] - PACK_WORDS
        words[record, word + _CHARGED_ENERGY] += charged
        words[record, word + _CHARGED_ENERGY + 1] += discharged
        halves[record, 2 * word + _ENERGY_COVERED] += covered
    return first, first_power, last, before


@njit("UniTuple(int64, 2)(int64[::1], int64, int64, int64)", nogil=True, cache=True, forceinline=True)
def near_time(ts_ms, start, stop, gap_ms):  # type: ignore[no-untyped-def]
    """Time between consecutive rows of a run at most gap_ms apart, and how many pairs are further apart."""
    covered, far = np.int64(0), np.int64(0)
    for row in range(start, stop - 1):
        duration = ts_ms[row + 1] - ts_ms[row]
        near = duration <= gap_ms
        covered += duration if near else 0
        far += not near
    return covered, far


@njit("void(int64[:, ::1], int64, int64, int64, int64)", nogil=True, cache=True, inline="always")
def remember(before, measure, time, value, window):  # type: ignore[no-untyped-def]
    """Set what is remembered of a measure's last value."""
    before[measure, 0], before[measure, 1], before[measure, 2] = time, value, window


@njit(
    "void(int64, boolean, int64, int64, int64[:, ::1], int64[::1], int64, int64, int64[:, ::1], int32[:, ::1])",
    nogil=True,
    cache=True,
    forceinline=True,
)
def join(measure, flows, value, time, before, bounds, record, window, words, halves):  # type: ignore[no-untyped-def]
    """Give the windows the line from a measure's value before to its first one in `window`.

    flows: whether its areas above and below zero are charge, or energy where `measure` is behind the last one.
    """
    measures = len(before) - 1
    pack_word = measures * MEASURE_WORDS
    began_ms, first, from_window = before[measure, 0], before[measure, 1], before[measure, 2]
    if measure == measures:
        area_word, signed_word, half = -1, pack_word + _CHARGED_ENERGY, 2 * pack_word + _ENERGY_COVERED
    else:
        area_word, signed_word = measure * MEASURE_WORDS + _AREA, pack_word + _CHARGED if flows else -1
        half = 2 * measure * MEASURE_WORDS + COVERED
    split_area(
        words, area_word, signed_word, bounds, record, window, began_ms, time, first, value, from_window
    )
    split_time(halves, half, bounds, record, window, began_ms, time, from_window)


@njit(
    "void(int32[:, ::1], int64[::1], int64, boolean, boolean, UniTuple(int64, 4), int64[::1], int64, int64[:, ::1],"
    " int64[:, ::1], int32[:, ::1])",
    nogil=True,
    cache=True,
    forceinline=True,
)
def fill_measure(rows, ts_ms, measure, dense, flows, run, bounds, gap_ms, before, words, halves):  # type: ignore[no-untyped-def]
    """What a run brings of one measure, but for what `roll_lanes` found of a dense one.

    run: its first row, the row behind it, its window and its record. flows: whether the measure is the current.
    """
    start, stop, window, record = run
    first, last = (start, stop - 1) if dense else ends_of(rows, measure, start, stop)
    if first == stop:
        return
    inside = 0 <= window < len(bounds) - 1
    if ts_ms[first] - before[measure, 0] <= gap_ms:
        join(
            measure, flows, rows[first, measure], ts_ms[first], before, bounds, record, window, words, halves
        )
    if inside and not dense:
        roll_values(rows, ts_ms, measure, first, last, bounds[window], gap_ms, words, halves, record)
    if inside and flows:
        word = words.shape[1] - PACK_WORDS
        roll_charge(rows, ts_ms, measure, first, last, gap_ms, words, record, word)
    remember(before, measure, ts_ms[last], rows[last, measure], window)


@njit(
    "void(int64, int32[::1], int64[::1], int32[:, ::1], int64[::1], int64, int64[::1], int64[::1], int64[::1],"
    " int64[:, ::1], int32[:, ::1], UniTuple(int64, 2))",
    nogil=True,
    cache=True,
)
def fill_records(  # type: ignore[no-untyped-def]
    runs, series, ts_ms, rows, bounds, gap_ms, run_first, run_window, run_record, words, halves, flows
):
    """All records from all runs; words int64[records, w] and halves int32[records, 2 w] are the same bytes.

    flows: the rows of voltage and of current. What is remembered of each measure, and behind them of power, is its
    last value before the run: (time, value, window).
    """
    measures, windows = (words.shape[1] - PACK_WORDS) // MEASURE_WORDS, len(bounds) - 1
    sums, extremes = np.empty((3, LANES), np.int64), np.empty((2, LANES), np.int32)
    voltage, current = flows
    word = measures * MEASURE_WORDS
    before = np.empty((measures + 1, 3), np.int64)
    for run in range(runs):
        start, stop, window, record = run_first[run], run_first[run + 1], run_window[run], run_record[run]
        inside = 0 <= window < windows
        if start == 0 or series[start] != series[start - 1]:
            before[:, 0] = NEVER_MS
        elif ts_ms[start] - ts_ms[start - 1] <= gap_ms:
            began_ms, half = ts_ms[start - 1], 2 * word + _PACK_COVERED
            split_time(halves, half, bounds, record, window, began_ms, ts_ms[start], run_window[run - 1])
        covered, far = near_time(ts_ms, start, stop, gap_ms)
        plain = inside and far == 0 and stop - start <= _PIECE_ROWS
        if plain:
            roll_lanes(rows, ts_ms, start, stop, sums, extremes)
        for measure in range(measures):
            dense = plain and extremes[0, measure] != ABSENT
            if dense:
                began_ms = bounds[window]
                put_lane(rows, ts_ms, measure, start, stop, began_ms, sums, extremes, words, halves, record)
            place = start, stop, window, record
            is_current = measure == current
            fill_measure(
                rows, ts_ms, measure, dense, is_current, place, bounds, gap_ms, before, words, halves
            )
        if inside:
            halves[record, 2 * word + _PACK_COVERED] += covered
        first, power, last, last_power = roll_energy(
            rows, ts_ms, voltage, current, start, stop, gap_ms, words, halves, record, inside
        )
        if first < stop:
            if ts_ms[first] - before[measures, 0] <= gap_ms:
                join(measures, True, power, ts_ms[first], before, bounds, record, window, words, halves)
            remember(before, measures, ts_ms[last], last_power, window)
