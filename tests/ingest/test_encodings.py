"""Compressed bodies, whole and damaged."""

import contextlib
import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import BodyTooLargeError, BodyUnreadableError
from ingest.bodies.encodings import ENCODINGS, UnfoldedLimits, unfold, zstd

COMPRESS = {"gzip": gzip.compress, "zstd": zstd.compress}
LIMITS = UnfoldedLimits(bytes_max=1000, ratio_max=100)
EITHER = pytest.mark.parametrize("encoding", ENCODINGS)
BODY = bytes(range(256)) * 3


@EITHER
@given(body=st.binary(max_size=1000))
def test_what_was_compressed_comes_back(encoding: str, body: bytes) -> None:
    assert unfold(COMPRESS[encoding](body), encoding, LIMITS) == body


@EITHER
def test_parts_one_behind_the_other_are_one_body(encoding: str) -> None:
    compress = COMPRESS[encoding]
    assert unfold(compress(b"a") + compress(b"") + compress(b"b"), encoding, LIMITS) == b"ab"
    with pytest.raises(BodyUnreadableError, match="parts"):
        unfold(compress(b"a") * 65, encoding, LIMITS)


@EITHER
def test_every_cut_and_anything_behind_is_refused(encoding: str) -> None:
    whole = COMPRESS[encoding](BODY)
    for damaged in [whole[:length] for length in range(len(whole))] + [whole + b"\0", whole + whole[:5]]:
        with pytest.raises(BodyUnreadableError):
            unfold(damaged, encoding, LIMITS)


@EITHER
@given(body=st.binary(max_size=200))
def test_random_bytes_are_refused_or_read(encoding: str, body: bytes) -> None:
    with contextlib.suppress(BodyUnreadableError, BodyTooLargeError):
        assert len(unfold(body, encoding, LIMITS)) <= LIMITS.bytes_max


def test_checksum_of_gzip_is_checked() -> None:
    whole = bytearray(gzip.compress(BODY))
    whole[-6] ^= 1
    with pytest.raises(BodyUnreadableError):
        unfold(bytes(whole), "gzip", LIMITS)


def test_zlib_is_not_gzip() -> None:
    with pytest.raises(BodyUnreadableError):
        unfold(zlib.compress(BODY), "gzip", LIMITS)


@EITHER
def test_size_of_just_the_limit_is_unfolded_and_one_more_is_not(encoding: str) -> None:
    most = bytes(index % 251 for index in range(1000))
    assert unfold(COMPRESS[encoding](most), encoding, LIMITS) == most
    with pytest.raises(BodyTooLargeError) as refused:
        unfold(COMPRESS[encoding](most + b"x"), encoding, LIMITS)
    assert refused.value.limit == 1000


@EITHER
def test_ratio_of_just_the_limit_is_unfolded_and_a_larger_one_is_not(encoding: str) -> None:
    folded = COMPRESS[encoding](bytes(90_000))
    ratio = -(-90_000 // len(folded))
    assert ratio > 100
    unfold(folded, encoding, UnfoldedLimits(100_000, ratio))
    with pytest.raises(BodyTooLargeError) as refused:
        unfold(folded, encoding, UnfoldedLimits(100_000, ratio - 1))
    assert refused.value.limit == ratio - 1


def test_window_larger_than_the_content_encoding_may_ask_for_is_refused() -> None:
    options = {zstd.CompressionParameter.window_log: 27}
    compressor = zstd.ZstdCompressor(options=options)
    folded = compressor.compress(BODY) + compressor.flush()
    with pytest.raises(BodyUnreadableError):
        unfold(folded, "zstd", LIMITS)
