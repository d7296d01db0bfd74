"""Areas under a straight line between two whole values, exact before one rounding to a whole number.

Bounds: |value| <= 10**10 and 0 <= until <= duration <= 900,000, duration > 0. Within them no product leaves int64;
each function says how. Rounding is to the nearest, halves upwards.
"""

import numpy as np
from numba import njit

_PIECE_BITS = 18
_PIECE_MASK = (1 << _PIECE_BITS) - 1


@njit("int64(int64, int64, int64, int64)", nogil=True, cache=True, error_model="numpy", inline="always")
def rounded_share(factor, square, other, divisor):  # type: ignore[no-untyped-def]
    """The share factor * square**2 * other / divisor to the nearest, halves upwards, for a quotient below 2**57.

    The numerator may leave int64. The quotient is estimated in float64, within a few units of the true one; so the
    remainder is small, and is exact although it is computed modulo 2**64. One division of floats where long division
    takes six of integers: charge and energy became twice as fast.
    """
    quotient = np.int64(
        np.floor(float(factor) * float(square) * float(square) * float(other) / float(divisor))
    )
    doubled = 2 * divisor
    remainder = 2 * factor * square * square * other + divisor - quotient * doubled
    while remainder < 0:
        quotient -= 1
        remainder += doubled
    while remainder >= doubled:
        quotient += 1
        remainder -= doubled
    return quotient


@njit("UniTuple(int64, 2)(int64, int64, int64)", nogil=True, cache=True, error_model="numpy", inline="always")
def divided(factor, other, divisor):  # type: ignore[no-untyped-def]
    """Quotient and remainder of factor * other by divisor, for 0 <= factor < divisor < 2**35, 0 <= other < 2**35.

    Long division in two pieces of `other`: each product stays below 2**53.
    """
    high = factor * (other >> _PIECE_BITS)
    low = ((high % divisor) << _PIECE_BITS) + factor * (other & _PIECE_MASK)
    return ((high // divisor) << _PIECE_BITS) + low // divisor, low % divisor


@njit("UniTuple(int64, 2)(int64, int64, int64)", nogil=True, cache=True, error_model="numpy", inline="always")
def square_share(value, duration, span):  # type: ignore[no-untyped-def]
    """Quotient and remainder of value**2 * duration by span, for 0 <= value <= span: twice a triangle's area."""
    through = value * duration
    quotient, remainder = divided(through % span, value, span)
    return through // span * value + quotient, remainder


@njit("int64(int64, int64, int64, int64)", nogil=True, cache=True, error_model="numpy", inline="always")
def twice_area(first, last, duration, until):  # type: ignore[no-untyped-def]
    """Twice the area under the line from `first` to `last` over `duration`, from its start to `until`.

    2 * first * until + (last - first) * until**2 / duration, of which only the second term is rounded.
    """
    if until == duration:
        return (first + last) * duration
    return 2 * first * until + rounded_share(last - first, until, 1, duration)


@njit("int64(int64, int64, int64, int64)", nogil=True, cache=True, error_model="numpy")
def twice_area_above(first, last, duration, until):  # type: ignore[no-untyped-def]
    """Twice the area between zero and the part of the line above it, from its start to `until`."""
    if first >= 0 and last >= 0:
        return twice_area(first, last, duration, until)
    if first <= 0 and last <= 0:
        return np.int64(0)
    span = abs(last - first)
    if first > 0:
        if until * span <= first * duration:
            return twice_area(first, last, duration, until)
        return rounded_share(1, first, duration, span)
    if until * span <= -first * duration:
        return np.int64(0)
    # The whole triangle without what lies behind `until`, brought to one fraction before rounding: both remainders
    # times the other divisor are at most 2 * 10**10 * 9 * 10**5.
    behind = duration - until
    quotient, remainder = square_share(last, duration, span)
    cut = span * behind
    fraction = 2 * (remainder * duration + cut % duration * behind % duration * span) + span * duration
    cut_quotient = cut // duration * behind + cut % duration * behind // duration
    return quotient + cut_quotient - 2 * last * behind + fraction // (2 * span * duration)


@njit("UniTuple(int64, 2)(int64, int64, int64)", nogil=True, cache=True, error_model="numpy", inline="always")
def twice_triangles(above, below, duration):  # type: ignore[no-untyped-def]
    """Twice the areas above and below zero of a whole line that crosses it, from its two distances to zero.

    As `twice_area_above` gives them.
    """
    span = above + below
    return rounded_share(1, above, duration, span), rounded_share(1, below, duration, span)
