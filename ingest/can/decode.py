"""Frames into measured values: all frames of a message at a time, by the layout that cantools read."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from domain.measures import MEASURES
from ingest.can.bits import BitLayout, RawArray, extract_raw
from ingest.can.databases import MeasurePlan, MessagePlan, NamedDatabase, SignalPlan, plan_messages
from ingest.can.decoded import DecodedFrames
from ingest.can.frames import FrameBatch
from ingest.can.framing import FrameReader, framing_of
from ingest.can.mapping import CanMap
from ingest.can.text_lines import Dropped
from ingest.recorded import RecordedReadings

BoolArray = npt.NDArray[np.bool_]


@dataclass(slots=True)
class DecodeCounts:
    """Frames that gave a value, frames of messages that the map doesn't name, and why others gave none."""

    decoded: int = 0
    not_mapped: int = 0
    dropped: Counter[Dropped] = field(default_factory=Counter)


class Decoder:
    """Turns frames into readings by a map; `counts` says what became of the frames.

    Raises DecodeError when map and DBC files don't fit together.
    """

    def __init__(self, can_map: CanMap, databases: Sequence[NamedDatabase]) -> None:
        self._plans = plan_messages(can_map, databases)
        self._channels = can_map.channels
        self._framing: FrameReader = framing_of(can_map.framing)
        self.counts = DecodeCounts()

    def decode(self, batch: FrameBatch, time_us: npt.NDArray[np.int64]) -> RecordedReadings:
        """The readings that the frames complete; time_us: int64[n], microseconds since 1970."""
        return self._framing.take(decode_frames(batch, self._plans, self._channels, self.counts), time_us)

    def finish(self) -> RecordedReadings:
        """The reading that was still waiting for frames."""
        return self._framing.finish()


def decode_frames(
    batch: FrameBatch, plans: Sequence[MessagePlan], channels: frozenset[str], counts: DecodeCounts
) -> DecodedFrames:
    """What the frames of a batch say, counted in `counts`; an empty `channels` takes all buses."""
    shape = (len(MEASURES), len(batch))
    decoded = DecodedFrames(np.zeros(shape, np.bool_), np.full(shape, np.nan), {})
    on_channel = np.ones(len(batch), np.bool_)
    if channels:
        wanted = np.array([name in channels for name in batch.channel_names], np.bool_)
        on_channel = wanted[batch.channel]
    mapped = np.zeros(len(batch), np.bool_)
    for plan in plans:
        frames = (batch.arbitration_id == plan.arbitration_id) & (batch.extended == plan.extended)
        mapped |= frames
        counts.dropped[Dropped.OTHER_CHANNEL] += int(np.count_nonzero(frames & ~on_channel))
        rows = np.flatnonzero(frames & on_channel)
        kept = _decode_message(batch.data[rows], batch.length[rows], plan, rows, decoded, counts)
        decoded.of_message[plan.message] = np.zeros(len(batch), np.bool_)
        decoded.of_message[plan.message][rows[kept]] = True
    counts.not_mapped += int(np.count_nonzero(~mapped))
    return decoded


def _decode_message(
    data: npt.NDArray[np.uint8],
    length: npt.NDArray[np.uint8],
    plan: MessagePlan,
    rows: npt.NDArray[np.intp],
    decoded: DecodedFrames,
    counts: DecodeCounts,
) -> BoolArray:
    """Fill in the frames of one message (at `rows` of the batch) and say which of them weren't dropped."""
    kept = np.ones(len(rows), np.bool_)
    for signal, values in plan.drop_frame_when:
        raw, there = _raw_where_there(signal, data, length)
        kept &= ~(there & _is_one_of(raw, values))
    held = np.zeros(len(rows), np.bool_)
    valued = np.zeros(len(rows), np.bool_)
    cut_off = np.zeros(len(rows), np.bool_)
    for measure in plan.measures:
        there, values_found = _measure_values(measure, data, length)
        there &= kept
        decoded.carried[measure.measure, rows] = there
        decoded.values[measure.measure, rows] = np.where(there, values_found, np.nan)
        held |= there
        valued |= there & ~np.isnan(values_found)
        cut_off |= length < measure.signal.layout.bytes_needed
    counts.decoded += int(np.count_nonzero(valued))
    counts.dropped[Dropped.FRAME_TOO_SHORT] += int(np.count_nonzero(cut_off & ~held & kept))
    counts.dropped[Dropped.NOT_AVAILABLE] += int(np.count_nonzero(~kept | (held & ~valued)))
    return kept


def _measure_values(
    measure: MeasurePlan, data: npt.NDArray[np.uint8], length: npt.NDArray[np.uint8]
) -> tuple[BoolArray, npt.NDArray[np.float64]]:
    raw, there = _raw_where_there(measure.signal, data, length)
    with np.errstate(over="ignore", invalid="ignore"):  # what isn't finite is left out below
        values = raw.astype(np.float64) * measure.scale + measure.offset
    values[_is_one_of(raw, measure.not_available) | ~np.isfinite(values)] = np.nan
    return there, values


def _raw_where_there(
    signal: SignalPlan, data: npt.NDArray[np.uint8], length: npt.NDArray[np.uint8]
) -> tuple[RawArray, BoolArray]:
    """Raw values, and the frames that are long enough and whose multiplexers select the signal."""
    raw, there = _raw(signal.layout, data, length)
    for layout, selected in signal.multiplexers:
        selector, selector_there = _raw(layout, data, length)
        there &= selector_there & _is_one_of(selector, tuple(selected))
    return raw, there


def _raw(
    layout: BitLayout, data: npt.NDArray[np.uint8], length: npt.NDArray[np.uint8]
) -> tuple[RawArray, BoolArray]:
    missing = layout.bytes_needed - data.shape[1]
    if missing > 0:
        data = np.pad(data, ((0, 0), (0, missing)))
    return extract_raw(layout, data), length >= layout.bytes_needed


def _is_one_of(raw: RawArray, values: tuple[int, ...]) -> BoolArray:
    """Where a raw value is one of `values`; compared one by one, as a common type would round large ones."""
    found = np.zeros(len(raw), np.bool_)
    for value in values:
        found |= raw == value
    return found
