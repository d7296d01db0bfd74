"""Wrong telemetry: what can't be read stores nothing; what is wrong with one reading is set aside with its reason."""

import csv
import io
import json
import select
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pyarrow as pa
import pytest

from domain.measures import MEASURE_NAMES
from storage.database import INGEST_ROLE
from storage.registry import hand_over
from tests.running import RunningApi

JSON = "application/json"
NDJSON = "application/x-ndjson"
ARROW = "application/vnd.apache.arrow.stream"
CSV = "text/csv"
MIB = 1 << 20
DAY_S = 86_400
Reading = dict[str, Any]


def moment(seconds: float = 0) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


_used_ms: set[int] = set()


def reading(seconds: float = 0, **changed: Any) -> Reading:
    """A reading of about that many seconds from now; no two have the same time."""
    ms = int((time.time() + seconds) * 1000)
    while ms in _used_ms:
        ms -= 1
    _used_ms.add(ms)
    return {
        "pack": "P-1",
        "ts": datetime.fromtimestamp(ms / 1000, UTC).isoformat(),
        "voltage_v": 350.0,
    } | changed


def arrow(columns: dict[str, Any], **options: Any) -> bytes:
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def as_arrow(readings: list[Reading]) -> bytes:
    """The readings as Arrow, with times as milliseconds."""
    names = list(dict.fromkeys(name for item in readings for name in item))
    columns = {name: [item.get(name) for item in readings] for name in names}
    columns["ts"] = [
        int(datetime.fromisoformat(ts).timestamp() * 1000) if isinstance(ts, str) else ts
        for ts in columns["ts"]
    ]
    types = {"pack": pa.string(), "ts": pa.int64()}
    return arrow({name: pa.array(given, types.get(name, pa.float64())) for name, given in columns.items()})


def as_csv(readings: list[Reading]) -> bytes:
    """The readings as CSV, with a column for each name that any of them has."""
    names = list(dict.fromkeys(["pack", "ts", *(name for item in readings for name in item)]))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(readings)
    return text.getvalue().encode()


ENCODE: dict[str, Callable[[list[Any]], bytes]] = {
    JSON: lambda readings: json.dumps(readings).encode(),
    NDJSON: lambda readings: "\n".join(map(json.dumps, readings)).encode(),
    ARROW: as_arrow,
    CSV: as_csv,
}
FORMATS = pytest.mark.parametrize("content_type", ENCODE, ids=["json", "ndjson", "arrow", "csv"])
TEXTS = pytest.mark.parametrize("content_type", [JSON, NDJSON], ids=["json", "ndjson"])


@dataclass(frozen=True)
class Tenant:
    """A tenant with pack P-1 and, of a model with limits of its own, P-2."""

    api: RunningApi
    client: httpx.Client
    database: psycopg.Connection[Any]

    def post(self, body: bytes, content_type: str = JSON, **more: Any) -> httpx.Response:
        headers = {"Content-Type": content_type} | more.pop("headers", {})
        return self.client.post("/v1/telemetry", content=body, headers=headers, **more)

    def send(self, readings: list[Any], content_type: str = JSON, **more: Any) -> httpx.Response:
        return self.post(ENCODE[content_type](readings), content_type, **more)

    def stored(self) -> tuple[int, ...]:
        """Counts of all that telemetry can leave behind, over all tenants."""
        tables = ("readings", "batches", "quarantine", "packs", "audit_log")
        counts = ", ".join(f"(SELECT count(*) FROM {table})" for table in tables)
        return self.database.execute(f"SELECT {counts}").fetchone() or ()

    def readings(self) -> int:
        return self.stored()[0]


