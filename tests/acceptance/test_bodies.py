"""Every kind of body over HTTP: compressed, under other names of keys, and side by side."""

import csv
import gzip
import io
import json
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pyarrow as pa
import pytest

from ingest.bodies.encodings import zstd
from tests.both import BOTH
from tests.running import RunningApi

RUNNERS = BOTH


JSON = "application/json"
NDJSON = "application/x-ndjson"
ARROW = "application/vnd.apache.arrow.stream"
CSV = "text/csv"
MIB = 1 << 20
TENANT = "bodies"
ALIASES = [
    {"alias": "mV", "key": "voltage_v", "factor": 0.001},
    {"alias": "kelvin", "key": "temperature_c", "offset": -273.15},
    {"alias": "device", "key": "pack"},
    {"alias": "time", "key": "ts"},
]
Reading = dict[str, Any]
Kind = tuple[str, Callable[[list[Reading]], bytes], str]

_moments = iter(range(10_000))


def ts_ms() -> int:
    """A moment of about now that no other reading has."""
    return int(time.time() * 1000) - 100_000 + next(_moments)


def as_csv(readings: list[Reading]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for item in readings for name in item)))
    writer.writeheader()
    writer.writerows(readings)
    return text.getvalue().encode()


def as_arrow(readings: list[Reading]) -> bytes:
    names = list(dict.fromkeys(name for item in readings for name in item))
    table = pa.table({name: [item.get(name) for item in readings] for name in names})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def values_of(item: Reading) -> Reading:
    return {name: value for name, value in item.items() if name not in ("pack", "ts")}


def as_gateway(readings: list[Reading]) -> bytes:
    found: dict[str, list[Reading]] = {}
    for item in readings:
        found.setdefault(item["pack"], []).append({"ts": item["ts"], "values": values_of(item)})
    return json.dumps(found).encode()


KINDS: dict[str, Kind] = {
    "json": (JSON, lambda readings: json.dumps(readings).encode(), "/v1/telemetry"),
    "ndjson": (NDJSON, lambda readings: "\n".join(map(json.dumps, readings)).encode(), "/v1/telemetry"),
    "csv": (CSV, as_csv, "/v1/telemetry"),
    "arrow": (ARROW, as_arrow, "/v1/telemetry"),
    "thingsboard": (
        JSON,
        lambda readings: json.dumps(
            [{"ts": item["ts"], "values": values_of(item)} for item in readings]
        ).encode(),
        "/v1/telemetry/thingsboard?pack=P-1",
    ),
    "gateway": (JSON, as_gateway, "/v1/telemetry/thingsboard/gateway"),
}
EVERY_KIND = pytest.mark.parametrize("kind", KINDS)
NATIVE_KINDS = pytest.mark.parametrize("kind", ["json", "ndjson", "csv", "arrow"])
ENCODE = {"gzip": gzip.compress, "zstd": zstd.compress, "x-gzip": gzip.compress}
EITHER = pytest.mark.parametrize("encoding", ENCODE)


@pytest.fixture(scope="module")
def client(api: RunningApi) -> Iterator[httpx.Client]:
    with api.client(api.tenant(TENANT, register_unknown_packs=False)) as client:
        client.post("/v1/packs", json={"pack": "P-1"}).raise_for_status()
        headers = {"If-Match": client.get("/v1/key-aliases").headers["ETag"]}
        client.put("/v1/key-aliases", json={"aliases": ALIASES}, headers=headers).raise_for_status()
        yield client


def send(client: httpx.Client, kind: str, readings: list[Reading], **headers: str) -> httpx.Response:
    content_type, encode, path = KINDS[kind]
    body = encode(readings)
    if "Content-Encoding" in headers:
        body = ENCODE[headers["Content-Encoding"]](body)
    return client.post(path, content=body, headers={"Content-Type": content_type} | headers)


def stored(client: httpx.Client, at_ms: int, measure: str) -> list[float | None]:
    def text(ms: int) -> str:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms // 1000))
        return f"{seconds}.{ms % 1000:03}Z"

    asked = {"pack": "P-1", "measure": measure, "from": text(at_ms), "to": text(at_ms + 1)}
    values: list[float | None] = client.get("/v1/trends", params=asked).json()["columns"][measure]
    return values


@EVERY_KIND
def test_reading_is_stored_once(client: httpx.Client, kind: str) -> None:
    sent = [{"pack": "P-1", "ts": ts_ms(), "voltage_v": 351.25, "current_a": -2}]
    first, again = (send(client, kind, sent) for _ in range(2))
    assert (first.status_code, first.json()["accepted"]) == (200, 1), first.text
    assert (again.status_code, again.json()["duplicate"]) == (200, 1)
    assert stored(client, sent[0]["ts"], "voltage_v") == [351.25]


