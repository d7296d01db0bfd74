"""Decoders survive hostile bytes; the long run is `python -m tests.hostile`."""

import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.hostile import __main__ as command
from tests.hostile.decoders import DECODERS, Decoder

bounded = settings(
    max_examples=50, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


@st.composite
def changed(draw: st.DrawFn, seed: bytes) -> bytes:
    """A seed some of whose parts are replaced, left out or repeated."""
    data = bytearray(seed)
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(data)))
        end = start + draw(st.integers(0, 12))
        data[start:end] = draw(st.one_of(st.binary(max_size=12), st.just(bytes(data[start:end]) * 2)))
    return bytes(data)


@pytest.mark.parametrize("name", DECODERS)
def test_decoder_reads_its_seeds(name: str) -> None:
    for seed in DECODERS[name].seeds:
        DECODERS[name].decode(seed)


@pytest.mark.parametrize("name", DECODERS)
def test_decoder_refuses_what_it_can_not_read_by_its_own_errors(name: str) -> None:
    decoder = DECODERS[name]

    @bounded
    @given(st.one_of(st.binary(max_size=300), *(changed(seed) for seed in decoder.seeds)))
    def survive(data: bytes) -> None:
        decoder.survives(data)

    survive()


def test_an_error_that_is_no_refusal_gets_through() -> None:
    def fail(_: bytes) -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        Decoder(fail, (ValueError,), ()).survives(b"")


def test_command_knows_every_decoder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert set(command.DECODERS) == set(DECODERS)
    monkeypatch.setattr(sys, "argv", ["hostile", "json", "--inputs", "0", "--kept", str(tmp_path)])
    with pytest.raises(SystemExit, match="2"):
        command.arguments()
