from pathlib import Path

import pytest

from domain.errors import DecodeError
from ingest.can.bits import BitLayout
from ingest.can.mapping import (
    CanMap,
    EachFrame,
    EveryMilliseconds,
    MeasureRule,
    MessageRule,
    SlowestMessage,
    load_can_map,
)
from ingest.series import load_series_map

MINIMAL = "measures: {voltage_v: {message: Pack, signal: Volts}}\n"


def loaded(tmp_path: Path, text: str) -> CanMap:
    path = tmp_path / "map.yaml"
    path.write_text(text)
    return load_can_map(path)


def test_map_with_everything_is_read_as_written(tmp_path):
    text = """
channels: [0, can1]
framing: {slowest: Pack}
measures:
  voltage_v: {message: Pack, signal: Volts, factor: 0.5, offset: -1, not_available: [1023, 1022]}
  current_a: {message: 0x1DB, bits: {start: 7, length: 11, byte_order: big, signed: true}, sign: -1}
messages:
  Pack: {dbc: a.dbc, drop_frame_when: {Volts: 1023}}
  0x1DB: {extended: true}
"""
    assert loaded(tmp_path, text) == CanMap(
        measures=(
            MeasureRule("voltage_v", "Pack", "Volts", 0.5, -1.0, 1, (1023, 1022)),
            MeasureRule("current_a", 0x1DB, BitLayout(7, 11, big_endian=True, signed=True), sign=-1),
        ),
        messages=(
            MessageRule("Pack", dbc="a.dbc", drop_frame_when=(("Volts", (1023,)),)),
            MessageRule(0x1DB, extended=True),
        ),
        channels=frozenset({"0", "can1"}),
        framing=SlowestMessage("Pack"),
    )


@pytest.mark.parametrize(
    ("framing", "expected"),
    [("", EachFrame()), ("framing: each", EachFrame()), ("framing: {every_ms: 100}", EveryMilliseconds(100))],
)
def test_framing_is_one_of_three(tmp_path, framing, expected):
    assert loaded(tmp_path, MINIMAL + framing).framing == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must hold keys and values"),
        ("[1]", "must hold keys and values"),
        ("a: [", "is no YAML"),
        ("a: !!python/object:os.system {}", "is no YAML"),
        ("measures: {}", "measures"),
        ("measures: 5", "measures"),
        (MINIMAL + "measure: {}", "measure is no key"),
        (MINIMAL + MINIMAL, "measures' stands twice"),
        ("measures: {voltage: {message: A, signal: B}}", "voltage is no measure"),
        ("measures: {voltage_v: {signal: B}}", "voltage_v: message is missing"),
        ("measures: {voltage_v: {message: A}}", "voltage_v takes one of signal"),
        ("measures: {voltage_v: {message: 1.5, signal: B}}", "message must be str or int"),
        ("measures: {voltage_v: {message: A, signal: B, sign: 0}}", "sign must be 1 or -1"),
        ("measures: {voltage_v: {message: A, signal: B, sign: true}}", "sign must be int"),
        ("measures: {voltage_v: {message: A, signal: B, factor: .inf}}", "factor must be finite"),
        ("measures: {voltage_v: {message: A, signal: B, factor: x}}", "factor must be int or float"),
        ("measures: {voltage_v: {message: A, signal: B, not_available: [a]}}", "not_available must hold int"),
        (
            "measures: {voltage_v: {message: A, bits: {start: 0, length: 65, byte_order: big}}}",
            "length must be",
        ),
        ("measures: {voltage_v: {message: A, bits: {start: 0, length: 8, byte_order: x}}}", "byte_order"),
        ("measures: {voltage_v: {message: A, bits: {start: 511, length: 8, byte_order: little}}}", "beyond"),
        (MINIMAL + "framing: fast", "framing must be"),
        (MINIMAL + "framing: {slowest: A, every_ms: 5}", "takes one of slowest and every_ms"),
        (MINIMAL + "framing: {every_ms: 0}", "every_ms must be from 1"),
        (MINIMAL + "messages: {Pack: {drop_when: {A: 1}}}", "drop_when is no key"),
    ],
)
def test_mistake_in_a_map_is_named_by_its_key(tmp_path, text, message):
    with pytest.raises(DecodeError, match=message) as raised:
        loaded(tmp_path, text)
    assert "map.yaml" in str(raised.value)


def test_map_that_is_not_there_is_refused_by_name(tmp_path):
    with pytest.raises(DecodeError, match=r"absent\.yaml"):
        load_can_map(tmp_path / "absent.yaml")


def test_every_map_of_the_documentation_can_be_loaded(maps):
    names = {path.name for path in maps.glob("*.yaml")}
    series = {"nasa-discharge-capacity.yaml"}
    assert {path.name for path in maps.glob("*.yaml") if load_map(path, path.name in series)} == names


def load_map(path: Path, series: bool) -> bool:
    return bool((load_series_map(path) if series else load_can_map(path)).measures)
