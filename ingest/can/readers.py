"""Recordings of a CAN bus, read in batches of frames whatever their format; what can't be read is counted."""

import importlib.util
import logging
import math
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from domain.errors import DecodeError
from ingest.can.asc_dates import parse_asc_date
from ingest.can.formats import RecordingFormat, recognise_file
from ingest.can.frames import FrameBatch, FrameColumns
from ingest.can.text_lines import (
    EXTENDED_ID_MAX,
    Dropped,
    Frame,
    GvretLines,
    LineParser,
    parse_console_line,
    parse_crtd_line,
)

if TYPE_CHECKING:
    import can
    from can.io.generic import MessageReader

BATCH_FRAMES_MAX: Final = 20_000
LINE_BYTES_MAX: Final = 4_096
"""A longer line is no frame; it is cut, so that a file without line ends can't fill the memory."""

PYTHON_CAN_CSV_HEADER: Final = "timestamp,arbitration_id,extended,remote,error,dlc,data\n"

NO_FRAME_BY_FORMAT: Final = {
    RecordingFormat.ASC: re.compile(
        r"//|date\s|base\s|(no\s+)?internal\s+events|(begin|end)\s+triggerblock|\d+\.\d+\s+start of meas",
        re.IGNORECASE,
    ),
    RecordingFormat.TRC: re.compile(r";"),
    RecordingFormat.PYTHON_CAN_CSV: re.compile(r"timestamp,"),
}
"""Lines that belong to a format and carry no frame; other lines without a frame are counted."""


def _read_line(binary: BinaryIO) -> str:
    """The next line, empty at the end of the file; bytes that are no text become marks of replacement."""
    return binary.readline(LINE_BYTES_MAX).decode("utf-8", "replace").removeprefix("\ufeff")


class Lines:
    """The lines of a text recording, as the file that python-can's readers take.

    The readers end at a line that they can't parse and are started again; as they then expect a header, what
    `resume` was given is handed out before the next line.
    """

    def __init__(self, binary: BinaryIO, recording_format: RecordingFormat) -> None:
        self._binary = binary
        self._no_frame = NO_FRAME_BY_FORMAT.get(recording_format)
        self._prepare: Callable[[str], str] = str
        self._waiting: list[str] = []
        self.unexplained = 0
        self.read = 0

    def prepared_by(self, prepare: Callable[[str], str]) -> "Lines":
        """Itself, handing out what `prepare` makes of each line."""
        self._prepare = prepare
        return self

    def resume(self, header: str | None) -> None:
        """Hand out `header` before the next line."""
        if header is not None:
            self._waiting.append(header)

    def __iter__(self) -> "Lines":
        return self

    def __next__(self) -> str:
        if self._waiting:
            return self._waiting.pop()
        line = _read_line(self._binary)
        if not line:
            raise StopIteration
        self.read += 1
        stripped = line.strip()
        if stripped and not (self._no_frame and self._no_frame.match(stripped)):
            self.unexplained += 1
        prepared = self._prepare(line)
        if prepared.startswith("\n") and len(prepared) > 1:
            self._waiting.append(prepared[1:])
            return "\n"
        return prepared

    def close(self) -> None:
        """Nothing: the recording closes its file."""


class AscPreparation:
    """Makes the lines of a Vector recording what python-can's reader expects, and learns when it began.

    python-can takes dates as local time, stops at dates with a comma, loses a frame right after the
    header, and reads relative times (each counted from the line before) as if they were absolute.
    """

    def __init__(self) -> None:
        self.began_s = 0.0
        self._relative = False
        self._elapsed_s = 0.0
        self._header_ended = False

    def prepare(self, line: str) -> str:
        """The line to hand on; after a line end of its own, where that must end the header."""
        stripped = line.strip()
        lowered = stripped.lower()
        if lowered.startswith("date"):
            self._learn_date(stripped[4:])
            return "//\n"
        if lowered.startswith("begin triggerblock"):
            self._learn_date(stripped[18:])
            return line
        if lowered.startswith("base"):
            self._relative = "relative" in lowered
            return line
        match = re.match(r"(\d+\.\d+)(\s.*)", stripped, re.DOTALL)
        if match is None:
            return line
        end_of_header = "" if self._header_ended else "\n"
        self._header_ended = True
        if not self._relative:
            return end_of_header + line
        self._elapsed_s += float(match[1])
        return f"{end_of_header}{self._elapsed_s:.9f}{match[2]}\n"

    def _learn_date(self, text: str) -> None:
        moment = parse_asc_date(text)
        if moment is not None:
            self.began_s = moment.timestamp()


