"""Windows of time: the quarter-hour from which all of them are made."""

from typing import Final

from domain.clock import MILLISECONDS_PER_SECOND

QUARTER_S: Final = 900
"""The base window: every zone's offset is a multiple of it, so hours and days of any zone are made of whole ones."""

QUARTER_MS: Final = QUARTER_S * MILLISECONDS_PER_SECOND


def quarter_of(ts_ms: int) -> int:
    """Start of the quarter-hour that holds a time, both in milliseconds since 1970.

    >>> quarter_of(1_767_225_600_000 + 899_999)
    1767225600000
    """
    return ts_ms - ts_ms % QUARTER_MS
