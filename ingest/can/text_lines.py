"""Frames from the lines of text formats that python-can doesn't read: candump's console, GVRET and CRTD."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ingest.can.frames import FRAME_BYTES_MAX, NO_TIME_S

STANDARD_ID_MAX: Final = 0x7FF
EXTENDED_ID_MAX: Final = 0x1FFF_FFFF
STANDARD_ID_DIGITS: Final = 3
CANDUMP_ERROR_FLAG: Final = 0x2000_0000
MICROSECONDS_PER_SECOND: Final = 1_000_000
COUNTER_US: Final = 1 << 32


class Dropped(StrEnum):
    """Why a line or a frame of a recording gave no reading."""

    NOT_A_FRAME = "not_a_frame"
    BAD_LINE = "bad_line"
    DAMAGED_FROM_HERE = "damaged_from_here"
    ERROR_FRAME = "error_frame"
    REMOTE_FRAME = "remote_frame"
    OTHER_CHANNEL = "other_channel"
    FRAME_TOO_SHORT = "frame_too_short"
    NOT_AVAILABLE = "not_available"


@dataclass(frozen=True, slots=True)
class Frame:
    """One data frame, as read from a line."""

    time_s: float
    channel: str
    arbitration_id: int
    extended: bool
    data: bytes


LineParser = Callable[[str], Frame | Dropped | None]
"""Gives a line's frame, why it was dropped, or None for a line that is part of the format but no frame."""

CONSOLE_LINE: Final = re.compile(
    r"\s*(?:\((?P<time>\d+\.\d+)\)\s+)?(?P<channel>\S+)\s+(?:[RT]X\s+\S+\s+\S+\s+)?"
    r"(?P<id>[0-9A-F]{3}|[0-9A-F]{8})\s+\[(?P<length>\d{1,2})\]\s*(?P<rest>.*?)\s*",
    re.ASCII,
)
CRTD_TYPE: Final = re.compile(r"(?P<bus>\d*)(?P<type>[A-Z0-9]{3})", re.ASCII)
CRTD_FRAME_TYPES: Final = frozenset({"R11", "R29", "T11", "T29"})
HEX_BYTES: Final = re.compile(r"[0-9A-Fa-f]{2}(?: +[0-9A-Fa-f]{2})*", re.ASCII)


def _identifier(text: str, extended: bool) -> int | None:
    """The identifier in hexadecimal digits, or None when no bus can carry it."""
    if not re.fullmatch(r"(0x)?[0-9A-Fa-f]{1,8}", text, re.ASCII):
        return None
    identifier = int(text, 16)
    return identifier if identifier <= (EXTENDED_ID_MAX if extended else STANDARD_ID_MAX) else None


def _time(text: str) -> float | None:
    """Seconds in a decimal number that isn't negative, or None."""
    return float(text) if re.fullmatch(r"\d{1,20}(\.\d{0,12})?", text, re.ASCII) else None


def parse_console_line(line: str) -> Frame | Dropped | None:
    """The frame of a line that candump printed to a console, with or without a time.

    >>> parse_console_line("  can0  1C2   [1]  5C").data.hex()
    '5c'
    """
    match = CONSOLE_LINE.fullmatch(line)
    if match is None:
        return Dropped.NOT_A_FRAME
    identifier = int(match["id"], 16)
    if len(match["id"]) > STANDARD_ID_DIGITS and identifier & CANDUMP_ERROR_FLAG:
        return Dropped.ERROR_FRAME
    if match["rest"].startswith("remote request"):
        return Dropped.REMOTE_FRAME
    length = int(match["length"])
    tokens = match["rest"].split(None, length)
    ascii_dump = tokens[length:]
    octets = " ".join(tokens[:length])
    if length > FRAME_BYTES_MAX or len(tokens) < length or (length and not HEX_BYTES.fullmatch(octets)):
        return Dropped.BAD_LINE
    if ascii_dump and not ascii_dump[0].startswith(("'", "`")):
        return Dropped.BAD_LINE
    extended = len(match["id"]) > STANDARD_ID_DIGITS
    if identifier > (EXTENDED_ID_MAX if extended else STANDARD_ID_MAX):
        return Dropped.BAD_LINE
    time_s = NO_TIME_S if match["time"] is None else float(match["time"])
    return Frame(time_s, match["channel"], identifier, extended, bytes.fromhex(octets))


