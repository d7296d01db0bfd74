"""Which format a recording has: by its content, and by its ending where the content says nothing."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Final

from domain.errors import DecodeError


class RecordingFormat(StrEnum):
    """The formats that can be replayed, named by their usual ending or origin."""

    BLF = "blf"
    MF4 = "mf4"
    ASC = "asc"
    TRC = "trc"
    CANDUMP_LOG = "candump log"
    CANDUMP_CONSOLE = "candump console"
    PYTHON_CAN_CSV = "python-can csv"
    GVRET_CSV = "gvret csv"
    CRTD = "crtd"


HEAD_BYTES: Final = 65_536
"""How much of a file is looked at to tell its format."""

MAGIC: Final = (
    (b"LOGG", RecordingFormat.BLF),
    (b"MDF ", RecordingFormat.MF4),
    (b"UnFinMF ", RecordingFormat.MF4),
)

LINE_PATTERNS: Final = (
    (re.compile(r"timestamp,arbitration_id,extended", re.IGNORECASE), RecordingFormat.PYTHON_CAN_CSV),
    (re.compile(r"time ?stamp,id,extended", re.IGNORECASE), RecordingFormat.GVRET_CSV),
    (re.compile(r";\$FILEVERSION", re.IGNORECASE), RecordingFormat.TRC),
    (re.compile(r"\(\d+\.\d+\)\s+\S+\s+[0-9A-F]+#", re.IGNORECASE), RecordingFormat.CANDUMP_LOG),
    (re.compile(r"(\(\d+\.\d+\)\s+)?\S+\s+[0-9A-F]{3,8}\s+\[\d+\]"), RecordingFormat.CANDUMP_CONSOLE),
    (re.compile(r"\d+\.\d+ \d?(CXX|CVR|CEV|CBC|R11|R29|T11|T29) "), RecordingFormat.CRTD),
    (re.compile(r"base\s+(hex|dec)", re.IGNORECASE), RecordingFormat.ASC),
)

SUFFIXES: Final = {
    ".blf": RecordingFormat.BLF,
    ".mf4": RecordingFormat.MF4,
    ".asc": RecordingFormat.ASC,
    ".trc": RecordingFormat.TRC,
    ".log": RecordingFormat.CANDUMP_LOG,
    ".crtd": RecordingFormat.CRTD,
}


def recognise(head: bytes, suffix: str) -> RecordingFormat | None:
    """The format of a file that begins with `head`, or None; the first line that is typical of one decides.

    >>> recognise(b"  can0  1DB   [8]  FF E0 B7 6A 00 FF F0 25", ".txt").value
    'candump console'
    """
    for magic, recording_format in MAGIC:
        if head.startswith(magic):
            return recording_format
    for line in head.decode("utf-8-sig", "replace").splitlines():
        for pattern, recording_format in LINE_PATTERNS:
            if pattern.match(line.strip()):
                return recording_format
    return SUFFIXES.get(suffix.lower())


def recognise_file(path: Path) -> RecordingFormat:
    """The format of the file at `path`.

    Raises DecodeError when it can't be read or is none of those known.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise DecodeError(f"{path.name} can't be read: {error.strerror}.", field="file") from error
    recording_format = recognise(head, path.suffix)
    if recording_format is None:
        known = ", ".join(RecordingFormat)
        raise DecodeError(f"{path.name} is no recording of a known format ({known}).", field="file")
    return recording_format