@EVERY_KIND
def test_readings_of_one_time_that_bring_different_measures_live_side_by_side(
    client: httpx.Client, kind: str
) -> None:
    moment = ts_ms()
    for measure, value in (("voltage_v", 350), ("current_a", 1), ("temperature_c", 20)):
        sent = [{"pack": "P-1", "ts": moment, measure: value}]
        assert send(client, kind, sent).json()["accepted"] == 1
    for measure, value in (("voltage_v", 350), ("current_a", 1), ("temperature_c", 20)):
        assert [found for found in stored(client, moment, measure) if found is not None] == [value]
    conflicting = send(client, kind, [{"pack": "P-1", "ts": moment, "current_a": 2}]).json()
    assert [item["reason"] for item in conflicting["items"]] == ["conflict"]


@EVERY_KIND
@EITHER
def test_compressed_body_is_taken_and_a_retry_in_another_encoding_gets_the_first_receipt(
    client: httpx.Client, kind: str, encoding: str
) -> None:
    sent = [{"pack": "P-1", "ts": ts_ms(), "voltage_v": 350 + index} for index in range(20)]
    key = str(uuid.uuid4())
    encoded = {"Content-Encoding": encoding, "Idempotency-Key": key}
    first = send(client, kind, sent, **encoded)
    assert (first.status_code, first.json()["accepted"], first.json()["id"]) == (200, 20, key)
    plain = send(client, kind, sent, **{"Idempotency-Key": key})
    assert (plain.status_code, plain.json()) == (200, first.json())
    other = send(client, kind, sent[1:], **encoded)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


@EVERY_KIND
def test_thousands_of_readings_are_taken_compressed(client: httpx.Client, kind: str) -> None:
    start = ts_ms() - 5_000_000
    sent = [
        {"pack": "P-1", "ts": start + index * 7, "voltage_v": 350 + index % 97 / 8} for index in range(5000)
    ]
    assert send(client, kind, sent, **{"Content-Encoding": "gzip"}).json()["received"] == 5000


@EVERY_KIND
@EITHER
@pytest.mark.parametrize("damage", ["cut", "behind", "plain", "nothing"])
def test_damaged_encoding_answers_400(client: httpx.Client, kind: str, encoding: str, damage: str) -> None:
    content_type, encode, path = KINDS[kind]
    plain = encode([{"pack": "P-1", "ts": ts_ms(), "voltage_v": 350}])
    whole = ENCODE[encoding](plain)
    body = {"cut": whole[:-3], "behind": whole + b"x", "plain": plain, "nothing": b""}[damage]
    headers = {"Content-Type": content_type, "Content-Encoding": encoding}
    answer = client.post(path, content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "body_unreadable"), answer.text


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, zstd", "gzip, gzip", "aws-chunked", "gzip;q=1"])
@EVERY_KIND
def test_other_and_several_encodings_answer_415(client: httpx.Client, kind: str, encoding: str) -> None:
    content_type, _, path = KINDS[kind]
    headers = {"Content-Type": content_type, "Content-Encoding": encoding}
    answer = client.post(path, content=b"{}", headers=headers)
    assert (answer.status_code, answer.json()["field"]) == (415, "Content-Encoding")


def test_encoding_given_in_two_headers_answers_415(client: httpx.Client) -> None:
    headers = [("Content-Type", JSON), ("Content-Encoding", "gzip"), ("Content-Encoding", "gzip")]
    assert client.post("/v1/telemetry", content=b"{}", headers=headers).status_code == 415


@EITHER
def test_limit_of_a_body_counts_what_it_unfolds_to(client: httpx.Client, encoding: str) -> None:
    reading = json.dumps([{"pack": "P-1", "ts": ts_ms(), "voltage_v": 350}])
    noise = uuid.uuid4().hex * 100
    padding = "".join(uuid.uuid5(uuid.NAMESPACE_URL, str(number)).hex for number in range(100_000))
    most = json.dumps([*json.loads(reading), {"x": noise + padding}])
    most = most + " " * (4 * MIB - len(most))
    headers = {"Content-Type": JSON, "Content-Encoding": encoding}
    taken = client.post("/v1/telemetry", content=ENCODE[encoding](most.encode()), headers=headers)
    assert (taken.status_code, taken.json()["accepted"]) == (207, 1), taken.text
    beyond = client.post("/v1/telemetry", content=ENCODE[encoding](most.encode() + b" "), headers=headers)
    assert (beyond.status_code, beyond.json()["limit"]) == (413, 4 * MIB)


