"""The structure of CSV text, told in one pass, because readers of CSV mend or pass over what is wrong with it."""

from typing import Final

import numpy as np
import numpy.typing as npt
from numba import njit

QUOTE = ord('"')
COMMA = ord(",")
NEWLINE = ord("\n")
RETURN = ord("\r")

FINE: Final = 0
NUL: Final = 1
QUOTE_WITHIN: Final = 2
BEHIND_QUOTE: Final = 3
NEVER_CLOSED: Final = 4
RAGGED: Final = 5

_AT_START, _PLAIN, _QUOTED, _BEHIND_QUOTE = 0, 1, 2, 3


@njit("int64(int64, uint8)", nogil=True, cache=True)
def state_after(state, byte):  # type: ignore[no-untyped-def]
    """The state of a cell behind one more byte of it, or a problem as a negative number."""
    if byte == 0:
        return -NUL
    if state == _QUOTED:
        return _BEHIND_QUOTE if byte == QUOTE else _QUOTED
    if byte in (COMMA, NEWLINE, RETURN):
        return _AT_START
    if byte == QUOTE:
        return -QUOTE_WITHIN if state == _PLAIN else _QUOTED
    return -BEHIND_QUOTE if state == _BEHIND_QUOTE else _PLAIN


@njit(
    "int64[::1](Array(uint8, 1, 'C', readonly=True), int64, int64[::1], int64[::1])", nogil=True, cache=True
)
def scan_records(text, cells_wanted, starts, ends):  # type: ignore[no-untyped-def]
    """[records, problem] of CSV by RFC 4180 that also ends records at a lone CR; empty lines are none.

    text uint8[n]. cells_wanted: cells that each record must have, or 0 for any number. starts, ends int64[m] take
    where records begin and end; the scan stops when m are found. problem: FINE, or what is wrong with the record
    behind those found.
    """
    records, begin, cells, state = 0, 0, 1, _AT_START
    for position in range(len(text) + 1):
        if records == len(starts):
            break
        at_end = position == len(text)
        if at_end and state == _QUOTED:
            return np.array([records, NEVER_CLOSED])
        byte = np.uint8(NEWLINE) if at_end else text[position]
        state = state_after(state, byte)
        if state < 0:
            return np.array([records, -state])
        if state != _AT_START:
            continue
        if byte == COMMA:
            cells += 1
            continue
        if position > begin:
            if cells_wanted not in (0, cells):
                return np.array([records, RAGGED])
            starts[records], ends[records] = begin, position
            records += 1
        begin, cells = position + 1, 1
    return np.array([records, FINE])


def records_of(
    text: bytes, cells_wanted: int, records_max: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int]:
    r"""Where the records of a text begin and end, up to `records_max` of them, and what is wrong behind them.

    >>> starts, ends, problem = records_of(b'a,"b\nc"\r\n\r\nd,e', 2, 10)
    >>> starts.tolist(), ends.tolist(), problem
    ([0, 11], [7, 14], 0)
    """
    starts, ends = np.empty(records_max, np.int64), np.empty(records_max, np.int64)
    records, problem = scan_records(np.frombuffer(text, np.uint8), cells_wanted, starts, ends)
    return starts[:records], ends[:records], int(problem)