def parse_crtd_line(line: str) -> Frame | Dropped | None:
    """The frame of a line of OVMS' CRTD; sent frames count like received ones, an absent bus is bus 1.

    >>> parse_crtd_line("1632426782.045940 1R11 679 00").arbitration_id
    1657
    """
    if not line.strip():
        return None
    fields = line.split(None, 3)
    record = CRTD_TYPE.fullmatch(fields[1]) if len(fields) > 1 else None
    if record is None:
        return Dropped.NOT_A_FRAME
    if record["type"] not in CRTD_FRAME_TYPES:
        return None if record["type"].startswith("C") else Dropped.NOT_A_FRAME
    extended = record["type"].endswith("29")
    octets = fields[3].strip() if len(fields) > 3 else ""  # noqa: PLR2004 - time, type, identifier, data
    time_s = _time(fields[0])
    identifier = _identifier(fields[2], extended) if len(fields) > 2 else None  # noqa: PLR2004 - same
    if time_s is None or identifier is None or (octets and not HEX_BYTES.fullmatch(octets)):
        return Dropped.BAD_LINE
    data = bytes.fromhex(octets)
    if len(data) > FRAME_BYTES_MAX:
        return Dropped.BAD_LINE
    return Frame(time_s, record["bus"] or "1", identifier, extended, data)


class GvretLines:
    """Parses the lines of a GVRET or SavvyCAN CSV file, whose header names the columns; times are µs."""

    def __init__(self) -> None:
        self._columns: dict[str, int] | None = None
        self._latest_us = 0.0
        self._wrapped_us = 0

    def parse(self, line: str) -> Frame | Dropped | None:
        """The frame of a line; the first line that names the columns is the header."""
        fields = [field.strip() for field in line.strip().rstrip(",").split(",")]
        if self._columns is None:
            names = {name.lower().replace(" ", ""): position for position, name in enumerate(fields)}
            if {"timestamp", "id", "extended", "len", "d1"} <= names.keys():
                self._columns = names
                return None
            return Dropped.NOT_A_FRAME if line.strip() else None
        return self._frame(fields, self._columns) if line.strip() else None

    def _frame(self, fields: list[str], columns: dict[str, int]) -> Frame | Dropped:
        first_byte = columns["d1"]
        if len(fields) < first_byte or fields[columns["extended"]].lower() not in {"true", "false", "0", "1"}:
            return Dropped.BAD_LINE
        extended = fields[columns["extended"]].lower() in {"true", "1"}
        identifier = _identifier(fields[columns["id"]], extended)
        time_us = _time(fields[columns["timestamp"]])
        length = fields[columns["len"]]
        if identifier is None or time_us is None or not re.fullmatch(r"\d{1,2}", length, re.ASCII):
            return Dropped.BAD_LINE
        octets = " ".join(fields[first_byte : first_byte + int(length)])
        if int(length) and not HEX_BYTES.fullmatch(octets):
            return Dropped.BAD_LINE
        data = bytes.fromhex(octets)
        if len(data) != int(length):
            return Dropped.BAD_LINE
        channel = fields[columns["bus"]] if "bus" in columns else ""
        time_s = self._unwrapped(time_us) / MICROSECONDS_PER_SECOND
        return Frame(time_s, channel, identifier, extended, data)

    def _unwrapped(self, time_us: float) -> float:
        """The time without the logger's counter starting again at 2^32 µs, after 71 minutes."""
        if self._latest_us < COUNTER_US and self._latest_us - time_us > COUNTER_US / 2:
            self._wrapped_us += COUNTER_US
        self._latest_us = time_us
        return time_us + self._wrapped_us