@pytest.fixture(scope="module")
def tenant(api: RunningApi) -> Iterator[Tenant]:
    with api.client(api.tenant("other", register_unknown_packs=False)) as other:
        other.post("/v1/packs", json={"pack": "P-of-other"}).raise_for_status()
    connected = psycopg.connect(api.access.admin, options="-c search_path=bpm", autocommit=True)
    with connected as database, api.client(api.tenant("acme", register_unknown_packs=False)) as client:
        model = {
            "name": "M",
            "chemistry": "LFP",
            "rated_capacity_ah": 5,
            "limits": {"voltage_v": {"maximum": 400}},
        }
        client.post("/v1/models", json=model).raise_for_status()
        for pack in ({"pack": "P-1"}, {"pack": "P-2", "model": "M"}):
            client.post("/v1/packs", json=pack).raise_for_status()
        yield Tenant(api, client, database)


def assert_refused(tenant: Tenant, answer: Callable[[], httpx.Response], status: int, code: str) -> None:
    """The answer is a problem of this status and code, and nothing was stored."""
    before = tenant.stored()
    refused = answer()
    assert (refused.status_code, refused.json().get("code")) == (status, code), refused.text
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert tenant.stored() == before


GOOD = json.dumps(reading()).encode()
UNREADABLE = {
    "nothing": b"",
    "not UTF-8": GOOD.replace(b"P-1", b"P-\xff"),
    "UTF-16": GOOD.decode().encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf" + GOOD,
    "deep nesting": b"[" * 100_000 + b"]" * 100_000,
    "deep nesting in a reading": GOOD[:-1] + b', "x": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "name twice": GOOD[:-1] + b', "pack": "P-2"}',
    "name twice, once escaped": GOOD[:-1] + b', "p\\u0061ck": "P-2"}',
    "name twice further down": GOOD[:-1] + b', "x": {"a": 1, "a": 2}}',
    "half a letter": GOOD.replace(b"P-1", b"\\ud800"),
    "half a letter in a name": GOOD[:-1] + b', "\\udc00": 1}',
    "number beyond all": GOOD.replace(b"350.0", b"1e400"),
    "NaN": GOOD.replace(b"350.0", b"NaN"),
    "Infinity": GOOD.replace(b"350.0", b"-Infinity"),
    "leading zero": GOOD.replace(b"350.0", b"0350"),
    "control character in text": GOOD.replace(b"P-1", b"P\n1"),
    "NUL behind": GOOD + b"\0",
    "more behind": GOOD + b"}",
    "cut off": GOOD[:-1],
}


@pytest.mark.parametrize("body", UNREADABLE)
def test_json_that_can_not_be_read_answers_400(tenant: Tenant, body: str) -> None:
    assert_refused(tenant, lambda: tenant.post(UNREADABLE[body]), 400, "body_unreadable")


@pytest.mark.parametrize("body", [name for name in UNREADABLE if name != "nothing"])
def test_one_unreadable_line_refuses_all_lines(tenant: Tenant, body: str) -> None:
    lines = ENCODE[NDJSON]([reading(-1)]) + b"\n" + UNREADABLE[body]
    assert_refused(tenant, lambda: tenant.post(lines, NDJSON), 400, "body_unreadable")


@pytest.mark.parametrize("body", [b"7", b'"text"', b"null", b"true"])
def test_json_that_is_neither_object_nor_array_answers_400(tenant: Tenant, body: bytes) -> None:
    assert_refused(tenant, lambda: tenant.post(body), 400, "body_unreadable")


COLUMNS: dict[str, Any] = {"pack": ["P-1"], "ts": pa.array([0], pa.int64()), "voltage_v": [350.0]}
STREAM = arrow(COLUMNS)


def arrow_file() -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, pa.table(COLUMNS).schema) as writer:
        writer.write_table(pa.table(COLUMNS))
    return bytes(sink.getvalue().to_pybytes())


def twice_named() -> bytes:
    table = pa.Table.from_arrays([pa.array(["P-1"]), pa.array([0]), pa.array([0])], ["pack", "ts", "ts"])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