@EITHER
def test_body_that_unfolds_to_more_than_a_hundred_times_its_size_answers_413(
    client: httpx.Client, encoding: str
) -> None:
    body = json.dumps([{"pack": "P-1", "ts": ts_ms(), "voltage_v": 350}]).ljust(1_000_000).encode()
    headers = {"Content-Type": JSON, "Content-Encoding": encoding}
    answer = client.post("/v1/telemetry", content=ENCODE[encoding](body), headers=headers)
    assert (answer.status_code, answer.json()["limit"]) == (413, 100)


def test_compressed_buffers_within_arrow_stay_refused_within_an_encoding(client: httpx.Client) -> None:
    table = pa.table({"pack": ["P-1"], "ts": [ts_ms()], "voltage_v": [1.0]})
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    headers = {"Content-Type": ARROW, "Content-Encoding": "gzip"}
    answer = client.post(
        "/v1/telemetry", content=gzip.compress(sink.getvalue().to_pybytes()), headers=headers
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "body_unreadable")


def test_records_take_no_encoded_bodies(client: httpx.Client) -> None:
    headers = {"Content-Type": JSON, "Content-Encoding": "gzip"}
    answer = client.post("/v1/packs", content=gzip.compress(b'{"pack": "P-9"}'), headers=headers)
    assert answer.status_code == 415


@NATIVE_KINDS
def test_aliases_of_every_key_are_read(client: httpx.Client, kind: str) -> None:
    sent = {"device": "P-1", "time": ts_ms(), "mV": 351_250, "kelvin": 300.15}
    receipt = send(client, kind, [sent]).json()
    assert (receipt["accepted"], receipt["ignored_keys"]) == (1, [])
    assert stored(client, sent["time"], "voltage_v") == [351.25]
    assert stored(client, sent["time"], "temperature_c") == [27.0]


@pytest.mark.parametrize("kind", ["thingsboard", "gateway"])
def test_aliases_of_measures_are_read_in_thingsboards_form(client: httpx.Client, kind: str) -> None:
    sent = {"pack": "P-1", "ts": ts_ms(), "mV": 351_250, "kelvin": "300.15"}
    receipt = send(client, kind, [sent]).json()
    assert (receipt["accepted"], receipt["ignored_keys"]) == (1, [])
    assert stored(client, sent["ts"], "voltage_v") == [351.25]
    assert stored(client, sent["ts"], "temperature_c") == [27.0]


@EVERY_KIND
def test_reading_with_two_names_of_one_key_is_set_aside(client: httpx.Client, kind: str) -> None:
    sent = [
        {"pack": "P-1", "ts": ts_ms(), "voltage_v": 350.0, "mV": 350_000.0},
        {"pack": "P-1", "ts": ts_ms(), "voltage_v": 350.0},
    ]
    if kind in ("csv", "arrow"):
        sent[1]["mV"] = None
    receipt = send(client, kind, sent).json()
    assert [(item["index"], item["reason"], item["field"]) for item in receipt["items"]] == [
        (0, "ambiguous_key", "voltage_v")
    ]
    assert receipt["accepted"] == 1


@NATIVE_KINDS
@pytest.mark.parametrize(("key", "alias", "value"), [("pack", "device", "P-1"), ("ts", "time", 5)])
def test_pack_or_time_under_two_names_is_set_aside(
    client: httpx.Client, kind: str, key: str, alias: str, value: Any
) -> None:
    sent = {"pack": "P-1", "ts": ts_ms(), "voltage_v": 350.0, alias: value}
    (item,) = send(client, kind, [sent]).json()["items"]
    assert (item["reason"], item["field"]) == ("ambiguous_key", key)


def test_aliases_hold_from_the_moment_they_are_set(api: RunningApi) -> None:
    with api.client(api.tenant("renames")) as client:
        sent = {"pack": "R-1", "ts": ts_ms(), "U": 350}
        assert client.post("/v1/telemetry", json=sent).json()["items"][0]["reason"] == "no_measure"
        for key, factor, kept in (("voltage_v", 1, "voltage_v"), ("current_a", 0.1, "current_a")):
            read = client.get("/v1/key-aliases")
            aliases = {"aliases": [{"alias": "U", "key": key, "factor": factor}]}
            headers = {"If-Match": read.headers["ETag"]}
            written = client.put("/v1/key-aliases", json=aliases, headers=headers)
            assert written.json()["aliases"] == [{"alias": "U", "key": key, "factor": factor, "offset": 0}]
            assert client.get("/v1/key-aliases").json() == written.json()
            assert client.put("/v1/key-aliases", json=aliases, headers=headers).status_code == 412
            assert client.post("/v1/telemetry", json=sent).json()["accepted"] == 1
            (pack,) = client.get("/v1/packs").json()["items"]
            latest = client.get(f"/v1/packs/{pack['id']}/latest").json()["latest"]
            assert latest[kept]["value"] == 350 * factor
        assert client.put("/v1/key-aliases", json={"aliases": []}).status_code == 428


