"""Plain JSON is scanned without a parser, and gives exactly what the parser gives."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import BpmError
from domain.measures import MEASURE_NAMES
from ingest.bodies import native
from ingest.columns import BodyLimits, RawReadings

LIMITS = BodyLimits(50, 20, 12)

decimals = st.decimals(-5000, 5000, places=3).map(float)
numbers = st.one_of(
    decimals, st.integers(-(10**17), 10**17), st.floats(allow_nan=False, allow_infinity=False)
)
moments = st.one_of(
    st.integers(-(10**17), 10**17),
    st.datetimes(timezones=st.timezones()).map(lambda moment: moment.isoformat()),
    st.sampled_from(
        [
            "2024-02-29T23:59:59Z",
            "2023-02-29T00:00:00Z",
            "2026-01-01T00:00:00.0019Z",
            "1969-12-31T23:59:59.999999-05:30",
            "2026-12-31T24:00:00Z",
            "2026-06-30T23:59:60Z",
            "2026-01-01 00:00:00Z",
            "2026-01-01T00:00:00",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00.1234567Z",
            "2026-01-01T00:00:00+24:00",
            "0001-01-01T00:00:00Z",
            "0000-01-01T00:00:00Z",
        ]
    ),
)
names = st.one_of(
    st.sampled_from(["P-1", "P-2", "{", "a b", "ä", "", "far too long a name", 'q"', "\\"]),
    st.text(max_size=4),
)
members = st.dictionaries(
    st.sampled_from([*MEASURE_NAMES, "other"]),
    st.one_of(decimals, numbers, st.none(), st.booleans()),
    max_size=8,
)


@st.composite
def readings(draw: st.DrawFn) -> dict[str, Any]:
    plain = {"pack": draw(names), "ts": draw(moments)} | draw(members)
    order = draw(st.permutations(list(plain)))
    return {name: plain[name] for name in order}


plain_readings = st.fixed_dictionaries(
    {"pack": st.sampled_from(["P-1", "P-2", "P-3"]), "ts": st.integers(0, 10**13), "voltage_v": decimals}
)


def outcome(read: Any, body: bytes) -> object:
    try:
        raw: RawReadings = read(body, LIMITS)
    except BpmError as error:
        return type(error), error.facts
    return (
        raw.received,
        raw.index.tolist(),
        raw.pack_names,
        raw.pack_code.tolist(),
        raw.ts_ms.tolist(),
        [[None if np.isnan(value) else value for value in column] for column in raw.values.tolist()],
        raw.problems,
        raw.ignored_keys,
        [raw.raw_of(index) for index in range(raw.received)],
    )


def read_by_parser(body: bytes, limits: BodyLimits) -> RawReadings:
    decoded = native.decode_strictly(body)
    items = decoded if isinstance(decoded, list) else [decoded]
    return native.read_items(items, limits, native.DecodedItems(items, body, native._decode_items))


def assert_scanned_is_parsed(body: bytes) -> bool:
    """Whether the body was plain."""
    scanned = native.read_plain(body, LIMITS)
    if scanned is not None:
        assert outcome(native.read_plain, body) == outcome(read_by_parser, body)
    return scanned is not None


@given(st.lists(readings(), min_size=1, max_size=6), st.sampled_from([None, 1]), st.booleans())
@settings(max_examples=400, deadline=None)
def test_scanned_readings_equal_the_parsed_ones(
    items: list[dict[str, Any]], indent: int | None, as_list: bool
) -> None:
    body = json.dumps(items if as_list else items[0], indent=indent, ensure_ascii=False)
    assert_scanned_is_parsed(body.encode("utf-8", "surrogatepass"))


@given(st.lists(plain_readings, min_size=1, max_size=4), st.data())
@settings(max_examples=400, deadline=None)
def test_a_damaged_body_is_never_read_otherwise_than_by_the_parser(
    items: list[dict[str, Any]], data: st.DataObject
) -> None:
    body = bytearray(json.dumps(items).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body) - 1))
        kind = data.draw(st.sampled_from(["change", "cut", "drop", "double"]))
        if kind == "change":
            body[at] = data.draw(st.sampled_from(list(b'"\\{}[]:,.-+eE0123456789 nulltrZT\x00\x7f\xc3')))
        elif kind == "cut" and at:
            del body[at:]
        elif kind == "drop" and len(body) > 1:
            del body[at]
        else:
            body[at:at] = body[at : at + data.draw(st.integers(1, 20))]
    assert_scanned_is_parsed(bytes(body))


@given(st.lists(plain_readings, min_size=1, max_size=50))
@settings(max_examples=30, deadline=None)
def test_what_machines_write_is_plain(items: list[dict[str, Any]]) -> None:
    assert assert_scanned_is_parsed(json.dumps(items).encode())


@given(decimals, st.integers(0, 12))
@settings(deadline=None)
def test_numbers_are_rounded_as_a_parser_rounds_them(value: float, places: int) -> None:
    text = f"{value:.{places}f}"
    body = b'{"pack":"P-1","ts":1,"voltage_v":' + text.encode() + b"}"
    raw = native.read_plain(body, LIMITS)
    assert raw is None or raw.values[MEASURE_NAMES.index("voltage_v"), 0] == float(text)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"[]",
        b"{}",
        b"[{}]",
        b'{"pack":"P-1","ts":1,"ts":2}',
        b'{"pack":"P-1","ts":1,"voltage_v":01}',
        b'{"pack":"P-1","ts":1,"voltage_v":1.}',
        b'{"pack":"P-1","ts":1,"voltage_v":-}',
        b'{"pack":"P-1","ts":1,"voltage_v":nul}',
        b'{"pack":"P-1","ts":1,"voltage_v":NaN}',
        b'{"pack":"P-1","ts":1,}',
        b'{"pack":"P-1","ts":1}{}',
        b'[{"pack":"P-1","ts":1}',
        b'[{"pack":"P-1","ts":1},]',
        b'\xef\xbb\xbf{"pack":"P-1","ts":1}',
        b'{"pack":"P-1\n","ts":1}',
        b'{"pack":"P-1","ts":1',
        b'{"pack":"P-1","ts":"2026-01-01T00:00:00Z}',
    ],
)
def test_what_is_not_plain_is_left_to_the_parser(body: bytes) -> None:
    assert native.read_plain(body, LIMITS) is None


def test_more_readings_than_allowed_are_left_to_the_parser_which_refuses_them() -> None:
    body = json.dumps([{"pack": "P-1", "ts": 1, "voltage_v": 1}] * (LIMITS.readings_max + 1)).encode()
    assert native.read_plain(body, LIMITS) is None
