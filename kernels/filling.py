"""The records of windows, filled run by run; `kernels.rollup` says what they hold."""

from typing import Final

import numpy as np
from numba import njit

from kernels.lanes import HIGH, LOW, ROWS_MAX, TWICE_AREA, cut_lanes, put_lanes, roll_lanes
from kernels.layout import (
    ABSENT,
    CHARGED,
    CHARGED_ENERGY,
    ENERGY_COVERED,
    INT32_MAX,
    MAXIMUM,
    MEASURE_WORDS,
    MINIMUM,
    PACK_COVERED,
    PACK_WORDS,
)
from kernels.lines import twice_area_above
from kernels.pieces import CHARGED as CHARGED_LINE
from kernels.pieces import CURRENT, ENERGY, ENERGY_AREA, GIVEN, PIECE, POWER, load_piece, new_piece
from kernels.pieces import ROWS as PIECE_ROWS
from kernels.rolling import NEVER_MS, fill_energy, fill_measure, split_time
from kernels.runs import APART, BEGINS, IS_CUT, PASSES, PLACE
from kernels.vectors import LANES

_RUNS: Final = "Tuple((int64[::1], int64[::1], int64[::1]))"


@njit("void(int64[:, ::1], int32[:, ::1], int64, int64)", nogil=True, cache=True, forceinline=True)
def clear_records(words, halves, first, behind):  # type: ignore[no-untyped-def]
    """Records of nothing: all 0, but the least and the largest value of their type as maximum and minimum."""
    for record in range(first, behind):
        words[record, :] = 0
        for half in range(0, 2 * (words.shape[1] - PACK_WORDS), 2 * MEASURE_WORDS):
            halves[record, half + MINIMUM], halves[record, half + MAXIMUM] = INT32_MAX, ABSENT


@njit(
    f"void({PIECE}, int64, UniTuple(int64, 2), {PLACE}, UniTuple(boolean, 2), int64, int64[:, ::1])",
    nogil=True,
    cache=True,
    forceinline=True,
)
def cut_flow(piece, kind, lines, place, among, until, words):  # type: ignore[no-untyped-def]
    """Give charge or energy of the line into a run to two windows; as `cut_lanes`.

    lines: the rows of the piece's values and of their areas above zero. kind: the word behind the measures.
    """
    _, _, durations, known = piece
    start, _, _, record, _, _ = place
    values, areas = lines
    first, last, duration = known[values, start - 1], known[values, start], durations[start]
    above = known[areas, start]
    below = above - (first + last) * duration
    reached, reached_below = above, below
    if until < duration:
        reached = twice_area_above(first, last, duration, until)
        reached_below = twice_area_above(-first, -last, duration, until)
    word = words.shape[1] - PACK_WORDS + kind
    leaves, enters = among
    if leaves:
        words[record - 1, word] += reached
        words[record - 1, word + 1] += reached_below
    if enters:
        words[record, word] += above - reached
        words[record, word + 1] += below - reached_below


@njit(
    f"void({PIECE}, UniTuple(int64, 2), {PLACE}, int64[::1], int64[:, ::1], int32[:, ::1])",
    nogil=True,
    cache=True,
    forceinline=True,
)
def cut_line(piece, flows, place, bounds, words, halves):  # type: ignore[no-untyped-def]
    """Give the line between two runs, of all that both of its ends hold, to the windows of both."""
    rows, ts_ms, durations, _ = piece
    start, _, window, record, from_window, _ = place
    voltage, current = flows
    duration, until = durations[start], bounds[window] - ts_ms[start - 1]
    leaves, enters = from_window >= 0, window < len(bounds) - 1
    pack_word = words.shape[1] - PACK_WORDS
    measures = pack_word // MEASURE_WORDS
    cut_lanes(rows, start, duration, until, leaves, enters, words, halves, record, measures)
    if leaves:
        halves[record - 1, 2 * pack_word + PACK_COVERED] += until
    if enters:
        halves[record, 2 * pack_word + PACK_COVERED] += duration - until
    if rows[start - 1, current] == ABSENT or rows[start, current] == ABSENT:
        return
    cut_flow(piece, CHARGED, (CURRENT, CHARGED_LINE), place, (leaves, enters), until, words)
    if rows[start - 1, voltage] == ABSENT or rows[start, voltage] == ABSENT:
        return
    cut_flow(piece, CHARGED_ENERGY, (POWER, ENERGY), place, (leaves, enters), until, words)
    if leaves:
        halves[record - 1, 2 * pack_word + ENERGY_COVERED] += until
    if enters:
        halves[record, 2 * pack_word + ENERGY_COVERED] += duration - until


