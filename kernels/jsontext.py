"""Facts about JSON text that parsers don't tell."""

import numpy as np
import numpy.typing as npt
from numba import njit

QUOTE = ord('"')
BACKSLASH = ord("\\")
COLON = ord(":")


@njit("int64(Array(uint8, 1, 'C', readonly=True))", nogil=True, cache=True)
def count_members(text):  # type: ignore[no-untyped-def]
    """Number of name-value pairs, at any depth, in valid JSON; text uint8[n].

    A parser that keeps one of two members with the same name yields fewer: so the two counts differ exactly
    when an object repeats a name.
    """
    count = 0
    in_string = False
    escaped = False
    for byte in text:
        if in_string:
            if escaped:
                escaped = False
            elif byte == BACKSLASH:
                escaped = True
            elif byte == QUOTE:
                in_string = False
        elif byte == QUOTE:
            in_string = True
        elif byte == COLON:
            count += 1
    return count


def members_of(text: bytes) -> int:
    """`count_members` of bytes.

    >>> members_of(b'[{"a": "x:y", "b": {"a": 1}}]')
    3
    """
    view: npt.NDArray[np.uint8] = np.frombuffer(text, np.uint8)
    return int(count_members(view))