UNREADABLE_STREAMS = {
    "nothing": b"",
    "text": GOOD,
    "zeros": bytes(1000),
    "a file, not a stream": arrow_file(),
    "cut off in the schema": STREAM[:100],
    "cut off in the data": STREAM[:-40],
    "half of it flipped": bytes(byte ^ 0xFF for byte in STREAM),
    "column twice": twice_named(),
    "compressed by zstd": arrow(COLUMNS, compression="zstd"),
    "compressed by lz4": arrow(COLUMNS, compression="lz4"),
    "compressed dictionary": arrow(
        COLUMNS | {"pack": pa.array(["P-1"]).dictionary_encode()}, compression="zstd"
    ),
    "text that is not UTF-8": arrow(
        COLUMNS | {"pack": pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe"))}
    ),
}  # fmt: skip


@pytest.mark.parametrize("body", UNREADABLE_STREAMS)
def test_arrow_that_can_not_be_read_answers_400(tenant: Tenant, body: str) -> None:
    assert_refused(tenant, lambda: tenant.post(UNREADABLE_STREAMS[body], ARROW), 400, "body_unreadable")


WRONG_COLUMNS: dict[str, tuple[dict[str, Any], str]] = {
    "no pack": ({name: COLUMNS[name] for name in ("ts", "voltage_v")}, "pack"),
    "no ts": ({name: COLUMNS[name] for name in ("pack", "voltage_v")}, "ts"),
    "pack of numbers": (COLUMNS | {"pack": [1]}, "pack"),
    "pack of bytes": (COLUMNS | {"pack": pa.array([b"P-1"])}, "pack"),
    "pack of dictionary-encoded numbers": (COLUMNS | {"pack": pa.array([1]).dictionary_encode()}, "pack"),
    "ts of text": (COLUMNS | {"ts": [moment()]}, "ts"),
    "ts of floats": (COLUMNS | {"ts": [1.0]}, "ts"),
    "ts of dates": (COLUMNS | {"ts": pa.array([1], pa.date32())}, "ts"),
    "voltage of text": (COLUMNS | {"voltage_v": ["350"]}, "voltage_v"),
    "voltage of booleans": (COLUMNS | {"voltage_v": [True]}, "voltage_v"),
    "voltage of decimals": (COLUMNS | {"voltage_v": pa.array([1], pa.decimal128(5, 1))}, "voltage_v"),
    "voltage of lists": (COLUMNS | {"voltage_v": [[350.0]]}, "voltage_v"),
}


@pytest.mark.parametrize("wrong", WRONG_COLUMNS)
def test_arrow_with_a_wrong_column_answers_422_that_names_it(tenant: Tenant, wrong: str) -> None:
    columns, field = WRONG_COLUMNS[wrong]
    assert_refused(tenant, lambda: tenant.post(arrow(columns), ARROW), 422, "invalid_request")
    assert tenant.post(arrow(columns), ARROW).json()["field"] == field


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/xml", "multipart/form-data", "application/jsonp"])  # fmt: skip
def test_other_formats_answer_415(tenant: Tenant, content_type: str) -> None:
    assert_refused(tenant, lambda: tenant.post(GOOD, content_type), 415, "unsupported_format")


@FORMATS
@pytest.mark.parametrize("encoding", ["br", "identity, gzip", "gzip, zstd", "deflate", "unheard-of"])
def test_unknown_or_several_encodings_answer_415(tenant: Tenant, content_type: str, encoding: str) -> None:
    def send() -> httpx.Response:
        return tenant.send([reading()], content_type, headers={"Content-Encoding": encoding})

    assert_refused(tenant, send, 415, "unsupported_format")


@pytest.mark.parametrize("key", [b"", b"k" * 201, "schlüssel".encode("latin-1"), b"a\tb"])
def test_idempotency_key_that_is_none_answers_422(tenant: Tenant, key: bytes) -> None:
    def send() -> httpx.Response:
        return tenant.send([reading()], headers={"Idempotency-Key": key})

    assert_refused(tenant, send, 422, "invalid_request")


SizedFormats = [(JSON, 10_000, 4), (NDJSON, 10_000, 4), (ARROW, 200_000, 16), (CSV, 10_000, 4)]
SIZED = pytest.mark.parametrize(
    ("content_type", "readings_max", "mib_max"), SizedFormats, ids=["json", "ndjson", "arrow", "csv"]
)


@SIZED
def test_one_reading_too_many_answers_413(
    tenant: Tenant, content_type: str, readings_max: int, mib_max: int
) -> None:
    if content_type == ARROW:
        count = readings_max + 1
        body = arrow({"pack": pa.array(["P"] * count).dictionary_encode(), "ts": pa.array([0] * count)})
    else:
        body = ENCODE[content_type]([{}] * (readings_max + 1))
    assert_refused(tenant, lambda: tenant.post(body, content_type), 413, "body_too_large")
    assert tenant.post(body, content_type).json()["limit"] == readings_max


def head(tenant: Tenant, content_type: str, *lines: str) -> bytes:
    token = tenant.client.headers["Authorization"]
    given = [f"Authorization: {token}", "Host: engine", f"Content-Type: {content_type}", *lines]
    return ("POST /v1/telemetry HTTP/1.1\r\n" + "\r\n".join(given) + "\r\n\r\n").encode()


@SIZED
def test_declared_size_over_the_limit_answers_413_before_the_body_is_sent(
    tenant: Tenant, content_type: str, readings_max: int, mib_max: int
) -> None:
    declared = f"Content-Length: {mib_max * MIB + 1}"
    with socket.create_connection(("127.0.0.1", tenant.api.engine.settings.port), timeout=10) as connection:
        connection.sendall(head(tenant, content_type, declared))
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


@SIZED
def test_undeclared_size_over_the_limit_answers_413_without_reading_on(
    tenant: Tenant, content_type: str, readings_max: int, mib_max: int
) -> None:
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    sent = 0
    with socket.create_connection(("127.0.0.1", tenant.api.engine.settings.port), timeout=10) as connection:
        connection.sendall(head(tenant, content_type, "Transfer-Encoding: chunked"))
        while not select.select([connection], [], [], 0)[0]:
            assert sent < (mib_max + 16) * MIB, "the engine reads on"
            connection.sendall(chunk)
            sent += 0x10000
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")
    assert sent >= mib_max * MIB


def test_body_of_just_the_limit_is_taken(tenant: Tenant) -> None:
    body = json.dumps(reading(-2)).encode().ljust(4 * MIB)
    assert tenant.post(body).status_code == 200
    assert_refused(tenant, lambda: tenant.post(body + b" "), 413, "body_too_large")


# What is wrong with one reading: its change, the reason, the field and the limit that its item names.
Wrong = tuple[Reading, str, str | None, float | None]
WRONG_IN_ALL: dict[str, Wrong] = {
    "charge above 100": ({"state_of_charge_pct": 150}, "out_of_range", "state_of_charge_pct", 100),
    "charge below 0": ({"state_of_charge_pct": -1}, "out_of_range", "state_of_charge_pct", 0),
    "charge just above 100": ({"state_of_charge_pct": 100.001}, "out_of_range", "state_of_charge_pct", 100),
    "number beyond float4": ({"voltage_v": 1e300}, "out_of_range", "voltage_v", 2000),
    "number whose thousandths are beyond float8": (
        {"current_a": -1.7e308},
        "out_of_range",
        "current_a",
        -5000,
    ),
    "above the model's limit": ({"pack": "P-2", "voltage_v": 401}, "out_of_range", "voltage_v", 400),
    "no measure": ({"voltage_v": None}, "no_measure", None, None),
    "no pack": ({"pack": None}, "missing_field", "pack", None),
    "empty pack": ({"pack": ""}, "out_of_range", "pack", 200),
    "long pack": ({"pack": "P" * 201}, "out_of_range", "pack", 200),
    "pack with NUL": ({"pack": "P\0"}, "out_of_range", "pack", 200),
    "pack with a control character": ({"pack": "P\x85"}, "out_of_range", "pack", 200),
    "unknown pack": ({"pack": "P-unknown"}, "unknown_pack", "pack", None),
    "pack in other letters": ({"pack": "p-1"}, "unknown_pack", "pack", None),
    "pack of another tenant": ({"pack": "P-of-other"}, "unknown_pack", "pack", None),
    "no time": ({"ts": None}, "missing_field", "ts", None),
    "year 9999": ({"ts": 253_402_300_799_000}, "too_far_in_future", "ts", 300),
    "before 1970": ({"ts": -1}, "too_late", "ts", 30 * DAY_S),
}
WRONG_IN_TEXT: dict[str, Wrong] = {
    "true as a number": ({"voltage_v": True}, "invalid_type", "voltage_v", None),
    "text as a number": ({"voltage_v": "350"}, "invalid_type", "voltage_v", None),
    "list as a number": ({"voltage_v": [350]}, "invalid_type", "voltage_v", None),
    "object as a number": ({"voltage_v": {}}, "invalid_type", "voltage_v", None),
    "number of 300 digits": ({"voltage_v": 10**300}, "out_of_range", "voltage_v", 2000),
    "2^63": ({"voltage_v": 2**63}, "out_of_range", "voltage_v", 2000),
    "pack as a number": ({"pack": 7}, "invalid_type", "pack", None),
    "pack as a list": ({"pack": ["P-1"]}, "invalid_type", "pack", None),
    "time without offset": ({"ts": "2026-01-01T00:00:00"}, "time_without_offset", "ts", None),
    "time as a word": ({"ts": "yesterday"}, "invalid_time", "ts", None),
    "empty time": ({"ts": ""}, "invalid_time", "ts", None),
    "date": ({"ts": "2026-01-01"}, "invalid_time", "ts", None),
    "time without seconds": ({"ts": "2026-01-01T00:00Z"}, "invalid_time", "ts", None),
    "offset without colon": ({"ts": "2026-01-01T00:00:00+0100"}, "invalid_time", "ts", None),
    "31 February": ({"ts": "2026-02-31T00:00:00Z"}, "invalid_time", "ts", None),
    "leap second": ({"ts": "2026-06-30T23:59:60Z"}, "invalid_time", "ts", None),
    "other digits": ({"ts": "٢٠٢٦-01-01T00:00:00Z"}, "invalid_time", "ts", None),
    "number as text": ({"ts": "1"}, "invalid_time", "ts", None),
    "time true": ({"ts": True}, "invalid_type", "ts", None),
    "time as a list": ({"ts": []}, "invalid_type", "ts", None),
    "time of 2^63": ({"ts": 2**63}, "invalid_time", "ts", None),
    "time of 1e300": ({"ts": 1e300}, "invalid_time", "ts", None),
    "year 9999 as text": ({"ts": "9999-12-31T23:59:59Z"}, "too_far_in_future", "ts", 300),
}


def assert_set_aside(tenant: Tenant, content_type: str, wrong: Wrong) -> None:
    """The wrong reading is set aside by its reason, those around it go in, and quarantine keeps it."""
    changed, reason, field, limit = wrong
    before = tenant.readings()
    answer = tenant.send([reading(-2), reading(-1, **changed), reading()], content_type)
    receipt = answer.json()
    assert answer.status_code == 207, answer.text
    counts = [receipt[name] for name in ("received", "accepted", "duplicate", "quarantined", "conflicting")]
    assert counts == [3, 2, 0, 1, 0]
    assert receipt["items"] == [
        {"index": 1, "outcome": "quarantined", "reason": reason, "field": field, "limit": limit}
    ]
    assert tenant.readings() == before + 2
    listed = tenant.client.get("/v1/quarantine", params={"reason": reason, "limit": 1000}).json()["items"]
    kept = [item["raw"] for item in listed if item["field"] == field]
    if content_type == CSV:
        assert any(raw.startswith("pack,ts,") and raw.count("\n") == 1 for raw in kept)
        return
    known = {"pack", "ts", *MEASURE_NAMES}
    assert any(raw.startswith("{") and json.loads(raw).keys() <= known for raw in kept)


@FORMATS
@pytest.mark.parametrize("wrong", WRONG_IN_ALL)
def test_wrong_reading_is_set_aside_and_its_neighbours_go_in(
    tenant: Tenant, content_type: str, wrong: str
) -> None:
    if content_type == CSV and wrong == "pack with NUL":
        body = ENCODE[CSV]([reading(), reading(**WRONG_IN_ALL[wrong][0])])
        assert_refused(tenant, lambda: tenant.post(body, CSV), 400, "body_unreadable")
        return
    changed, reason, field, limit = WRONG_IN_ALL[wrong]
    if content_type == CSV and wrong == "empty pack":
        reason, limit = "missing_field", None
    assert_set_aside(tenant, content_type, (changed, reason, field, limit))


@TEXTS
@pytest.mark.parametrize("wrong", WRONG_IN_TEXT)
def test_wrong_reading_in_text_is_set_aside_and_its_neighbours_go_in(
    tenant: Tenant, content_type: str, wrong: str
) -> None:
    assert_set_aside(tenant, content_type, WRONG_IN_TEXT[wrong])


@pytest.mark.parametrize(
    "form", ["2026-01-01T00:00Z", "2026-01-01T00Z", "2026-01-01T00:00:00+0100", "2026-01-01T00:00:00+01"]
)
def test_loose_time_is_wrong_whoever_stands_beside_it(tenant: Tenant, form: str) -> None:
    for sent in ([reading(ts=form)], [reading(ts=form), reading(), reading(ts=1)]):
        assert tenant.send(sent).json()["items"][0]["reason"] == "invalid_time"


@TEXTS
@pytest.mark.parametrize("item", [7, None, "text", [], [{}], True])
def test_item_that_is_no_object_is_set_aside(tenant: Tenant, content_type: str, item: Any) -> None:
    answer = tenant.send([item, reading()], content_type)
    assert (answer.status_code, answer.json()["accepted"]) == (207, 1)
    assert answer.json()["items"][0]["reason"] == "not_an_object"


WRONG_IN_ARROW: dict[str, tuple[dict[str, Any], str, str | None]] = {
    "NaN": ({"voltage_v": [float("nan")]}, "not_a_number", "voltage_v"),
    "infinite": ({"voltage_v": [float("inf")]}, "out_of_range", "voltage_v"),
    "infinite below": ({"voltage_v": [float("-inf")]}, "out_of_range", "voltage_v"),
    "largest unsigned": ({"voltage_v": pa.array([2**64 - 1], pa.uint64())}, "out_of_range", "voltage_v"),
    "a column of nulls": ({"voltage_v": pa.nulls(1)}, "no_measure", None),
    "time of 2^62": ({"ts": pa.array([2**62], pa.int64())}, "too_far_in_future", "ts"),
    "smallest time": ({"ts": pa.array([-(2**63)], pa.int64())}, "too_late", "ts"),
    "year of 300,000": ({"ts": pa.array([2**53], pa.timestamp("ms", "UTC"))}, "too_far_in_future", "ts"),
    "seconds beyond": ({"ts": pa.array([2**62], pa.timestamp("s"))}, "too_far_in_future", "ts"),
    "seconds before all": ({"ts": pa.array([-(2**62)], pa.timestamp("s"))}, "too_late", "ts"),
    "odd nanoseconds": ({"ts": pa.array([2**60 + 1], pa.timestamp("ns"))}, "too_late", "ts"),
}


@pytest.mark.parametrize("wrong", WRONG_IN_ARROW)
def test_wrong_value_in_arrow_is_set_aside(tenant: Tenant, wrong: str) -> None:
    columns, reason, field = WRONG_IN_ARROW[wrong]
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    sent = COLUMNS | {"ts": pa.array([now_ms], pa.int64())} | columns
    answer = tenant.post(arrow(sent), ARROW)
    assert answer.status_code == 207, answer.text
    assert [(item["reason"], item["field"]) for item in answer.json()["items"]] == [(reason, field)]


@FORMATS
def test_future_of_less_than_five_minutes_goes_in_and_more_does_not(
    tenant: Tenant, content_type: str
) -> None:
    receipt = tenant.send([reading(295), reading(310)], content_type).json()
    assert receipt["accepted"] == 1
    assert [(item["index"], item["reason"], item["limit"]) for item in receipt["items"]] == [
        (1, "too_far_in_future", 300)
    ]


@FORMATS
def test_reading_of_less_than_30_days_ago_goes_in_late_and_an_older_one_does_not(
    tenant: Tenant, content_type: str
) -> None:
    ages_s = (1, 14 * 60, 16 * 60, 30 * DAY_S - 60, 30 * DAY_S + 60)
    receipt = tenant.send([reading(-age_s) for age_s in ages_s], content_type).json()
    assert (receipt["accepted"], receipt["late"], receipt["quarantined"]) == (4, 2, 1)
    assert [(item["index"], item["reason"]) for item in receipt["items"]] == [(4, "too_late")]


def test_import_takes_any_past_since_1990_and_nothing_of_it_is_late(tenant: Tenant) -> None:
    import_id = tenant.client.post("/v1/imports", json={"source": "archive"}).json()["id"]
    times = ["1989-12-31T23:59:59Z", "1990-01-01T00:00:00Z", "2005-05-05T00:00:00+05:45", moment(310)]
    answer = tenant.send([reading(ts=ts) for ts in times], params={"import": import_id})
    assert (answer.status_code, answer.json()["accepted"], answer.json()["late"]) == (207, 2, 0)
    assert [(item["index"], item["reason"]) for item in answer.json()["items"]] == [
        (0, "too_old"),
        (3, "too_far_in_future"),
    ]


def test_reading_from_outside_its_senders_tenure_is_set_aside(tenant: Tenant) -> None:
    api = tenant.api
    conninfo = api.access.as_role(INGEST_ROLE, api.engine.settings)
    with api.client(api.tenant("giver", register_unknown_packs=False)) as giver:
        giver.post("/v1/packs", json={"pack": "G-1"}).raise_for_status()
        starts = datetime.now(UTC) - timedelta(hours=1)
        hand_over(conninfo, "G-1", "giver", api.tenant("taker"), "T-1", starts)
        with api.client("taker") as taker:
            for client, pack, held in ((giver, "G-1", -7200), (taker, "T-1", -1800)):
                sent = [reading(seconds, pack=pack) for seconds in (-7200, -1800)]
                receipt = client.post("/v1/telemetry", json=sent).json()
                wrong = 0 if held == -1800 else 1
                assert receipt["accepted"] == 1
                assert [(item["index"], item["reason"]) for item in receipt["items"]] == [
                    (wrong, "not_held_then")
                ]


@FORMATS
def test_unknown_keys_are_ignored_and_named(tenant: Tenant, content_type: str) -> None:
    answer = tenant.send([reading(-4, humidity_pct=3.0, odo_km=1.0)], content_type)
    assert (answer.status_code, answer.json()["ignored_keys"]) == (200, ["humidity_pct", "odo_km"])


def test_unknown_keys_are_named_printably_and_up_to_a_number(tenant: Tenant) -> None:
    keys = {f"key{number:03}\0\n" + "k" * 500: 1 for number in range(50)}
    named = tenant.send([reading(-4.5, **keys)]).json()["ignored_keys"]
    assert len(named) == 20
    assert all(key.isprintable() and len(key) <= 100 for key in named)


@FORMATS
def test_exact_duplicate_has_no_effect_and_answers_200(tenant: Tenant, content_type: str) -> None:
    sent = [reading(-5, current_a=1.5)]
    first, again = (tenant.send(sent, content_type) for _ in range(2))
    assert (first.json()["accepted"], first.status_code) == (1, 200)
    assert (again.json()["duplicate"], again.json()["accepted"], again.status_code) == (1, 0, 200)
    both = tenant.send(sent * 2, content_type).json()
    assert (both["received"], both["duplicate"], both["items"]) == (2, 2, [])


def trend_at(tenant: Tenant, ts: str, *measures: str) -> list[float | None]:
    after = (datetime.fromisoformat(ts) + timedelta(seconds=1)).isoformat()
    asked = {"pack": "P-1", "measure": measures, "from": ts, "to": after}
    columns = tenant.client.get("/v1/trends", params=asked).json()["columns"]
    return [value for measure in measures for value in columns[measure]]


@FORMATS
def test_other_value_for_the_same_time_is_a_conflict_and_the_first_is_kept(
    tenant: Tenant, content_type: str
) -> None:
    whole = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=77)
    ts = (whole - timedelta(seconds=list(ENCODE).index(content_type) * 10)).isoformat()
    assert tenant.send([reading(ts=ts, voltage_v=350)], content_type).status_code == 200
    answer = tenant.send([reading(ts=ts, voltage_v=351)], content_type)
    receipt = answer.json()
    assert answer.status_code == 207
    assert [receipt[name] for name in ("accepted", "duplicate", "quarantined", "conflicting")] == [0, 0, 1, 1]
    assert receipt["items"] == [
        {"index": 0, "outcome": "conflict", "reason": "conflict", "field": "voltage_v", "limit": None}
    ]
    assert trend_at(tenant, ts, "voltage_v") == [350]


