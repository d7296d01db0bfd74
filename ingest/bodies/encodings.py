"""Content encodings: bodies that were compressed on their way, unfolded within limits."""

import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from domain.errors import BodyTooLargeError, BodyUnreadableError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

GZIP: Final = "gzip"
ZSTD: Final = "zstd"
ENCODINGS: Final = (GZIP, ZSTD)

_STEP_BYTES: Final = 1 << 18
_PARTS_MAX: Final = 64
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS

_ZSTD_WINDOW_LOG_MAX: Final = 23
"""8 MiB, which is all that the content encoding may ask for (RFC 9659)."""


@dataclass(frozen=True, slots=True)
class UnfoldedLimits:
    """bytes_max: size of the unfolded body. ratio_max: by how much it may be larger than what was sent."""

    bytes_max: int
    ratio_max: int


class _Decompressor(Protocol):
    """One part of a compressed body: a member of gzip, a frame of zstd."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def step(self, data: bytes) -> bytes:
        """The next piece, of at most `_STEP_BYTES`; given data first, then nothing until it is used up."""
        ...


class _Gzip:
    def __init__(self) -> None:
        self._inner = zlib.decompressobj(_GZIP_WINDOW)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def step(self, data: bytes) -> bytes:
        return self._inner.decompress(data or self._inner.unconsumed_tail, _STEP_BYTES)


class _Zstd:
    def __init__(self) -> None:
        options = {int(zstd.DecompressionParameter.window_log_max): _ZSTD_WINDOW_LOG_MAX}
        self._inner = zstd.ZstdDecompressor(options=options)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def step(self, data: bytes) -> bytes:
        return self._inner.decompress(data, _STEP_BYTES)


_DECOMPRESSORS: Final[dict[str, Callable[[], _Decompressor]]] = {GZIP: _Gzip, ZSTD: _Zstd}


def unfold(body: bytes, encoding: str, limits: UnfoldedLimits) -> bytes:
    """The body as it was before it was compressed by one of ENCODINGS.

    Raises BodyUnreadableError when it is damaged, cut off or has more behind its end, BodyTooLargeError when it
    unfolds to more than the limits allow. Never holds more than the limit and a step.
    """
    pieces: list[bytes] = []
    size = 0
    rest = body
    for _ in range(_PARTS_MAX):
        part = _DECOMPRESSORS[encoding]()
        given = rest
        while not part.eof:
            piece = _step(part, given, encoding)
            given = b""
            size += len(piece)
            _check_size(size, len(body), limits)
            if not piece and not part.eof:
                raise BodyUnreadableError(f"the body ends before its {encoding} does")
            pieces.append(piece)
        rest = part.unused_data
        if not rest:
            return b"".join(pieces)
    raise BodyUnreadableError(f"the body has more than {_PARTS_MAX} parts of {encoding}")


def _step(part: _Decompressor, data: bytes, encoding: str) -> bytes:
    try:
        return part.step(data)
    except (zlib.error, zstd.ZstdError, EOFError) as error:
        raise BodyUnreadableError(f"the body is not valid {encoding}") from error


def _check_size(size: int, sent: int, limits: UnfoldedLimits) -> None:
    if size > limits.bytes_max:
        raise BodyTooLargeError(
            f"the body unfolds to more than {limits.bytes_max} bytes", limit=limits.bytes_max
        )
    if size > sent * limits.ratio_max:
        raise BodyTooLargeError(
            f"the body unfolds to more than {limits.ratio_max} times its size", limit=limits.ratio_max
        )
