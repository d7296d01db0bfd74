"""ThingsBoard's bodies as columns."""

import json
from typing import Any

import numpy as np
import pytest

from domain.errors import BodyTooLargeError, BodyUnreadableError
from domain.key_aliases import KeyAlias, key_aliases
from domain.measures import MEASURE_INDEX
from domain.quarantine import RawForm
from ingest.bodies.kept import read_kept
from ingest.bodies.thingsboard import read_gateway, read_thingsboard
from ingest.columns import BodyLimits, RawReadings

LIMITS = BodyLimits(readings_max=5, ignored_keys_max=5, pack_name_characters_max=10)
ALIASES = key_aliases([KeyAlias("mV", "voltage_v", 0.001)])
ARRIVED_MS = 1_770_000_000_000
VOLTAGE = MEASURE_INDEX["voltage_v"]


def read(value: Any) -> RawReadings:
    return read_thingsboard(json.dumps(value).encode(), "P", ARRIVED_MS, LIMITS, ALIASES)


def reasons(raw: RawReadings) -> list[tuple[int, str, str | None]]:
    return [(problem.index, problem.reason.value, problem.field) for problem in raw.problems]


@pytest.mark.parametrize(
    ("value", "ts_ms"),
    [
        ({"ts": 5, "values": {"voltage_v": 3.5}}, 5),
        ([{"ts": 5, "values": {"voltage_v": 3.5}}], 5),
        ({"ts": "5", "values": {"voltage_v": 3.5}}, 5),
        ({"values": {"voltage_v": 3.5}}, ARRIVED_MS),
        ({"voltage_v": 3.5}, ARRIVED_MS),
        ([{"voltage_v": 3.5}], ARRIVED_MS),
        ({"voltage_v": "3.5"}, ARRIVED_MS),
        ({"mV": "3500"}, ARRIVED_MS),
    ],
)
def test_every_form_is_read(value: Any, ts_ms: int) -> None:
    raw = read(value)
    assert (raw.pack_names, raw.ts_ms.tolist(), raw.values[VOLTAGE].tolist()) == (("P",), [ts_ms], [3.5])


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        (7, ("not_an_object", None)),
        ([], ("not_an_object", None)),
        ({"ts": 5}, ("missing_field", "values")),
        ({"ts": 5, "voltage_v": 1}, ("missing_field", "values")),
        ({"ts": 5, "values": 7}, ("invalid_type", "values")),
        ({"ts": None, "values": {"voltage_v": 1}}, ("missing_field", "ts")),
        ({"ts": True, "values": {"voltage_v": 1}}, ("invalid_type", "ts")),
        ({"ts": "soon", "values": {"voltage_v": 1}}, ("invalid_time", "ts")),
        ({"ts": 5, "values": {"voltage_v": "nan"}}, ("invalid_type", "voltage_v")),
        ({"ts": 5, "values": {"voltage_v": "1_0"}}, ("invalid_type", "voltage_v")),
        ({"ts": 5, "values": {"voltage_v": ""}}, ("invalid_type", "voltage_v")),
        ({"ts": 5, "values": {"voltage_v": True}}, ("invalid_type", "voltage_v")),
        ({"ts": 5, "values": {"voltage_v": 1, "mV": 1000}}, ("ambiguous_key", "voltage_v")),
    ],
)
def test_wrong_item_is_set_aside_and_its_neighbour_is_not(item: Any, problem: tuple[str, str | None]) -> None:
    raw = read([{"voltage_v": 1}, item])
    assert reasons(raw) == [(1, *problem)]
    assert raw.index.tolist() == [0]


def test_gateway_counts_the_items_of_all_devices_in_order() -> None:
    body = {
        "A": [{"ts": 1, "values": {"voltage_v": 1}}, {"ts": 2, "values": {"voltage_v": 2}}],
        "B": [],
        "C": {"ts": 3, "values": {"voltage_v": 3}},
        "": [{"voltage_v": 4}],
    }
    raw = read_gateway(json.dumps(body).encode(), ARRIVED_MS, LIMITS)
    assert [raw.pack_names[code] for code in raw.pack_code] == ["A", "A", "C"]
    assert raw.values[VOLTAGE].tolist() == [1, 2, 3]
    assert reasons(raw) == [(3, "out_of_range", "pack")]


def test_unknown_keys_are_named_wherever_they_stand() -> None:
    raw = read(
        [{"ts": 1, "values": {"voltage_v": 1, "humidity": 1, "pack": "x"}, "metadata": {}}, {"odo": 1}]
    )
    assert raw.ignored_keys == ("humidity", "metadata", "odo", "pack")


@pytest.mark.parametrize(
    "body", [b"", b"7", b'{"ts":1,"ts":2,"values":{}}', b'{"a":1,"a":2}', b"[" * 100_000]
)
def test_unreadable_bodies_are_refused_as_natively(body: bytes) -> None:
    with pytest.raises(BodyUnreadableError):
        read_thingsboard(body, "P", ARRIVED_MS, LIMITS)
    with pytest.raises(BodyUnreadableError):
        read_gateway(body, ARRIVED_MS, LIMITS)


def test_gateway_needs_names() -> None:
    with pytest.raises(BodyUnreadableError):
        read_gateway(b"[]", ARRIVED_MS, LIMITS)


def test_as_many_items_as_allowed_are_read_and_one_more_is_not() -> None:
    assert read([{"voltage_v": 1}] * 5).received == 5
    with pytest.raises(BodyTooLargeError):
        read([{"voltage_v": 1}] * 6)
    with pytest.raises(BodyTooLargeError):
        read_gateway(json.dumps({"A": [{}] * 3, "B": [{}] * 3}).encode(), ARRIVED_MS, LIMITS)


def test_raw_texts_are_read_as_their_items_were() -> None:
    items: list[Any] = [
        {"voltage_v": 1},
        {"ts": 5, "values": {"mV": "7"}},
        {"ts": 6},
        7,
        {"ts": 1, "values": 2},
    ]
    raw = read(items)
    again = read_kept(RawForm.THINGSBOARD, [raw.raw_of(index) for index in range(5)], LIMITS, ALIASES)
    assert again.ts_ms.tolist() == raw.ts_ms.tolist() == [ARRIVED_MS, 5]
    assert np.array_equal(again.values, raw.values, equal_nan=True)
    assert again.index.tolist() == raw.index.tolist()
