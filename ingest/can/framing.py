"""How decoded frames become readings: each by itself, or the latest of all at certain moments."""

from collections import defaultdict
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from domain.measures import MEASURES
from ingest.can.decoded import DecodedFrames
from ingest.can.mapping import EachFrame, EveryMilliseconds, Framing, MessageKey, SlowestMessage
from ingest.recorded import NO_READINGS, RecordedReadings

MICROSECONDS_PER_MILLISECOND: Final = 1_000
MOVED_MS_MAX: Final = 10


class FrameReader(Protocol):
    """Takes decoded frames in the order of their recording and gives the readings that they complete."""

    def take(self, frames: DecodedFrames, time_us: npt.NDArray[np.int64]) -> RecordedReadings: ...

    def finish(self) -> RecordedReadings: ...


def framing_of(framing: Framing) -> FrameReader:
    """The reader for what a map says."""
    match framing:
        case EachFrame():
            return ReadEachFrame()
        case SlowestMessage(message):
            return ReadAtMessage(message)
        case EveryMilliseconds(interval_ms):
            return ReadEveryInterval(interval_ms)


def _readings(time_ms: npt.NDArray[np.int64], values: npt.NDArray[np.float64]) -> RecordedReadings:
    """The readings that have any value."""
    valued = ~np.isnan(values).all(axis=0)
    return RecordedReadings(time_ms[valued], values[:, valued])


class DistinctMilliseconds:
    """Times of one message's readings, such that no two fall on the same millisecond.

    A bus carries two frames of a message within a millisecond, and a reading's identity ends there. The later
    of them goes to the next free millisecond, the same one whenever the recording is read. None is moved
    further than MOVED_MS_MAX: a logger with a broken clock must not look like one with a good clock.
    """

    def __init__(self) -> None:
        self._latest_ms: int | None = None

    def of(self, time_us: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """int64[n] milliseconds for int64[n] microseconds, in the order of the recording.

        >>> DistinctMilliseconds().of(np.array([1_000, 1_900, 2_000])).tolist()
        [1, 2, 3]
        """
        floored = time_us // MICROSECONDS_PER_MILLISECOND
        if not len(floored):
            return floored
        steps = np.arange(len(floored))
        free = floored - steps
        if self._latest_ms is not None and floored[0] >= self._latest_ms - MOVED_MS_MAX:
            free[0] = max(free[0], self._latest_ms + 1)
        distinct = np.maximum.accumulate(free) + steps
        self._latest_ms = int(distinct[-1])
        return np.where(distinct - floored <= MOVED_MS_MAX, distinct, floored)


class ReadEachFrame:
    """A reading from each frame, with what that frame holds."""

    def __init__(self) -> None:
        self._milliseconds: defaultdict[MessageKey, DistinctMilliseconds] = defaultdict(DistinctMilliseconds)

    def take(self, frames: DecodedFrames, time_us: npt.NDArray[np.int64]) -> RecordedReadings:
        time_ms = time_us // MICROSECONDS_PER_MILLISECOND
        valued = ~np.isnan(frames.values).all(axis=0)
        for message, of_message in frames.of_message.items():
            rows = np.flatnonzero(of_message & valued)
            time_ms[rows] = self._milliseconds[message].of(time_us[rows])
        return _readings(time_ms, frames.values)

    def finish(self) -> RecordedReadings:
        return NO_READINGS


class LatestValues:
    """The latest value of each measure as of each frame; a measure not available now has none."""

    def __init__(self) -> None:
        self._latest = np.full((len(MEASURES), 1), np.nan)

    def at_each_frame(self, frames: DecodedFrames) -> npt.NDArray[np.float64]:
        """float64[measures, n]; column i holds what frame i and all frames before it left."""
        values = np.concatenate([self._latest, frames.values], axis=1)
        positions = np.where(frames.carried, np.arange(1, values.shape[1]), 0)
        latest_positions = np.maximum.accumulate(positions, axis=1)
        latest = np.take_along_axis(values, latest_positions, axis=1)
        if latest.shape[1]:
            self._latest = latest[:, -1:].copy()
        return latest


class ReadAtMessage:
    """A reading each time a certain message comes, with the latest value of every measure."""

    def __init__(self, message: MessageKey) -> None:
        self._message = message
        self._latest = LatestValues()
        self._milliseconds = DistinctMilliseconds()

    def take(self, frames: DecodedFrames, time_us: npt.NDArray[np.int64]) -> RecordedReadings:
        latest = self._latest.at_each_frame(frames)
        arrived = frames.of_message[self._message]
        return _readings(self._milliseconds.of(time_us[arrived]), latest[:, arrived])

    def finish(self) -> RecordedReadings:
        return NO_READINGS


class ReadEveryInterval:
    """A reading at the end of each interval with mapped frames, with the latest value of every measure.

    Intervals start at full multiples since 1970, so that any two recordings of a bus agree on them.
    """

    def __init__(self, interval_ms: int) -> None:
        self._interval_ms = interval_ms
        self._latest = LatestValues()
        self._waiting = NO_READINGS

    def take(self, frames: DecodedFrames, time_us: npt.NDArray[np.int64]) -> RecordedReadings:
        latest = self._latest.at_each_frame(frames)
        mapped = frames.carried.any(axis=0)
        interval = time_us[mapped] // (self._interval_ms * MICROSECONDS_PER_MILLISECOND)
        time_ms = np.concatenate([self._waiting.ts_ms, (interval + 1) * self._interval_ms])
        values = np.concatenate([self._waiting.values, latest[:, mapped]], axis=1)
        last_of_interval = np.append(np.flatnonzero(np.diff(time_ms)), len(time_ms) - 1)[: len(time_ms)]
        time_ms, values = time_ms[last_of_interval], values[:, last_of_interval]
        self._waiting = RecordedReadings(time_ms[-1:], values[:, -1:])
        return _readings(time_ms[:-1], values[:, :-1])

    def finish(self) -> RecordedReadings:
        waiting, self._waiting = self._waiting, NO_READINGS
        return _readings(waiting.ts_ms, waiting.values)