def _mark_error_frame(line: str) -> str:
    """A candump line whose error frame python-can knows as one; it only knows bus errors by itself."""
    match = re.search(r"\s([23][0-9A-F]{7})#", line, re.IGNORECASE | re.ASCII)
    return line if match is None else f"{line[: match.start(1)]}20000080{line[match.end(1) :]}"


class Recording:
    """One recorded log. `frames` counts all frames seen, `dropped` what can't be decoded.

    The file is opened by `batches` and closed at its end. Times are seconds since 1970 when the recording has
    a date, else as it counts them.
    """

    def __init__(self, path: Path, batch_frames_max: int = BATCH_FRAMES_MAX) -> None:
        """Raises DecodeError when the file can't be read, or has no known format."""
        self.path = path
        self.format = recognise_file(path)
        self.size_bytes = path.stat().st_size
        self.position_bytes = 0
        self.frames = 0
        self.dropped: Counter[Dropped] = Counter()
        self._batch_frames_max = batch_frames_max

    def batches(self) -> Iterator[FrameBatch]:
        """Data frames in the order of the file, at most `batch_frames_max` at a time.

        Raises DecodeError when a binary file is damaged before its first frame, or needs a part that isn't
        installed. Damage further on ends the recording there and is counted.
        """
        columns = FrameColumns()
        with self.path.open("rb") as binary:
            for frame in self._frames(binary):
                columns.append(frame.time_s, frame.channel, frame.arbitration_id, frame.extended, frame.data)
                if len(columns) >= self._batch_frames_max:
                    self.position_bytes = binary.tell()
                    yield columns.take()
            self.position_bytes = self.size_bytes
            if len(columns):
                yield columns.take()

    def _frames(self, binary: BinaryIO) -> Iterator[Frame]:
        match self.format:
            case RecordingFormat.CANDUMP_CONSOLE:
                return self._parsed_lines(binary, parse_console_line)
            case RecordingFormat.CRTD:
                return self._parsed_lines(binary, parse_crtd_line)
            case RecordingFormat.GVRET_CSV:
                return self._parsed_lines(binary, GvretLines().parse)
            case RecordingFormat.BLF:
                return self._binary_frames(lambda: _blf_reader(binary))
            case RecordingFormat.MF4:
                return self._binary_frames(lambda: _mf4_reader(self.path))
            case _:
                return self._text_frames(Lines(binary, self.format))

    def _parsed_lines(self, binary: BinaryIO, parse: LineParser) -> Iterator[Frame]:
        while line := _read_line(binary):
            parsed = parse(line.rstrip("\r\n"))
            if isinstance(parsed, Dropped):
                self.dropped[parsed] += 1
                self.frames += parsed in {Dropped.ERROR_FRAME, Dropped.REMOTE_FRAME}
            elif parsed is not None:
                self.frames += 1
                yield parsed

    def _binary_frames(self, open_reader: Callable[[], "MessageReader"]) -> Iterator[Frame]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                reader = open_reader()
            messages = iter(reader)
        except DecodeError:
            raise
        except Exception as error:  # a foreign parser on unknown bytes raises whatever it meets
            raise DecodeError(f"{self.path.name} is damaged: {error}", field="file") from error
        while chunk := self._take(messages):
            for message in chunk:
                frame = self._frame(message)
                if frame is not None:
                    yield frame
        reader.stop()

    def _take(self, messages: Iterator["can.Message"]) -> "list[can.Message]":
        chunk: list[can.Message] = []
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for message in islice(messages, 1_000):
                    chunk.append(message)  # noqa: PERF402 - what came before the damage is kept
        except Exception as error:
            if not chunk and not self.frames:
                raise DecodeError(f"{self.path.name} is damaged: {error}", field="file") from error
            self.dropped[Dropped.DAMAGED_FROM_HERE] += 1
        return chunk

    def _text_frames(self, lines: Lines) -> Iterator[Frame]:
        reader, header, began_s = _text_reader(self.format, lines)
        messages = iter(reader)
        lines_at_last_failure = -1
        while True:
            try:
                message = next(messages)
            except StopIteration:
                break
            except Exception:  # noqa: BLE001 - see _binary_frames; one bad line must not end the recording
                if lines.read == lines_at_last_failure:
                    break
                lines_at_last_failure = lines.read
                self._count_lines(lines, Dropped.BAD_LINE)
                lines.resume(header)
                messages = iter(reader)
                continue
            self._count_lines(lines, None)
            frame = self._frame(message, began_s())
            if frame is not None:
                yield frame
        self._count_no_frame(lines.unexplained)

    def _count_lines(self, lines: Lines, last: Dropped | None) -> None:
        """Count the lines since the last frame: the latest as `last` or as a frame, others as no frame."""
        if last is not None:
            self.dropped[last] += 1
        self._count_no_frame(lines.unexplained - 1)
        lines.unexplained = 0

    def _count_no_frame(self, lines: int) -> None:
        if lines > 0:
            self.dropped[Dropped.NOT_A_FRAME] += lines

    def _frame(self, message: "can.Message", began_s: float = 0.0) -> Frame | None:
        self.frames += 1
        if message.is_error_frame:
            self.dropped[Dropped.ERROR_FRAME] += 1
            return None
        if message.is_remote_frame:
            self.dropped[Dropped.REMOTE_FRAME] += 1
            return None
        channel = "" if message.channel is None else str(message.channel)
        time_s = message.timestamp + began_s
        if not math.isfinite(time_s) or not 0 <= message.arbitration_id <= EXTENDED_ID_MAX:
            self.dropped[Dropped.BAD_LINE] += 1
            return None
        return Frame(time_s, channel, message.arbitration_id, message.is_extended_id, bytes(message.data))


