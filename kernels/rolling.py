"""What a run brings to records when measures come and go, and lines over many windows: any case, value by value.

`kernels.lanes` does what is common: all rows of a run hold a measure.
"""

from typing import Final

import numpy as np
from numba import njit

from kernels.layout import (
    ABSENT,
    AREA,
    CHARGED,
    CHARGED_ENERGY,
    COUNT,
    COVERED,
    ENERGY_COVERED,
    FIRST,
    FIRST_MS,
    LAST,
    LAST_MS,
    MAXIMUM,
    MEASURE_WORDS,
    MINIMUM,
    PACK_WORDS,
    SQUARES,
    SUM,
)
from kernels.lines import twice_area, twice_area_above, twice_triangles
from kernels.pieces import PIECE
from kernels.runs import BEGINS, IS_CUT, PLACE

INT64_MAX: Final = np.int64(np.iinfo(np.int64).max)
NEVER_MS: Final = np.int64(-(2**62))
NO_POWER: Final = np.int64(np.iinfo(np.int64).min)
_PIECE_ROWS: Final = 1 << 16


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
    words[record, word + SUM], words[record, word + SQUARES] = total, squares
    words[record, word + AREA] += area


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
        words[record, word + CHARGED_ENERGY] += charged
        words[record, word + CHARGED_ENERGY + 1] += discharged
        halves[record, 2 * word + ENERGY_COVERED] += covered
    return first, first_power, last, before


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
        area_word, signed_word, half = -1, pack_word + CHARGED_ENERGY, 2 * pack_word + ENERGY_COVERED
    else:
        area_word, signed_word = measure * MEASURE_WORDS + AREA, pack_word + CHARGED if flows else -1
        half = 2 * measure * MEASURE_WORDS + COVERED
    split_area(
        words, area_word, signed_word, bounds, record, window, began_ms, time, first, value, from_window
    )
    split_time(halves, half, bounds, record, window, began_ms, time, from_window)


@njit(
    f"void({PIECE}, int64, boolean, boolean, {PLACE}, int64[::1], int64, int64[:, ::1], int64[:, ::1], int32[:, ::1])",
    nogil=True,
    cache=True,
)
def fill_measure(piece, measure, flows, dense, place, bounds, gap_ms, before, words, halves):  # type: ignore[no-untyped-def]
    """What a run brings of one measure, but for what `kernels.lanes` did: of a dense one, and of a line that is cut.

    flows: whether the measure is the current.
    """
    rows, ts_ms = piece[:2]
    start, stop, window, record, from_window, meets = place
    known = meets != BEGINS and rows[start - 1, measure] != ABSENT
    if known:
        remember(before, measure, ts_ms[start - 1], rows[start - 1, measure], from_window)
    first, last = ends_of(rows, measure, start, stop)
    if first == stop:
        return
    is_cut = meets == IS_CUT and known and first == start
    if not is_cut and ts_ms[first] - before[measure, 0] <= gap_ms:
        join(
            measure, flows, rows[first, measure], ts_ms[first], before, bounds, record, window, words, halves
        )
    if not dense and 0 <= window < len(bounds) - 1:
        roll_values(rows, ts_ms, measure, first, last, bounds[window], gap_ms, words, halves, record)
        if flows:
            word = words.shape[1] - PACK_WORDS
            roll_charge(rows, ts_ms, measure, first, last, gap_ms, words, record, word)
    remember(before, measure, ts_ms[last], rows[last, measure], window)


@njit(
    f"void({PIECE}, UniTuple(int64, 2), boolean, {PLACE}, int64[::1], int64, int64[:, ::1], int64[:, ::1],"
    " int32[:, ::1])",
    nogil=True,
    cache=True,
)
def fill_energy(piece, flows, dense, place, bounds, gap_ms, before, words, halves):  # type: ignore[no-untyped-def]
    """What a run brings of energy; as `fill_measure`."""
    rows, ts_ms = piece[:2]
    voltage, current = flows
    start, stop, window, record, from_window, meets = place
    measures = len(before) - 1
    power = power_at(rows, voltage, current, start - 1)
    known = meets != BEGINS and power != NO_POWER
    if known:
        remember(before, measures, ts_ms[start - 1], power, from_window)
    rolls = not dense and 0 <= window < len(bounds) - 1
    first, power, last, last_power = roll_energy(
        rows, ts_ms, voltage, current, start, stop, gap_ms, words, halves, record, rolls
    )
    if first == stop:
        return
    is_cut = meets == IS_CUT and known and first == start
    if not is_cut and ts_ms[first] - before[measures, 0] <= gap_ms:
        join(measures, True, power, ts_ms[first], before, bounds, record, window, words, halves)
    remember(before, measures, ts_ms[last], last_power, window)
