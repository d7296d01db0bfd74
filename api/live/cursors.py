"""Cursors of live streams: how far a client has come in each partition's sequence, as opaque text."""

import base64
import binascii
import re
from typing import Final

from domain.errors import InvalidRequestError
from storage.alert_log import Positions

_CHARACTERS_MAX: Final = 2000
_TEXT: Final = re.compile(r"(\d{1,4}:\d{1,18})(,\d{1,4}:\d{1,18})*")


def encode(positions: Positions) -> str:
    """The cursor of these positions.

    >>> decode(encode({0: 17, 3: 5}))
    {0: 17, 3: 5}
    """
    text = ",".join(f"{partition}:{seq}" for partition, seq in sorted(positions.items()))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode(cursor: str) -> Positions:
    """The positions of a cursor. Raises InvalidRequestError."""
    text = _unpacked(cursor)
    if not _TEXT.fullmatch(text):
        raise InvalidRequestError("this is not a cursor of this stream", field="cursor")
    return {int(partition): int(seq) for partition, seq in (place.split(":") for place in text.split(","))}


def _unpacked(cursor: str) -> str:
    """The text in a cursor; nothing for what is none."""
    if len(cursor) > _CHARACTERS_MAX or not cursor.isascii():
        return ""
    padded = cursor.encode() + b"=" * (-len(cursor) % 4)
    try:
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
    except (ValueError, binascii.Error):
        return ""
