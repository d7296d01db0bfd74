"""All measures of a run of readings together, one lane of a vector each."""

import numpy as np
from numba import njit

from kernels.layout import (
    ABSENT,
    AREA,
    COUNT,
    COVERED,
    FIRST,
    FIRST_MS,
    LAST,
    LAST_MS,
    MAXIMUM,
    MEASURE_WORDS,
    MINIMUM,
    SQUARES,
    SUM,
)
from kernels.lines import twice_area
from kernels.vectors import load, maximum, minimum, same, store

TOTAL, SQUARED, TWICE_AREA, LOW, HIGH = range(5)
ROWS_MAX = 1 << 16
"""Of a run whose sums of squares can't leave int64."""


@njit(
    "void(int32[:, ::1], int64[::1], int64, int64, int64[:, ::1])", nogil=True, cache=True, forceinline=True
)
def roll_lanes(rows, durations, start, stop, found):  # type: ignore[no-untyped-def]
    """Sums and extremes of start <= row < stop, at most ROWS_MAX; meaningless for a lane with ABSENT as its LOW.

    rows int32[k, LANES]; durations int64[k] from the row before, 0 where no line joins them. found int64[5, LANES]:
    sums of values and of squares, twice the area, least and largest. 0.8 ns a row, against 9 for loops over lanes,
    which LLVM doesn't vectorise.
    """
    before = load(rows, start)
    total, squares, area, low, high = before, before * before, same(0), before, before
    times = durations[start:stop]
    for place in range(1, len(times)):
        value = load(rows, start + place)
        total = total + value
        squares = squares + value * value
        area = area + (before + value) * same(times[place])
        low, high = minimum(low, value), maximum(high, value)
        before = value
    store(found, TOTAL, total)
    store(found, SQUARED, squares)
    store(found, TWICE_AREA, area)
    store(found, LOW, low)
    store(found, HIGH, high)


@njit(
    "void(int32[:, ::1], int64, int64, UniTuple(int64, 3), int64[:, ::1], int64[:, ::1], int32[:, ::1], int64, int64)",
    nogil=True,
    cache=True,
    forceinline=True,
)
def put_lanes(rows, start, stop, times, found, words, halves, record, measures):  # type: ignore[no-untyped-def]
    """Put what `roll_lanes` found of each measure that every row holds into the record.

    times: first and last since the window's start, and how much between them lines cover.
    """
    first_ms, last_ms, covered = times
    for measure in range(measures):
        if found[LOW, measure] == ABSENT:
            continue
        word, half = measure * MEASURE_WORDS, 2 * measure * MEASURE_WORDS
        halves[record, half + COUNT] = stop - start
        halves[record, half + MINIMUM], halves[record, half + MAXIMUM] = (
            found[LOW, measure],
            found[HIGH, measure],
        )
        halves[record, half + FIRST], halves[record, half + LAST] = (
            rows[start, measure],
            rows[stop - 1, measure],
        )
        halves[record, half + FIRST_MS], halves[record, half + LAST_MS] = first_ms, last_ms
        halves[record, half + COVERED] += covered
        words[record, word + SUM], words[record, word + SQUARES] = (
            found[TOTAL, measure],
            found[SQUARED, measure],
        )
        words[record, word + AREA] += found[TWICE_AREA, measure]


@njit(
    "void(int32[:, ::1], int64, int64, int64, boolean, boolean, int64[:, ::1], int32[:, ::1], int64, int64)",
    nogil=True,
    cache=True,
    forceinline=True,
)
def cut_lanes(rows, start, duration, until, leaves, enters, words, halves, record, measures):  # type: ignore[no-untyped-def]
    """Give the lines of all measures that both rows hold, from row start - 1 to start, to two windows.

    until: from the line's start to the bound between the windows. leaves, enters: whether the first and the second
    are among the windows; `record` is the second's, the first's stands before it.
    """
    for measure in range(measures):
        before, value = np.int64(rows[start - 1, measure]), np.int64(rows[start, measure])
        if min(before, value) == ABSENT:
            continue
        word, half = measure * MEASURE_WORDS + AREA, 2 * measure * MEASURE_WORDS + COVERED
        reached = twice_area(before, value, duration, until)
        if leaves:
            words[record - 1, word] += reached
            halves[record - 1, half] += until
        if enters:
            words[record, word] += (before + value) * duration - reached
            halves[record, half] += duration - until
