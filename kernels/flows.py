"""Charge and energy between consecutive readings: areas under lines, above zero and below."""

import numpy as np
from numba import njit

from kernels.layout import ABSENT


@njit(
    "void(int64[::1], int64[::1], int64[::1], int64[::1])",
    nogil=True,
    cache=True,
    error_model="numpy",
)
def find_areas(values, durations, areas, above):  # type: ignore[no-untyped-def]
    """Twice the areas of lines between consecutive values, and twice those of their parts above zero.

    values, durations, areas, above int64[n]; line i goes from value i - 1 to value i and takes durations[i]; nothing
    is set at 0. |value| <= 10**10, duration <= 900,000. What lies below zero is `above` minus `areas`, exactly: the
    two parts of a line differ by a whole number, so both are rounded alike.

    A line that crosses zero has peak**2 * duration / span above it, below 2**53. The quotient in float64 is within
    a few units; the remainder is exact, though computed modulo 2**64, and far enough from multiples of the divisor
    once a half is added. Without a branch, so that eight lines are one vector: 0.5 ns a line, where
    branches take 0.7 for one sign and 8 for random ones.
    """
    befores, afters, times = values[:-1], values[1:], durations[1:]
    found, found_above = areas[1:], above[1:]
    for line in range(len(afters)):
        before, value, duration = befores[line], afters[line], times[line]
        low, high = min(before, value), max(before, value)
        crosses = low < 0 < high
        peak, span = (high, high - low) if crosses else (np.int64(0), np.int64(1))
        inverse = 1.0 / float(span)
        share = np.int64(float(peak) * float(peak) * float(duration) * inverse)
        remainder = 2 * peak * peak * duration + span - 2 * share * span
        share += np.int64(np.floor((float(remainder) + 0.5) * (0.5 * inverse)))
        area = (before + value) * duration
        found[line] = area
        found_above[line] = share if crosses else max(area, np.int64(0))


@njit("void(int32[:, ::1], int64, int64, int64[::1], int64[::1])", nogil=True, cache=True)
def find_power(rows, voltage, current, currents, powers):  # type: ignore[no-untyped-def]
    """The current of each row, and its power in milliwatts to the nearest, halves upwards; 0 where one is ABSENT.

    The quotient of whole numbers below 2**53 is far enough from whole ones to be rounded down in float64.
    """
    for row in range(len(powers)):
        of_voltage, of_current = np.int64(rows[row, voltage]), np.int64(rows[row, current])
        has_current = of_current != ABSENT
        both = has_current and of_voltage != ABSENT
        currents[row] = of_current if has_current else 0
        milliwatts = np.floor(float(of_voltage * of_current + 500) / 1000.0)
        powers[row] = np.int64(milliwatts) if both else 0
