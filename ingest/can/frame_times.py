"""The time of each frame in microseconds since 1970, from its recording and what its replayer adds."""

from typing import Final

import numpy as np
import numpy.typing as npt

from domain.errors import DecodeError
from ingest.can.frames import FrameBatch

MICROSECONDS_PER_SECOND: Final = 1_000_000
DATED_FROM_S: Final = 631_152_000
"""1990: smaller times count from the start of a logger or a recording, not from 1970."""

TIME_S_MAX: Final = 253_402_300_799
"""The end of the year 9999."""


class FrameTimes:
    """Gives times to the frames of one or more recordings, taken as one after the other or with one clock.

    start_us: the time of the first frame of all; None to believe the recordings. All recordings are moved by
    the same span. rate_hz: frames per second of recordings without times.
    """

    def __init__(self, start_us: int | None = None, rate_hz: float | None = None) -> None:
        self._start_us = start_us
        self._rate_hz = rate_hz
        self._frames_without_time = 0
        self._moved_by_us: int | None = None

    def stamp(self, batch: FrameBatch, name: str) -> npt.NDArray[np.int64]:
        """The times of a batch, int64[n].

        Raises DecodeError with the field `start` or `rate` when the recording `name` needs that option.
        """
        if np.isnan(batch.time_s).any():
            return self._counted(len(batch), name)
        time_us = _microseconds(np.clip(batch.time_s, -TIME_S_MAX, TIME_S_MAX))
        if self._start_us is None:
            if len(time_us) and batch.time_s[0] < DATED_FROM_S:
                raise DecodeError(
                    f"{name} has no date; say when its first frame was recorded with --start.", field="start"
                )
            return time_us
        if self._moved_by_us is None:
            self._moved_by_us = self._start_us - int(time_us[0]) if len(time_us) else None
        return time_us + (self._moved_by_us or 0)

    def _counted(self, frames: int, name: str) -> npt.NDArray[np.int64]:
        if self._rate_hz is None:
            raise DecodeError(
                f"{name} has no times; say how many frames came in a second with --rate.", field="rate"
            )
        if self._start_us is None:
            raise DecodeError(
                f"{name} has no times; say when its first frame was recorded with --start.", field="start"
            )
        numbers = np.arange(self._frames_without_time, self._frames_without_time + frames, dtype=np.float64)
        self._frames_without_time += frames
        return self._start_us + _microseconds(numbers / self._rate_hz)


def _microseconds(seconds: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Whole microseconds: float64 seconds of this age are exact to a quarter of one."""
    return np.rint(seconds * MICROSECONDS_PER_SECOND).astype(np.int64)
