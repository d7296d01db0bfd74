"""Cursors of live streams: how far a client has come in each partition's sequence, as opaque text.

Sequences are an installation's own. A cursor is marked with whose it is, because a tenant may move to another cell.
"""

import base64
import binascii
import re
from typing import Final

from domain.errors import InvalidRequestError
from storage.alert_log import Positions

_CHARACTERS_MAX: Final = 2000
_TEXT: Final = re.compile(r"(?:([0-9a-f]{8});)?(\d{1,4}:\d{1,18}(?:,\d{1,4}:\d{1,18})*)")


def encode(positions: Positions, mark: str) -> str:
    """The cursor of these positions. mark: eight hexadecimal digits of the installation's id.

    >>> decode(encode({0: 17, 3: 5}, "5eed5eed"), "5eed5eed")
    {0: 17, 3: 5}
    """
    text = mark + ";" + ",".join(f"{partition}:{seq}" for partition, seq in sorted(positions.items()))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode(cursor: str, mark: str) -> Positions | None:
    """The positions of a cursor; None for one of another installation. Raises InvalidRequestError.

    One without a mark is of the time before there were marks.

    >>> decode(encode({0: 17}, "5eed5eed"), "0ddba110") is None
    True
    """
    found = _TEXT.fullmatch(_unpacked(cursor))
    if found is None:
        raise InvalidRequestError("this is not a cursor of this stream", field="cursor")
    if found[1] not in (None, mark):
        return None
    return {
        int(partition): int(seq) for partition, seq in (place.split(":") for place in found[2].split(","))
    }


def _unpacked(cursor: str) -> str:
    """The text in a cursor; nothing for what is none."""
    if len(cursor) > _CHARACTERS_MAX or not cursor.isascii():
        return ""
    padded = cursor.encode() + b"=" * (-len(cursor) % 4)
    try:
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
    except (ValueError, binascii.Error):
        return ""