def test_conflict_within_one_body_keeps_the_first(tenant: Tenant) -> None:
    ts = (datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=140)).isoformat()
    receipt = tenant.send([reading(ts=ts, voltage_v=value) for value in (10, 11, 10)]).json()
    assert [receipt[name] for name in ("accepted", "duplicate", "conflicting")] == [1, 1, 1]
    assert trend_at(tenant, ts, "voltage_v") == [10]


@FORMATS
def test_reading_of_which_some_measures_are_new_is_accepted_with_an_item_for_each_conflict(
    tenant: Tenant, content_type: str
) -> None:
    whole = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=200)
    ts = (whole - timedelta(seconds=list(ENCODE).index(content_type) * 10)).isoformat()
    tenant.send([reading(ts=ts, voltage_v=350, current_a=1, temperature_c=20)], content_type)
    mixed = reading(ts=ts, voltage_v=351, current_a=2, temperature_c=20, state_of_charge_pct=60)
    answer = tenant.send([mixed], content_type)
    receipt = answer.json()
    assert answer.status_code == 207
    counts = [receipt[name] for name in ("received", "accepted", "duplicate", "quarantined", "conflicting")]
    assert counts == [1, 1, 0, 0, 0]
    assert [(item["index"], item["outcome"], item["field"]) for item in receipt["items"]] == [
        (0, "conflict", "voltage_v"),
        (0, "conflict", "current_a"),
    ]
    kept = trend_at(tenant, ts, "voltage_v", "current_a", "temperature_c", "state_of_charge_pct")
    assert kept == [350, 1, 20, 60]


def test_readings_out_of_order_go_in_and_the_latest_is_by_event_time(tenant: Tenant) -> None:
    tenant.client.post("/v1/packs", json={"pack": "P-order"}).raise_for_status()
    for seconds, voltage_v in ((-10, 1), (-5, 2), (-20, 3)):
        sent = reading(seconds, pack="P-order", voltage_v=voltage_v)
        assert tenant.send([sent]).json()["accepted"] == 1
    (pack,) = [item for item in tenant.client.get("/v1/packs").json()["items"] if item["pack"] == "P-order"]
    latest = tenant.client.get(f"/v1/packs/{pack['id']}/latest").json()["latest"]
    assert latest["voltage_v"]["value"] == 2


@FORMATS
def test_no_readings_at_all_is_an_empty_receipt(tenant: Tenant, content_type: str) -> None:
    body = arrow({name: pa.array([], pa.array(given).type) for name, given in COLUMNS.items()})
    answer = tenant.post(body if content_type == ARROW else ENCODE[content_type]([]), content_type)
    assert (answer.status_code, answer.json()["received"], answer.json()["items"]) == (200, 0, [])
