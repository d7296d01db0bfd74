"""Readings scanned straight out of plain JSON text, without an object for any of them.

Plain is what machines write: flat objects with known names, numbers without exponent and of at most 15 digits,
RFC 3339 times with offset or whole milliseconds, pack names of printable ASCII without escapes. All else is left
to a parser: a scan never tells what is wrong, only that the text is not plain.

Only `byte_at` is inlined: with all of them so, compiling took half a minute, and scanning was no faster.
"""

# ruff: noqa: PLR2004 - months, hours and digits are plainest as numbers

from typing import Final

import numpy as np
import numpy.typing as npt
from numba import njit

NOT_PLAIN: Final = -1
DIGITS_MAX: Final = 15
"""An integer of so many digits is exact in a float64, and so is its quotient by a power of ten, when rounded."""

PADDING: Final = 32
"""Zeros behind the text, which are part of no plain text: so nothing asks where it ends, which took most time."""

TEXT = "uint8[::1]"
QUOTE, COLON, COMMA, POINT = ord('"'), ord(":"), ord(","), ord(".")
ZERO, MINUS, PLUS, SMALL_N = ord("0"), ord("-"), ord("+"), ord("n")
OPEN, CLOSE, OPEN_LIST, CLOSE_LIST = ord("{"), ord("}"), ord("["), ord("]")
SPACES = np.isin(np.arange(256), [ord(one) for one in " \t\n\r"])
LETTERS = np.isin(np.arange(256), [code for code in range(ord(" "), ord("~") + 1) if code not in b'"\\'])
POWERS_OF_TEN = 10.0 ** np.arange(DIGITS_MAX + 1)
DAYS_BEFORE_MONTH = np.array([0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365])
DAYS_TO_1970: Final = 719_162
MS_PER_DAY: Final = 86_400_000
PACK, TS, FIRST_MEASURE = 0, 1, 2


@njit(inline="always")
def byte_at(text, at):  # type: ignore[no-untyped-def]
    return np.int64(text[at])


@njit(f"int64({TEXT}, int64)", nogil=True, cache=True)
def after_space(text, at):  # type: ignore[no-untyped-def]
    while SPACES[byte_at(text, at)]:
        at += 1
    return at


@njit(f"int64({TEXT}, int64)", nogil=True, cache=True)
def closing_quote(text, at):  # type: ignore[no-untyped-def]
    """Where the text that begins at `at`, behind its quote, ends; NOT_PLAIN for other than printable ASCII."""
    while True:
        byte = byte_at(text, at)
        if byte == QUOTE:
            return at
        if not LETTERS[byte]:
            return NOT_PLAIN
        at += 1


@njit(f"UniTuple(int64, 2)({TEXT}, int64)", nogil=True, cache=True)
def digits(text, at):  # type: ignore[no-untyped-def]
    """The value of a run of digits, and where it ends; beyond DIGITS_MAX the value is of no use."""
    value = 0
    digit = byte_at(text, at) - ZERO
    while 0 <= digit <= 9:
        value = value * 10 + digit
        at += 1
        digit = byte_at(text, at) - ZERO
    return value, at


@njit(f"Tuple((float64, int64))({TEXT}, int64)", nogil=True, cache=True)
def number(text, at):  # type: ignore[no-untyped-def]
    """A number, and where it ends or NOT_PLAIN; null is NaN."""
    if byte_at(text, at) == SMALL_N:
        is_null = byte_at(text, at + 1) == ord("u") and byte_at(text, at + 2) == ord("l")
        return np.nan, at + 4 if is_null and byte_at(text, at + 3) == ord("l") else NOT_PLAIN
    sign = -1.0 if byte_at(text, at) == MINUS else 1.0
    first = at + 1 if sign < 0 else at
    whole, at = digits(text, first)
    count = at - first
    if count == 0 or (count > 1 and byte_at(text, first) == ZERO):
        return 0.0, NOT_PLAIN
    decimals, fraction = 0, 0
    if byte_at(text, at) == POINT:
        fraction, end = digits(text, at + 1)
        decimals = end - at - 1
        at = end
        if decimals == 0:
            return 0.0, NOT_PLAIN
    if count + decimals > DIGITS_MAX:
        return 0.0, NOT_PLAIN
    # Both sides of the division are exact, so the quotient is rounded once, as a parser rounds it.
    power = POWERS_OF_TEN[decimals]
    return sign * ((whole * power + fraction) / power), at


@njit(f"int64({TEXT}, int64, int64)", nogil=True, cache=True)
def fixed_digits(text, at, count):  # type: ignore[no-untyped-def]
    """The value of exactly so many digits, or NOT_PLAIN."""
    value, end = digits(text, at)
    return value if end - at == count else NOT_PLAIN