def _text_reader(
    recording_format: RecordingFormat, lines: Lines
) -> tuple["MessageReader", str | None, Callable[[], float]]:
    """python-can's reader, the header that it wants after a bad line, and seconds to add to its times."""
    import can

    # python-can reports lines that it skips through logging; they are counted here.
    logging.getLogger("can").addHandler(logging.NullHandler())
    file: Any = lines  # read line by line only, which is all that these readers do
    if recording_format is RecordingFormat.ASC:
        preparation = AscPreparation()
        lines.prepared_by(preparation.prepare)
        return can.ASCReader(file), "\n", lambda: preparation.began_s
    if recording_format is RecordingFormat.TRC:
        return can.TRCReader(file), None, lambda: 0.0
    if recording_format is RecordingFormat.PYTHON_CAN_CSV:
        return can.CSVReader(file), PYTHON_CAN_CSV_HEADER, lambda: 0.0
    lines.prepared_by(_mark_error_frame)
    return can.CanutilsLogReader(file), None, lambda: 0.0


def _blf_reader(binary: BinaryIO) -> "MessageReader":
    import can

    return can.BLFReader(binary)


def _mf4_reader(path: Path) -> "MessageReader":
    import can

    if importlib.util.find_spec("asammdf") is None:
        raise DecodeError(
            f"{path.name} is an .mf4 recording; it needs the extra mf4: pip install 'bpm-os-engine[mf4]'.",
            field="file",
        )
    from asammdf import MDF

    MDF(path).close()  # python-can's reader leaves the file open when it turns out to be damaged
    return can.MF4Reader(path)
