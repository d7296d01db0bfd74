"""Signals cut out of many frames at once: the raw value of a run of bits in each frame's data."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

SIGNAL_BITS_MAX: Final = 64

RawArray = npt.NDArray[np.uint64] | npt.NDArray[np.int64] | npt.NDArray[np.float64]

FLOAT_TYPES: Final = {16: (np.uint16, np.float16), 32: (np.uint32, np.float32), 64: (np.uint64, np.float64)}


@dataclass(frozen=True, slots=True)
class BitLayout:
    """Where a signal stands in a frame, in the numbering of DBC files.

    start: the least significant bit of a little-endian signal, the most significant of a big-endian one;
    bit 8·i is the least significant bit of byte i. length: 1 to 64 bits.
    """

    start: int
    length: int
    big_endian: bool
    signed: bool
    floating: bool = False

    def positions(self) -> npt.NDArray[np.intp]:
        """Positions of the bits, most significant first, where position 0 is the top bit of byte 0.

        >>> BitLayout(start=7, length=3, big_endian=True, signed=False).positions().tolist()
        [0, 1, 2]
        >>> BitLayout(start=7, length=3, big_endian=False, signed=False).positions().tolist()
        [14, 15, 0]
        """
        if self.big_endian:
            first = 8 * (self.start // 8) + 7 - self.start % 8
            return np.arange(first, first + self.length)
        numbers = np.arange(self.start + self.length - 1, self.start - 1, -1)
        return 8 * (numbers // 8) + 7 - numbers % 8

    @property
    def bytes_needed(self) -> int:
        """How long a frame must be to hold the signal."""
        return int(self.positions().max()) // 8 + 1


def extract_raw(layout: BitLayout, data: npt.NDArray[np.uint8]) -> RawArray:
    """Raw values of a signal, n of them: int64 when signed, float64 when floating, else uint64.

    data: uint8[n, bytes], at least `layout.bytes_needed` wide; what lies beyond a frame's own length is the
    caller's to leave out. Agrees with cantools bit by bit (tests/ingest/can/test_bits.py).

    >>> layout = BitLayout(start=7, length=11, big_endian=True, signed=True)
    >>> extract_raw(layout, np.array([[0xFF, 0xE0]], np.uint8)).tolist()
    [-1]
    """
    positions = layout.positions()
    first_byte, last_byte = int(positions.min()) // 8, int(positions.max()) // 8
    bits = np.unpackbits(data[:, first_byte : last_byte + 1], axis=1)[:, positions - 8 * first_byte]
    weights = np.uint64(1) << np.arange(layout.length - 1, -1, -1, dtype=np.uint64)
    raw = bits.astype(np.uint64) @ weights
    if layout.floating:
        integer_type, float_type = FLOAT_TYPES[layout.length]
        with np.errstate(invalid="ignore"):  # a signalling NaN is a NaN like others
            return raw.astype(integer_type).view(float_type).astype(np.float64)
    if layout.signed:
        unused = SIGNAL_BITS_MAX - layout.length
        return (raw << np.uint64(unused)).view(np.int64) >> unused
    return raw