@njit(
    f"void({PIECE}, UniTuple(int64, 2), {PLACE}, int64, int64[:, ::1], int64[:, ::1], int32[:, ::1])",
    nogil=True,
    cache=True,
    forceinline=True,
)
def roll_dense(piece, flows, place, began_ms, found, words, halves):  # type: ignore[no-untyped-def]
    """Put what a run inside of the windows brings of measures that all its rows hold into its record."""
    rows, ts_ms, durations, lines = piece
    start, stop, _, record, _, _ = place
    voltage, current = flows
    if stop - start > ROWS_MAX:
        found[LOW, :] = ABSENT
    else:
        roll_lanes(rows, durations, start, stop, found)
    charged = energy = energy_area = covered = np.int64(0)
    of_time, of_charge = durations[start + 1 : stop], lines[CHARGED_LINE, start + 1 : stop]
    of_energy, of_area = lines[ENERGY, start + 1 : stop], lines[ENERGY_AREA, start + 1 : stop]
    for line in range(len(of_time)):
        covered += of_time[line]
        charged += of_charge[line]
        energy += of_energy[line]
        energy_area += of_area[line]
    pack_word = words.shape[1] - PACK_WORDS
    times = ts_ms[start] - began_ms, ts_ms[stop - 1] - began_ms, covered
    put_lanes(rows, start, stop, times, found, words, halves, record, pack_word // MEASURE_WORDS)
    halves[record, 2 * pack_word + PACK_COVERED] += covered
    if found[LOW, current] == ABSENT:
        return
    words[record, pack_word + CHARGED] += charged
    words[record, pack_word + CHARGED + 1] += charged - found[TWICE_AREA, current]
    if found[LOW, voltage] == ABSENT:
        return
    words[record, pack_word + CHARGED_ENERGY] += energy
    words[record, pack_word + CHARGED_ENERGY + 1] += energy - energy_area
    halves[record, 2 * pack_word + ENERGY_COVERED] += covered


@njit(f"boolean(int32[:, ::1], int64, boolean, {PLACE})", nogil=True, cache=True, inline="always")
def is_plain(rows, measure, dense, place):  # type: ignore[no-untyped-def]
    """Whether `roll_dense` and `cut_line` do all that a run brings of a measure."""
    start, stop, _, _, _, meets = place
    if not dense or rows[start, measure] == ABSENT or rows[stop - 1, measure] == ABSENT:
        return False
    return meets in (BEGINS, APART) or (meets == IS_CUT and rows[start - 1, measure] != ABSENT)


@njit(
    f"void({PIECE}, UniTuple(int64, 2), {PLACE}, int64[::1], int64, int64[:, ::1], int64[:, ::1], int64[:, ::1],"
    " int32[:, ::1])",
    nogil=True,
    cache=True,
    forceinline=True,
)
def fill_run(piece, flows, place, bounds, gap_ms, before, found, words, halves):  # type: ignore[no-untyped-def]
    """All that a run and the line into it bring. before: see `fill_records`; found: room for `roll_lanes`."""
    rows, ts_ms, _, _ = piece
    start, _, window, record, from_window, meets = place
    voltage, current = flows
    if meets == BEGINS:
        before[:, 0] = NEVER_MS
    if 0 <= window < len(bounds) - 1:
        roll_dense(piece, flows, place, bounds[window], found, words, halves)
    else:
        found[LOW, :] = 0
    if meets == IS_CUT:
        cut_line(piece, flows, place, bounds, words, halves)
    elif meets == PASSES:
        half = 2 * (words.shape[1] - PACK_WORDS) + PACK_COVERED
        split_time(halves, half, bounds, record, window, ts_ms[start - 1], ts_ms[start], from_window)
    for measure in range(len(before) - 1):
        dense = found[LOW, measure] != ABSENT
        if not is_plain(rows, measure, dense, place):
            flowing = measure == current
            fill_measure(piece, measure, flowing, dense, place, bounds, gap_ms, before, words, halves)
    has_voltage, has_current = found[LOW, voltage] != ABSENT, found[LOW, current] != ABSENT
    if not (is_plain(rows, voltage, has_voltage, place) and is_plain(rows, current, has_current, place)):
        both = has_voltage and has_current
        fill_energy(piece, flows, both, place, bounds, gap_ms, before, words, halves)


@njit("int64(int64[::1], int64, int64)", nogil=True, cache=True)
def piece_end(run_first, run, behind):  # type: ignore[no-untyped-def]
    """The run behind those from `run` on that make a piece."""
    end = run + 1
    while end < behind and run_first[end + 1] - run_first[run] <= PIECE_ROWS:
        end += 1
    return end


@njit(
    f"void({GIVEN}, {_RUNS}, UniTuple(int64, 2), int64, int64[::1], int64, UniTuple(int64, 2), int64[:, ::1],"
    " int32[:, ::1])",
    nogil=True,
    cache=True,
)
def fill_records(given, runs, span, longest, bounds, gap_ms, flows, words, halves):  # type: ignore[no-untyped-def]
    """The records of the runs span[0] <= run < span[1], whole series; longest: rows of the longest run.

    words int64[records, w] and halves int32[records, 2 w] are the same bytes. flows: the rows of voltage and current.
    What is remembered of each measure, and behind them of power, is the last value that doesn't stand in the row
    before a run: (time, value, window).
    """
    series = given[0]
    run_first, run_window, run_record = runs
    run, last = span
    windows = len(bounds) - 1
    piece = new_piece(max(longest, PIECE_ROWS))
    before = np.empty(((words.shape[1] - PACK_WORDS) // MEASURE_WORDS + 1, 3), np.int64)
    found = np.empty((HIGH + 1, LANES), np.int64)
    cleared = run_record[run] if run < last else 0
    while run < last:
        end = piece_end(run_first, run, last)
        base = run_first[run] - 1
        load_piece(given, run_first[run], run_first[end], gap_ms, flows, piece)
        for one in range(run, end):
            first, window, record = run_first[one], run_window[one], run_record[one]
            from_window, meets = np.int64(0), BEGINS
            if first > 0 and series[first] == series[first - 1]:
                from_window = run_window[one - 1]
                meets = IS_CUT if window == from_window + 1 else PASSES
                if piece[2][first - base] == 0:
                    meets = APART
            behind = record + 1 if 0 <= window < windows else record
            clear_records(words, halves, cleared, behind)
            cleared = behind
            place = first - base, run_first[one + 1] - base, window, record, from_window, meets
            fill_run(piece, flows, place, bounds, gap_ms, before, found, words, halves)
        run = end