@njit(f"UniTuple(int64, 2)({TEXT}, int64)", nogil=True, cache=True)
def whole_milliseconds(text, at):  # type: ignore[no-untyped-def]
    negative = byte_at(text, at) == MINUS
    first = at + 1 if negative else at
    value, at = digits(text, first)
    count = at - first
    if count == 0 or count > DIGITS_MAX or (count > 1 and byte_at(text, first) == ZERO):
        return 0, NOT_PLAIN
    return -value if negative else value, at


@njit(f"int64({TEXT}, int64)", nogil=True, cache=True)
def days_since_1970(text, at):  # type: ignore[no-untyped-def]
    """The day of a date such as 2026-01-31, or a value below all days when it is none."""
    year, month, day = fixed_digits(text, at, 4), fixed_digits(text, at + 5, 2), fixed_digits(text, at + 8, 2)
    dashes = byte_at(text, at + 4) == MINUS and byte_at(text, at + 7) == MINUS
    if not dashes or year < 1 or month < 1 or month > 12 or day < 1:
        return -DAYS_TO_1970 - 1
    leap = month > 1 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    length = DAYS_BEFORE_MONTH[month] - DAYS_BEFORE_MONTH[month - 1] + (1 if leap and month == 2 else 0)
    if day > length:
        return -DAYS_TO_1970 - 1
    before = year - 1
    days = before * 365 + before // 4 - before // 100 + before // 400
    return days + DAYS_BEFORE_MONTH[month - 1] + (1 if leap and month > 2 else 0) + day - 1 - DAYS_TO_1970


@njit(f"UniTuple(int64, 2)({TEXT}, int64)", nogil=True, cache=True)
def moment(text, at):  # type: ignore[no-untyped-def]
    """Milliseconds since 1970, floored, of RFC 3339 text behind its quote, and where it ends or NOT_PLAIN."""
    day = days_since_1970(text, at)
    hour, minute = fixed_digits(text, at + 11, 2), fixed_digits(text, at + 14, 2)
    second = fixed_digits(text, at + 17, 2)
    marks = byte_at(text, at + 10) == ord("T") and byte_at(text, at + 13) == COLON
    if not marks or byte_at(text, at + 16) != COLON or day < -DAYS_TO_1970:
        return 0, NOT_PLAIN
    if min(hour, minute, second) < 0 or hour > 23 or minute > 59 or second > 59:
        return 0, NOT_PLAIN
    result = day * MS_PER_DAY + ((hour * 60 + minute) * 60 + second) * 1000
    at += 19
    if byte_at(text, at) == POINT:
        fraction, end = digits(text, at + 1)
        count = end - at - 1
        if count < 1 or count > 6:
            return 0, NOT_PLAIN
        result += fraction * 1000 // np.int64(POWERS_OF_TEN[count])
        at = end
    if byte_at(text, at) == ord("Z"):
        return result, at + 1
    sign = 1 if byte_at(text, at) == PLUS else -1
    hours, minutes = fixed_digits(text, at + 1, 2), fixed_digits(text, at + 4, 2)
    signed = sign == 1 or byte_at(text, at) == MINUS
    if not signed or byte_at(text, at + 3) != COLON or not (0 <= hours < 24 and 0 <= minutes < 60):
        return 0, NOT_PLAIN
    return result - sign * (hours * 60 + minutes) * 60_000, at + 6


@njit(f"int64({TEXT}, int64, {TEXT}, int64[::1], int64)", nogil=True, cache=True)
def name_number(text, start, names, ends, guess):  # type: ignore[no-untyped-def]
    """Which of the names stands there, with its closing quote, or NOT_PLAIN; the guess is tried first."""
    for step in range(len(ends)):
        which = guess + step if guess + step < len(ends) else guess + step - len(ends)
        first = ends[which - 1] if which > 0 else 0
        length = ends[which] - first
        offset = 0
        while offset < length and byte_at(text, start + offset) == names[first + offset]:
            offset += 1
        if offset == length:
            return which
    return NOT_PLAIN


@njit(
    f"int64({TEXT}, int64, int64, int64, int64[:, ::1], int64[::1], float64[:, ::1])", nogil=True, cache=True
)
def scan_value(text, at, which, row, spans, ts_ms, values):  # type: ignore[no-untyped-def]
    """Read the value of a member into a row; returns where it ends, or NOT_PLAIN."""
    quoted = byte_at(text, at) == QUOTE
    if which >= FIRST_MEASURE:
        values[which - FIRST_MEASURE, row], at = number(text, at)
        return at
    if which == TS and not quoted:
        ts_ms[row], at = whole_milliseconds(text, at)
        return at
    if not quoted:
        return NOT_PLAIN
    if which == PACK:
        spans[0, row], at = at + 1, closing_quote(text, at + 1)
        spans[1, row] = at
    else:
        ts_ms[row], at = moment(text, at + 1)
        if at != NOT_PLAIN and byte_at(text, at) != QUOTE:
            return NOT_PLAIN
    return at + 1 if at != NOT_PLAIN else NOT_PLAIN


