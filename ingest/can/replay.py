"""Recorded logs as one stream of readings, with the counts that tell what became of their frames."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from domain.clock import to_ms
from ingest.can.databases import NamedDatabase
from ingest.can.decode import Decoder
from ingest.can.frame_times import FrameTimes
from ingest.can.mapping import CanMap
from ingest.can.readers import Recording
from ingest.can.text_lines import Dropped
from ingest.recorded import RecordedReadings


class LogReplay:
    """Recordings read one after the other with one map; `start` is the time of their first frame.

    rate_hz: frames per second of recordings without times.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        can_map: CanMap,
        databases: Sequence[NamedDatabase],
        start: datetime | None = None,
        rate_hz: float | None = None,
    ) -> None:
        """Raises DecodeError when a recording has no known format, or the map doesn't fit the DBC files."""
        self._recordings = [Recording(path) for path in paths]
        self._decoder = Decoder(can_map, databases)
        self._times = FrameTimes(None if start is None else to_ms(start) * 1_000, rate_hz)

    def batches(self) -> Iterator[RecordedReadings]:
        """All readings in the order of the recordings.

        Raises DecodeError when a recording can't be read, or with the field `start` or `rate` when it needs
        that option.
        """
        for recording in self._recordings:
            for batch in recording.batches():
                yield self._decoder.decode(batch, self._times.stamp(batch, recording.path.name))
        yield self._decoder.finish()

    @property
    def size_bytes(self) -> int:
        """Bytes of all recordings."""
        return sum(recording.size_bytes for recording in self._recordings)

    @property
    def position_bytes(self) -> int:
        """Bytes read so far."""
        return sum(recording.position_bytes for recording in self._recordings)

    def counts(self) -> dict[str, int]:
        """Frames seen, frames that gave a value, and frames of messages that the map doesn't name."""
        return {
            "frames": sum(recording.frames for recording in self._recordings),
            "decoded": self._decoder.counts.decoded,
            "not_mapped": self._decoder.counts.not_mapped,
        }

    def dropped(self) -> dict[str, int]:
        """Lines and frames that gave nothing, by reason."""
        total: Counter[Dropped] = Counter(self._decoder.counts.dropped)
        for recording in self._recordings:
            total.update(recording.dropped)
        return {reason.value: total[reason] for reason in Dropped if total[reason]}
