"""Frames of a CAN bus as columns, the shape in which recordings are read and decoded."""

import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

FRAME_BYTES_MAX: Final = 64
"""Data bytes of the longest frame (CAN FD)."""

CLASSIC_FRAME_BYTES_MAX: Final = 8


@dataclass(frozen=True, slots=True, eq=False)
class FrameBatch:
    """Data frames in the order of the recording, n of them.

    time_s: float64[n], seconds as the recording counts them, NaN where it has no times.
    channel: int32[n], position in `channel_names`.
    arbitration_id: uint32[n], without flag bits. extended: bool[n], 29-bit identifiers.
    length: uint8[n], data bytes of the frame. data: uint8[n, 8 or 64], zero beyond `length`.
    """

    time_s: npt.NDArray[np.float64]
    channel: npt.NDArray[np.int32]
    channel_names: tuple[str, ...]
    arbitration_id: npt.NDArray[np.uint32]
    extended: npt.NDArray[np.bool_]
    length: npt.NDArray[np.uint8]
    data: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.time_s)


@dataclass(slots=True)
class FrameColumns:
    """Collects frames one by one and gives them as columns."""

    _time_s: list[float] = field(default_factory=list)
    _channel: list[int] = field(default_factory=list)
    _names: dict[str, int] = field(default_factory=dict)
    _arbitration_id: list[int] = field(default_factory=list)
    _extended: list[bool] = field(default_factory=list)
    _data: list[bytes] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._data)

    def append(self, time_s: float, channel: str, arbitration_id: int, extended: bool, data: bytes) -> None:
        """Take one frame; data beyond 64 bytes can't come from a bus and is cut."""
        self._time_s.append(time_s)
        self._channel.append(self._names.setdefault(channel, len(self._names)))
        self._arbitration_id.append(arbitration_id)
        self._extended.append(extended)
        self._data.append(data[:FRAME_BYTES_MAX])

    def take(self) -> FrameBatch:
        """The frames collected since the last call, as columns."""
        width = CLASSIC_FRAME_BYTES_MAX
        if any(len(data) > CLASSIC_FRAME_BYTES_MAX for data in self._data):
            width = FRAME_BYTES_MAX
        padded = b"".join(data.ljust(width, b"\0") for data in self._data)
        batch = FrameBatch(
            time_s=np.array(self._time_s, np.float64),
            channel=np.array(self._channel, np.int32),
            channel_names=tuple(self._names),
            arbitration_id=np.array(self._arbitration_id, np.uint32),
            extended=np.array(self._extended, np.bool_),
            length=np.array([len(data) for data in self._data], np.uint8),
            data=np.frombuffer(padded, np.uint8).reshape(len(self._data), width),
        )
        for column in (self._time_s, self._channel, self._arbitration_id, self._extended, self._data):
            column.clear()
        return batch


NO_TIME_S: Final = math.nan
"""Time of a frame in a recording without times."""
