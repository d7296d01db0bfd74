"""Times in bodies: RFC 3339 text with an offset, or milliseconds since 1970."""

import re
from datetime import datetime

import numpy as np
import pyarrow as pa

from domain.clock import to_ms
from domain.readings import Int64Array
from domain.receipts import QuarantineReason

_RFC_3339 = re.compile(
    r"(?P<seconds>\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2})(?P<fraction>\.\d+)?(?P<offset>[Zz]|[+-]\d{2}:\d{2})?"
)

_FIRST_YEAR_US = -62_135_596_800_000_000

LARGEST_MS = 2**53
"""Milliseconds beyond this are no time at all."""


def parse_all(texts: list[str]) -> Int64Array | None:
    """Milliseconds since 1970, int64[n], of RFC 3339 texts with offset; None unless all are of that form."""
    try:
        array = pa.array(texts, pa.string())
        parsed = array.cast(pa.timestamp("us", "UTC"))
    except (pa.ArrowInvalid, UnicodeEncodeError):
        return None
    if not _all_with_seconds_and_offset(array):
        return None
    micros: Int64Array = parsed.cast(pa.int64()).to_numpy()
    if micros.size and micros.min() < _FIRST_YEAR_US:
        return None
    return micros // 1000


def _all_with_seconds_and_offset(array: pa.StringArray) -> bool:
    """Whether times that Arrow could read are RFC 3339, where Arrow also takes 12:00Z and +0100.

    Looks at three characters each, since a pattern would cost as much as reading the times.
    """
    _, offsets, data = array.buffers()
    bounds = np.frombuffer(offsets, np.int32)[: len(array) + 1]
    if np.diff(bounds).min() < len("2026-01-01T00:00:00Z"):
        return False
    characters = np.frombuffer(data, np.uint8)
    starts, ends = bounds[:-1], bounds[1:]
    colon_before_seconds = characters[starts + len("2026-01-01T00:00")] == ord(":")
    in_utc = characters[ends - 1] == ord("Z")
    colon_in_offset = characters[ends - len(":00")] == ord(":")
    return bool((colon_before_seconds & (in_utc | colon_in_offset)).all())


def parse_one(text: str) -> int | QuarantineReason:
    """Milliseconds since 1970, floored, of one RFC 3339 text, or what is wrong with it.

    >>> parse_one("2026-01-01T00:00:00.0019Z")
    1767225600001
    >>> parse_one("2026-01-01T00:00:00").value
    'time_without_offset'
    """
    matched = _RFC_3339.fullmatch(text)
    if matched is None:
        return QuarantineReason.INVALID_TIME
    if matched["offset"] is None:
        return QuarantineReason.TIME_WITHOUT_OFFSET
    try:
        whole = datetime.fromisoformat(matched["seconds"].upper() + matched["offset"].upper())
    except ValueError:
        return QuarantineReason.INVALID_TIME
    fraction_ms = int(((matched["fraction"] or ".0")[1:] + "00")[:3])
    try:
        return to_ms(whole) + fraction_ms
    except OverflowError:
        return QuarantineReason.INVALID_TIME


def from_number(value: float) -> int | QuarantineReason:
    """Milliseconds since 1970 of a number, floored, or what is wrong with it."""
    if not -LARGEST_MS < value < LARGEST_MS:
        return QuarantineReason.INVALID_TIME
    return int(np.floor(value))