@pytest.mark.parametrize(
    ("aliases", "field"),
    [
        ([{"alias": "voltage_v", "key": "current_a"}], "alias"),
        ([{"alias": "U", "key": "volts"}], "key"),
        ([{"alias": "U", "key": "ts", "factor": 1000}], "factor"),
        ([{"alias": "U", "key": "voltage_v", "factor": 0}], "factor"),
        ([{"alias": "", "key": "voltage_v"}], "aliases.0.alias"),
        ([{"alias": "U\n", "key": "voltage_v"}], "aliases.0.alias"),
        ([{"alias": f"U{number}", "key": "voltage_v"} for number in range(201)], "aliases"),
    ],
)
def test_aliases_that_can_not_be_are_refused(
    client: httpx.Client, aliases: list[Reading], field: str
) -> None:
    before = client.get("/v1/key-aliases")
    headers = {"If-Match": before.headers["ETag"]}
    answer = client.put("/v1/key-aliases", json={"aliases": aliases}, headers=headers)
    assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text
    assert client.get("/v1/key-aliases").json() == before.json()


def test_bare_values_are_measured_when_they_arrive(client: httpx.Client) -> None:
    before = time.time()
    answer = client.post(
        "/v1/telemetry/thingsboard", params={"pack": "P-1"}, json={"state_of_charge_pct": "51.5"}
    )
    assert (answer.status_code, answer.json()["accepted"], answer.json()["late"]) == (200, 1, 0)
    (pack,) = client.get("/v1/packs").json()["items"]
    latest = client.get(f"/v1/packs/{pack['id']}/latest").json()["latest"]["state_of_charge_pct"]
    assert latest["value"] == 51.5
    assert latest["ts"] >= time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(before - 1))


def test_devices_own_pack_is_meant_when_none_is_named(api: RunningApi, client: httpx.Client) -> None:
    sent = {"ts": ts_ms(), "values": {"voltage_v": 349}}
    with api.client(TENANT, "device", pack="P-1") as device:
        own = device.post("/v1/telemetry/thingsboard", json=sent)
        other = device.post("/v1/telemetry/thingsboard", json=sent, params={"pack": "P-2"})
    assert (own.status_code, own.json()["accepted"]) == (200, 1)
    assert other.json()["items"][0]["reason"] == "unknown_pack"
    nobody = client.post("/v1/telemetry/thingsboard", json=sent)
    assert (nobody.status_code, nobody.json()["field"]) == (422, "pack")


def test_same_key_with_another_pack_is_another_body(client: httpx.Client) -> None:
    key = {"Idempotency-Key": str(uuid.uuid4())}
    sent = {"ts": ts_ms(), "values": {"voltage_v": 349}}
    first = client.post("/v1/telemetry/thingsboard?pack=P-1", json=sent, headers=key)
    other = client.post("/v1/telemetry/thingsboard?pack=P-2", json=sent, headers=key)
    assert (first.status_code, other.status_code) == (200, 422)


@EVERY_KIND
def test_imports_take_the_past(client: httpx.Client, kind: str) -> None:
    content_type, encode, path = KINDS[kind]
    import_id = client.post("/v1/imports", json={"source": kind}).json()["id"]
    sent = [{"pack": "P-1", "ts": 1_000_000_000_000 + list(KINDS).index(kind), "voltage_v": 1.0}]
    url = f"{path}{'&' if '?' in path else '?'}import={import_id}"
    answer = client.post(url, content=encode(sent), headers={"Content-Type": content_type})
    assert (answer.status_code, answer.json()["accepted"]) == (200, 1), answer.text


@pytest.mark.parametrize("path", ["/v1/telemetry/thingsboard?pack=P-1", "/v1/telemetry/thingsboard/gateway"])
@pytest.mark.parametrize("content_type", [CSV, NDJSON, ARROW, "text/plain"])
def test_thingsboards_form_is_json_alone(client: httpx.Client, path: str, content_type: str) -> None:
    answer = client.post(path, content=b"{}", headers={"Content-Type": content_type})
    assert (answer.status_code, answer.json()["field"]) == (415, "Content-Type")
