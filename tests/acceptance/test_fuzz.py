"""Whatever bytes come, no answer is an error of ours, and every receipt adds up.

The examples are the same in each run, so that a red build is red again. FUZZ_TIMES=100 takes a hundred times as
many, new ones each time; a failure prints the example.
"""

import gzip
import json
import os
import random
from collections.abc import Iterator
from typing import Any

import httpx
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.bodies.encodings import zstd
from tests.running import RunningApi

JSON = "application/json"
NDJSON = "application/x-ndjson"
ARROW = "application/vnd.apache.arrow.stream"
CSV = "text/csv"

TIMES = int(os.environ.get("FUZZ_TIMES", "1"))

bounded = settings(
    max_examples=100 * TIMES,
    deadline=None,
    derandomize=TIMES == 1,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def client(api: RunningApi) -> Iterator[httpx.Client]:
    with api.client(api.tenant("fuzzed", register_unknown_packs=True)) as client:
        yield client


@pytest.fixture(scope="module")
def routes(client: httpx.Client) -> list[tuple[str, str]]:
    """Every route of OpenAPI whose answer ends, as method and path."""
    paths = client.get("/openapi.json").json()["paths"]
    return [
        (method.upper(), path)
        for path, methods in sorted(paths.items())
        for method in sorted(methods)
        if not path.endswith("/stream")
    ]


def post(
    client: httpx.Client,
    body: bytes,
    content_type: str,
    path: str = "/v1/telemetry",
    encoding: str = "identity",
) -> None:
    """Send telemetry; assert that the answer is a receipt that adds up, or a refusal."""
    headers = {"Content-Type": content_type, "Content-Encoding": encoding}
    answer = client.post(path, content=body, headers=headers)
    assert answer.status_code in (200, 207, 400, 413, 422), (answer.text, body)
    if answer.status_code in (200, 207):
        receipt = answer.json()
        assert receipt["accepted"] + receipt["duplicate"] + receipt["quarantined"] == receipt["received"]
        assert receipt["late"] <= receipt["accepted"]
        assert receipt["conflicting"] <= receipt["quarantined"]
        assert (answer.status_code == 200) == (not receipt["items"])
        assert all(0 <= item["index"] < receipt["received"] for item in receipt["items"])


NUMBERS = st.one_of(
    st.integers(),
    st.sampled_from([0, -1, 2**31, 2**53, 2**63, -(2**63), 2**64, 10**300, 1_795_000_000_000]),
    st.floats(allow_nan=False, allow_infinity=False),
)
TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["P-1", "", "\0", "\ud800", "2026-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "1e400"]),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)
KEYS = st.one_of(st.sampled_from(["pack", "ts", "voltage_v", "current_a", "state_of_charge_pct"]), TEXTS)
READINGS = st.dictionaries(KEYS, VALUES, max_size=6)


@bounded
@given(body=st.binary(max_size=200), content_type=st.sampled_from([JSON, NDJSON, ARROW, CSV]))
def test_random_bytes(client: httpx.Client, body: bytes, content_type: str) -> None:
    post(client, body, content_type)


@bounded
@given(value=st.one_of(st.lists(st.one_of(READINGS, VALUES), max_size=5), READINGS, VALUES))
def test_random_json(client: httpx.Client, value: Any) -> None:
    post(client, json.dumps(value).encode(), JSON)


@bounded
@given(values=st.lists(st.one_of(READINGS, VALUES), max_size=5))
def test_random_lines(client: httpx.Client, values: list[Any]) -> None:
    post(client, "\n".join(map(json.dumps, values)).encode(), NDJSON)


def mutated(body: bytes, seed: int) -> bytes:
    """The body with some bytes changed, cut out, or repeated."""
    chance = random.Random(seed)
    changed = bytearray(body)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(changed) or 1)
        match chance.randrange(4):
            case 0:
                changed[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                changed[at : at + chance.randint(1, 16)] = b""
            case 2:
                changed[at:at] = changed[at : at + chance.randint(1, 16)]
            case _:
                changed[at : at + 4] = chance.choice([b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", bytes(4)])
    return bytes(changed)


VALID = json.dumps(
    [
        {"pack": "P-1", "ts": "2026-01-01T00:00:00Z", "voltage_v": 350.5},
        {"pack": "P-2", "ts": 1_795_000_000_000, "current_a": -1, "x": {"y": [1, "\u00e9"]}},
    ],
    ensure_ascii=False,
).encode()


@bounded
@given(seed=st.integers(0, 2**32), content_type=st.sampled_from([JSON, NDJSON]))
def test_mutated_json(client: httpx.Client, seed: int, content_type: str) -> None:
    body = VALID if content_type == JSON else VALID[1:-1].replace(b"}, {", b"}\n{")
    post(client, mutated(body, seed), content_type)


def streams() -> list[bytes]:
    """Valid streams of several forms."""
    pack = pa.array(["P-1", "P-2", None])
    forms: list[dict[str, Any]] = [
        {"pack": pack, "ts": pa.array([1, 2, 3], pa.int64()), "voltage_v": [1.0, None, 3.0]},
        {
            "pack": pack.dictionary_encode(),
            "ts": pa.array([1, 2, None], pa.timestamp("us", "UTC")),
            "current_a": pa.array([1, 2, 3], pa.int16()),
            "x": [[1], [], None],
        },
        {
            "pack": pack.cast(pa.string_view()),
            "ts": pa.array([1, 2, 3], pa.timestamp("s")),
            "x": [{"a": "b"}] * 3,
        },
    ]
    made = []
    for form in forms:
        table = pa.table(form)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
        made.append(bytes(sink.getvalue().to_pybytes()))
    return made


STREAMS = streams()


def test_unchanged_streams_are_taken(client: httpx.Client) -> None:
    for stream in STREAMS:
        answer = client.post("/v1/telemetry", content=stream, headers={"Content-Type": ARROW})
        assert (answer.status_code, answer.json()["received"]) == (207, 3), answer.text


@settings(bounded, max_examples=300 * TIMES)
@given(seed=st.integers(0, 2**32), stream=st.sampled_from(STREAMS))
def test_mutated_arrow(client: httpx.Client, seed: int, stream: bytes) -> None:
    post(client, mutated(stream, seed), ARROW)


@bounded
@given(share=st.floats(0, 1), stream=st.sampled_from(STREAMS), more=st.binary(max_size=8))
def test_truncated_arrow(client: httpx.Client, share: float, stream: bytes, more: bytes) -> None:
    post(client, stream[: int(share * len(stream))] + more, ARROW)


TEXT_ROWS = b'pack,ts,voltage_v,note\r\nP-1,2026-01-01T00:00:00Z,350.5,"a ""b"", c"\r\n"P-2",1795000000000,,\n,soon,nan,x\n'
CELLS = st.one_of(TEXTS, NUMBERS.map(str), st.sampled_from(['"', '""', '"a', "a\nb", "nan", "1_0", "=1"]))


@bounded
@given(header=st.lists(KEYS, max_size=5), rows=st.lists(st.lists(CELLS, max_size=5), max_size=5))
def test_random_rows(client: httpx.Client, header: list[str], rows: list[list[str]]) -> None:
    lines = [",".join(["pack", "ts", *header]), *(",".join(row) for row in rows)]
    post(client, "\n".join(lines).encode("utf-8", "surrogatepass"), CSV)


@settings(bounded, max_examples=300 * TIMES)
@given(seed=st.integers(0, 2**32))
def test_mutated_csv(client: httpx.Client, seed: int) -> None:
    post(client, mutated(TEXT_ROWS, seed), CSV)


THINGSBOARD = ["/v1/telemetry/thingsboard?pack=P-1", "/v1/telemetry/thingsboard/gateway"]
ITEMS = st.one_of(
    VALUES,
    READINGS,
    st.fixed_dictionaries({}, optional={"ts": VALUES, "values": st.one_of(READINGS, VALUES)}),
)


@settings(bounded, max_examples=200 * TIMES)
@given(
    value=st.one_of(ITEMS, st.lists(ITEMS, max_size=4), st.dictionaries(TEXTS, st.lists(ITEMS, max_size=3))),
    path=st.sampled_from(THINGSBOARD),
)
def test_random_thingsboard(client: httpx.Client, value: Any, path: str) -> None:
    post(client, json.dumps(value).encode(), JSON, path)


VALID_THINGSBOARD = {
    THINGSBOARD[0]: b'[{"ts":1795000000000,"values":{"voltage_v":"350.5","x":{"y":[1]}}},{"current_a":-1}]',
    THINGSBOARD[1]: b'{"P-1":[{"ts":1795000000000,"values":{"voltage_v":350.5}}],"P-2":[{"current_a":"-1"}]}',
}


@bounded
@given(seed=st.integers(0, 2**32), path=st.sampled_from(THINGSBOARD))
def test_mutated_thingsboard(client: httpx.Client, seed: int, path: str) -> None:
    post(client, mutated(VALID_THINGSBOARD[path], seed), JSON, path)


ENCODE = {"gzip": gzip.compress, "zstd": zstd.compress}
BODIES_OF_TYPES = [(JSON, VALID), (CSV, TEXT_ROWS), (ARROW, STREAMS[0])]


@settings(bounded, max_examples=300 * TIMES)
@given(
    seed=st.integers(0, 2**32),
    encoding=st.sampled_from(sorted(ENCODE)),
    body=st.sampled_from(BODIES_OF_TYPES),
)
def test_mutated_encodings(client: httpx.Client, seed: int, encoding: str, body: tuple[str, bytes]) -> None:
    content_type, plain = body
    post(client, mutated(ENCODE[encoding](plain), seed), content_type, encoding=encoding)


@bounded
@given(body=st.binary(max_size=200), encoding=st.sampled_from(sorted(ENCODE)))
def test_random_encodings(client: httpx.Client, body: bytes, encoding: str) -> None:
    post(client, body, JSON, encoding=encoding)


def test_whatever_was_set_aside_can_be_listed_exported_and_judged_again(client: httpx.Client) -> None:
    for accept in (JSON, NDJSON, CSV):
        assert client.get("/v1/quarantine", headers={"Accept": accept}).status_code == 200
    asked: dict[str, Any] = {"filter": {}}
    for dry_run in (True, False):
        answer = client.post("/v1/quarantine/redrive", json=asked | {"dry_run": dry_run})
        assert answer.status_code in (200, 207), answer.text


FIELDS = st.sampled_from(["name", "zone", "region", "chemistry", "rated_capacity_ah", "limits", "pack", "model", "site", "from", "source", "aliases", "ids", "filter", "dry_run"])  # fmt: skip
BODIES = st.one_of(
    st.dictionaries(FIELDS, VALUES, max_size=5).map(lambda value: json.dumps(value).encode()),
    VALUES.map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=100),
    st.builds(lambda rows: ("pack,model,site\n" + rows).encode("utf-8", "replace"), st.text(max_size=60)),
)
SAFE = "abcdefghijklmnopqrstuvwxyzABCDEF0123456789-._~"
ENCODED = st.one_of(
    st.text(SAFE, max_size=20), st.binary(max_size=8).map(lambda raw: "".join(f"%{byte:02x}" for byte in raw))
)
PARAMETERS = st.sampled_from(["limit", "cursor", "pack", "measure", "from", "to", "reason", "dry_run", "import", "format", "source", "x"])  # fmt: skip
QUERIES = st.lists(st.tuples(PARAMETERS, ENCODED), max_size=5).map(
    lambda pairs: "&".join(f"{name}={value}" for name, value in pairs)
)
HEADER_VALUES = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=30
)


@settings(bounded, max_examples=400 * TIMES)
@given(
    number=st.integers(0, 2**16),
    id_=st.one_of(st.uuids().map(str), ENCODED),
    query=QUERIES,
    body=BODIES,
    content_type=st.sampled_from([JSON, CSV, ""]),
    if_match=HEADER_VALUES,
    accept=st.one_of(st.just("*/*"), HEADER_VALUES),
)
def test_any_route(
    client: httpx.Client,
    routes: list[tuple[str, str]],
    number: int,
    id_: str,
    query: str,
    body: bytes,
    content_type: str,
    if_match: str,
    accept: str,
) -> None:
    method, path = routes[number % len(routes)]
    headers = {"Content-Type": content_type, "If-Match": if_match, "Accept": accept}
    answer = client.request(
        method,
        f"{path.replace('{id}', id_)}?{query}",
        content=None if method == "GET" else body,
        headers={name: value.encode("latin-1") for name, value in headers.items()},
    )
    assert answer.status_code < 500, (answer.text, answer.request.url, headers, body)
    assert answer.headers["X-Request-Id"]