@njit(
    f"int64({TEXT}, int64, {TEXT}, int64[::1], int64, int64[:, ::1], int64[::1], float64[:, ::1])",
    nogil=True,
    cache=True,
)
def scan_object(text, at, names, ends, row, spans, ts_ms, values):  # type: ignore[no-untyped-def]
    """Read one object into a row; returns where it ends, or NOT_PLAIN."""
    seen, which = 0, NOT_PLAIN
    if byte_at(text, at) != OPEN:
        return NOT_PLAIN
    while True:
        at = after_space(text, at + 1)
        if byte_at(text, at) != QUOTE:
            return NOT_PLAIN
        which = name_number(text, at + 1, names, ends, which + 1)
        if which == NOT_PLAIN or seen >> which & 1:
            return NOT_PLAIN
        seen |= 1 << which
        at = after_space(text, at + 1 + ends[which] - (ends[which - 1] if which > 0 else 0))
        if byte_at(text, at) != COLON:
            return NOT_PLAIN
        at = after_space(text, at + 1)
        at = scan_value(text, at, which, row, spans, ts_ms, values)
        if at == NOT_PLAIN:
            return NOT_PLAIN
        at = after_space(text, at)
        if byte_at(text, at) == CLOSE:
            return at + 1 if seen & 3 == 3 else NOT_PLAIN
        if byte_at(text, at) != COMMA:
            return NOT_PLAIN


@njit(
    f"int64({TEXT}, {TEXT}, int64[::1], int64[:, ::1], int64[::1], float64[:, ::1])", nogil=True, cache=True
)
def scan_into(text, names, ends, spans, ts_ms, values):  # type: ignore[no-untyped-def]
    """Read an object, or an array of at least one; returns the number of readings, or NOT_PLAIN."""
    at = after_space(text, 0)
    listed = byte_at(text, at) == OPEN_LIST
    if listed:
        at = after_space(text, at + 1)
    row = 0
    while True:
        if row == len(ts_ms):
            return NOT_PLAIN
        at = scan_object(text, at, names, ends, row, spans, ts_ms, values)
        if at == NOT_PLAIN:
            return NOT_PLAIN
        row += 1
        at = after_space(text, at)
        if not listed or byte_at(text, at) != COMMA:
            break
        at = after_space(text, at + 1)
    if listed:
        at = after_space(text, at + 1) if byte_at(text, at) == CLOSE_LIST else NOT_PLAIN
    return row if at == len(text) - PADDING else NOT_PLAIN


@njit(f"void({TEXT}, int64[:, ::1], int32[::1], uint8[::1])", nogil=True, cache=True)
def gather_into(text, spans, ends, out):  # type: ignore[no-untyped-def]
    at = 0
    for row in range(spans.shape[1]):
        for position in range(spans[0, row], spans[1, row]):
            out[at] = text[position]
            at += 1
        ends[row + 1] = at


Scanned = tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.float64]]


def scan(text: bytes, measures: tuple[str, ...], readings_max: int) -> Scanned | None:
    """The readings of plain JSON text, or None when it isn't plain or holds more than `readings_max`.

    Gives the pack names as offsets int32[n + 1] into bytes uint8[…], ts_ms int64[n], and values
    float64[measures, n], NaN where absent. Peer and test twin: `ingest.bodies.native`.
    """
    count = min(text.count(b"{"), readings_max)
    if count == 0:
        return None
    names = [f'{name}"'.encode() for name in ("pack", "ts", *measures)]
    spans = np.zeros((2, count), np.int64)
    ts_ms = np.empty(count, np.int64)
    values = np.full((len(measures), count), np.nan)
    padded = np.zeros(len(text) + PADDING, np.uint8)
    padded[: len(text)] = np.frombuffer(text, np.uint8)
    ends = np.cumsum([len(name) for name in names])
    found = scan_into(padded, np.array(list(b"".join(names)), np.uint8), ends, spans, ts_ms, values)
    if found != count:
        return None
    offsets = np.zeros(count + 1, np.int32)
    gathered = np.empty(int((spans[1] - spans[0]).sum()), np.uint8)
    gather_into(padded, spans, offsets, gathered)
    return offsets, gathered, ts_ms, values
