"""Wrong records, parameters, headers and CSV: each is refused with its status, and nothing is stored."""

import base64
import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg
import pytest

from storage.cursors import Cursors
from tests.running import RunningApi

FROM, TO = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"
RECORDS: dict[str, dict[str, Any]] = {
    "sites": {"name": "S", "zone": "Europe/Berlin"},
    "models": {"name": "M", "chemistry": "LFP", "rated_capacity_ah": 10},
    "packs": {"pack": "P"},
    "imports": {"source": "a file"},
}
SUBJECTS = pytest.mark.parametrize("subject", RECORDS)


@dataclass(frozen=True)
class Tenant:
    api: RunningApi
    client: httpx.Client
    database: psycopg.Connection[Any]

    def stored(self) -> tuple[int, ...]:
        tables = ("sites", "models", "packs", "tenures", "imports", "batches", "audit_log")
        counts = ", ".join(f"(SELECT count(*) FROM {table})" for table in tables)
        return self.database.execute(f"SELECT {counts}").fetchone() or ()

    def post(self, path: str, body: str | bytes, content_type: str = "application/json") -> httpx.Response:
        return self.client.post(path, content=body, headers={"Content-Type": content_type})


@pytest.fixture(scope="module")
def tenant(api: RunningApi) -> Iterator[Tenant]:
    connected = psycopg.connect(api.access.admin, options="-c search_path=bpm", autocommit=True)
    with connected as database, api.client(api.tenant("acme")) as client:
        client.post("/v1/packs", json={"pack": "P-0"}).raise_for_status()
        yield Tenant(api, client, database)


def assert_refused(
    tenant: Tenant, send: Callable[[], httpx.Response], status: int, field: str | None = None
) -> None:
    before = tenant.stored()
    answer = send()
    assert answer.status_code == status, answer.text
    problem = answer.json()
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert {"type", "title", "status", "detail", "code", "request_id"} <= problem.keys()
    assert (problem["status"], problem["request_id"]) == (status, answer.headers["X-Request-Id"])
    if field is not None:
        assert problem["field"] == field
    assert tenant.stored() == before


def test_valid_records_of_these_tests_are_taken(tenant: Tenant) -> None:
    for subject, valid in RECORDS.items():
        assert tenant.client.post(f"/v1/{subject}", json=valid).status_code == 201


def text_of(subject: str, value: str) -> str:
    """A valid record whose first field is this JSON text, under another name so that it could be stored."""
    fields = {name: json.dumps(given) for name, given in RECORDS[subject].items()}
    fields[next(iter(fields))] = value
    return "{" + ", ".join(f'"{name}": {given}' for name, given in fields.items()) + "}"


WRONG_TEXTS = {
    "NaN": ("NaN", 422),
    "Infinity": ("-Infinity", 422),
    "1e400": ("1e400", 422),
    "2^63": (str(2**63), 422),
    "5,000 digits": ("9" * 5000, 422),
    "true": ("true", 422),
    "null": ("null", 422),
    "a list": ('["a"]', 422),
    "an object": ("{}", 422),
    "empty": ('""', 422),
    "201 characters": (json.dumps("n" * 201), 422),
    "NUL": ('"a\\u0000b"', 422),
    "a line break": ('"a\\nb"', 422),
    "half a letter": ('"\\ud800"', 422),
    "a letter's halves turned round": ('"\\udc00\\ud800"', 422),
    "deep nesting": ("[" * 100_000 + "]" * 100_000, 400),
}


@SUBJECTS
@pytest.mark.parametrize("value", WRONG_TEXTS)
def test_wrong_value_of_a_field_is_refused(tenant: Tenant, subject: str, value: str) -> None:
    text, status = WRONG_TEXTS[value]
    assert_refused(tenant, lambda: tenant.post(f"/v1/{subject}", text_of(subject, text)), status)


@SUBJECTS
def test_unknown_and_repeated_and_missing_fields_are_refused(tenant: Tenant, subject: str) -> None:
    valid = json.dumps(RECORDS[subject] | {next(iter(RECORDS[subject])): "another"})
    for wrong in (
        valid[:-1] + ', "surprise": 1}',
        valid[:-1] + ', "' + "k" * 100_000 + '": 1}',
        valid[:-1] + ', "\\u0000": 1}',
        valid[:-1] + "," + valid[1:],
        *(("{}",) if subject != "imports" else ()),
    ):
        assert_refused(tenant, lambda wrong=wrong: tenant.post(f"/v1/{subject}", wrong), 422)


@SUBJECTS
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"null", 422),
        (b"[]", 422),
        (b'"text"', 422),
        (b"{", 422),
        (b"{}}", 422),
        (b"\xff\xfe", 400),
        (b'{"name": "\xff"}', 400),
        ('{"name": "é"}'.encode("utf-16"), 400),
        (b"[" * 100_000, 400),
        (b" " * (1 << 20) + b"{}", 413),
    ],
    ids=range(11),
)
def test_body_that_is_no_object_is_refused(tenant: Tenant, subject: str, body: bytes, status: int) -> None:
    if subject == "imports" and body == b"":
        assert tenant.post(f"/v1/{subject}", body).status_code == 201
    else:
        assert_refused(tenant, lambda: tenant.post(f"/v1/{subject}", body), status)


@SUBJECTS
def test_other_formats_and_encodings_answer_415(tenant: Tenant, subject: str) -> None:
    valid = json.dumps(RECORDS[subject])
    for content_type in ("", "text/plain", "application/x-www-form-urlencoded", "text/csv"):
        assert_refused(tenant, lambda kind=content_type: tenant.post(f"/v1/{subject}", valid, kind), 415)
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert_refused(tenant, lambda: tenant.client.post(f"/v1/{subject}", content=valid, headers=headers), 415)


def test_unknown_field_is_named_but_not_at_full_length(tenant: Tenant) -> None:
    body = json.dumps({"pack": "P-long", "k" * 100_000: 1})
    assert len(tenant.post("/v1/packs", body).text) < 2000


WRONG_MODELS: list[dict[str, Any]] = [
    {"rated_capacity_ah": 0},
    {"rated_capacity_ah": -1},
    {"rated_capacity_ah": 2**63},
    {"rated_capacity_ah": "10"},
    {"rated_capacity_ah": True},
    {"voltage_min_v": 5, "voltage_max_v": 4},
    {"voltage_max_v": 2001},
    {"limits": {"humidity_pct": {"minimum": 1}}},
    {"limits": {"voltage_v": {"minimum": 5, "maximum": 4}}},
    {"limits": {"voltage_v": {"maximum": 99_999}}},
    {"limits": {"voltage_v": {"middle": 1}}},
    {"limits": {"voltage_v": 1}},
    {"limits": []},
    {"limits": None},
]


@pytest.mark.parametrize("wrong", WRONG_MODELS, ids=str)
def test_wrong_model_is_refused(tenant: Tenant, wrong: dict[str, Any]) -> None:
    body = json.dumps(RECORDS["models"] | {"name": "wrong"} | wrong)
    assert_refused(tenant, lambda: tenant.post("/v1/models", body), 422)


@pytest.mark.parametrize(
    "zone", ["Mars/Olympus", "europe/berlin", "+01:00", "../etc/passwd", "UTC\0", 1, None]
)
def test_zone_that_is_none_of_iana_is_refused(tenant: Tenant, zone: Any) -> None:
    body = json.dumps({"name": "zoned", "zone": zone})
    assert_refused(tenant, lambda: tenant.post("/v1/sites", body), 422, "zone")


WRONG_MOMENTS = [1, "1", "2026-01-01", "2026-01-01T00:00:00", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "9" * 5000, "now", "", None]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG_MOMENTS, ids=lambda given: str(given)[:30])
def test_wrong_time_of_a_move_is_refused(tenant: Tenant, wrong: Any) -> None:
    pack = tenant.client.get("/v1/packs").json()["items"][0]["id"]
    body = json.dumps({"from": wrong})
    assert_refused(tenant, lambda: tenant.post(f"/v1/packs/{pack}/tenures", body), 422, "from")


@pytest.mark.parametrize(
    ("if_match", "status"),
    [(None, 428), ("", 422), ("*", 422), ("one", 422), ('W/"1"', 422), ('"-1"', 422), ('"1e3"', 422), ('"٣"'.encode(), 422), ('"' + "9" * 50 + '"', 422), ('"999"', 412)],
    ids=str,
)  # fmt: skip
def test_edit_of_another_version_or_of_none_is_refused(
    tenant: Tenant, if_match: str | bytes | None, status: int
) -> None:
    pack = tenant.client.get("/v1/packs").json()["items"][0]["id"]
    headers = {} if if_match is None else {"If-Match": if_match}
    assert_refused(
        tenant,
        lambda: tenant.client.patch(f"/v1/packs/{pack}", json={"pack": "renamed"}, headers=headers),
        status,
        "If-Match",
    )


@pytest.mark.parametrize(
    "id_", ["1", "1e3", "-1", "x", "%00", "%ff", "%ed%a0%80", "..%2f..", "9" * 5000, "null"], ids=str
)
@pytest.mark.parametrize("path", ["packs/{}", "packs/{}/latest", "sites/{}", "models/{}", "imports/{}", "receipts/{}"])  # fmt: skip
def test_id_that_is_no_uuid_is_refused(tenant: Tenant, path: str, id_: str) -> None:
    answer = tenant.client.get("/v1/" + path.format(id_))
    # A slash in an id makes it another path, which isn't there.
    assert answer.status_code == (404 if "%2f" in id_ else 422), answer.text


LISTS = pytest.mark.parametrize("path", ["packs", "sites", "models", "imports", "quarantine"])
WRONG_PAGES = [
    "limit=0",
    "limit=-1",
    "limit=1001",
    "limit=1e3",
    "limit=" + "9" * 5000,
    "limit=true",
    "limit=",
    "limit=1%00",
    "limit=1&limit=1",
    "cursor=",
    "cursor=%00",
    "cursor=garbage!",
    "cursor=" + base64.b64encode(b"a\0b").decode(),
    "cursor=" + base64.b64encode(b"\xff\xff").decode(),
    "cursor=%ff%fe",
    "cursor=" + "A" * 2001,
    "cursor=QQ==&cursor=QQ==",
    "offset=1",
    "Limit=1",
    "authorization=x",
    "=",
    "%00=1",
    "x" * 5000,
]


@LISTS
@pytest.mark.parametrize("query", WRONG_PAGES, ids=lambda query: query[:30])
def test_wrong_page_of_a_list_is_refused(tenant: Tenant, path: str, query: str) -> None:
    answer = tenant.client.get(f"/v1/{path}?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), answer.text


@pytest.mark.parametrize("cursor", ["1", "x", "00000000-0000-0000-0000-00000000000", "9" * 30, "-1", "1.5"])
@pytest.mark.parametrize("path", ["imports", "quarantine"])
def test_cursor_of_another_list_is_refused(tenant: Tenant, path: str, cursor: str) -> None:
    of_another = base64.urlsafe_b64encode(cursor.encode()).decode()
    wrong_key = Cursors(path).encode(cursor)
    for given in (of_another, wrong_key):
        expected = 200 if (path, cursor, given) == ("quarantine", "1", wrong_key) else 422
        assert tenant.client.get(f"/v1/{path}", params={"cursor": given}).status_code == expected


def test_unknown_reason_of_quarantine_is_refused(tenant: Tenant) -> None:
    assert_refused(tenant, lambda: tenant.client.get("/v1/quarantine?reason=mood"), 422, "reason")


TREND = {"pack": "P-0", "measure": "voltage_v", "from": FROM, "to": TO}
WRONG_TRENDS: list[tuple[dict[str, Any], str]] = [
    ({"from": TO, "to": FROM}, "to"),
    ({"to": FROM}, "to"),
    ({"measure": "mood"}, "measure"),
    ({"measure": "voltage_v; DROP TABLE packs"}, "measure"),
    ({"measure": ""}, "measure"),
    ({"measure": ["voltage_v"] * 8}, "measure"),
    ({"measure": None}, "measure"),
    ({"pack": ""}, "pack"),
    ({"pack": "P\0"}, "pack"),
    ({"pack": "P\n"}, "pack"),
    ({"pack": "P" * 201}, "pack"),
    ({"pack": None}, "pack"),
    ({"pack": [f"P-{number}" for number in range(101)]}, "pack"),
    ({"from": [FROM, FROM]}, "from"),
    ({"points": 3}, "points"),
    ({"points": -1}, "points"),
    ({"points": 5_000_001}, "points"),
    ({"points": "many"}, "points"),
    ({"points": 10, "step": "P1D"}, "points"),
    ({"points": 10, "method": "m4"}, "method"),
    ({"method": "lttb"}, "method"),
    ({"zone": "UTC"}, "zone"),
    ({"step": "PT1.5M"}, "step"),
    ({"step": "P1M1D"}, "step"),
    ({"step": ""}, "step"),
    ({"step": "P1D", "zone": ""}, "zone"),
    ({"step": "P1D", "zone": "Mars/Olympus"}, "zone"),
    ({"group": "all"}, "group"),
    ({"group": "everything", "pack": None}, "group"),
    ({"group": "all", "pack": None, "step": "PT0S"}, "step"),
    ({"group": "all", "pack": None, "points": 10}, "points"),
    ({"band": "all"}, "band"),
    ({"band": "all", "group": "all", "pack": None, "step": "PT1H"}, "band"),
    ({"band": "site:Z", "step": "P1D"}, "band"),
    ({"band": "site", "step": "P1D"}, "band"),
    *(({"from": wrong}, "from") for wrong in WRONG_MOMENTS if wrong is not None),
    *(({"to": wrong}, "to") for wrong in WRONG_MOMENTS if wrong is not None),
]


@pytest.mark.parametrize(("wrong", "field"), WRONG_TRENDS, ids=lambda given: str(given)[:40])
def test_wrong_question_for_a_trend_is_refused(tenant: Tenant, wrong: dict[str, Any], field: str) -> None:
    asked = {name: value for name, value in (TREND | wrong).items() if value is not None}
    answer = tenant.client.get("/v1/trends", params=asked)
    assert answer.status_code == 422, answer.text
    assert answer.json()["field"].partition(".")[0] == field


def test_trend_of_all_time_is_a_right_question(tenant: Tenant) -> None:
    asked = TREND | {"from": "0001-01-01T00:00:00Z", "to": "9999-12-31T23:59:59Z"}
    assert tenant.client.get("/v1/trends", params=asked).status_code == 200


@pytest.mark.parametrize("accept", ["text/html", "image/*", "", "application/json;q=0", "a;q=x", "application/json;q=nan"])  # fmt: skip
def test_formats_that_are_not_offered_answer_406(tenant: Tenant, accept: str) -> None:
    for path, params in (("/v1/trends", TREND), ("/v1/packs", {})):
        answer = tenant.client.get(path, params=params, headers={"Accept": accept})
        assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE"])
def test_method_that_a_path_does_not_have_answers_405(tenant: Tenant, method: str) -> None:
    assert tenant.client.request(method, "/v1/packs").status_code == 405


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v2/packs", "/%00", "/%ff", "/docs/assets/%00", "/docs/assets/..%2f..%2f..%2fetc%2fpasswd", "/docs/assets/" + "a" * 500])  # fmt: skip
def test_path_that_is_not_there_answers_404_as_a_problem(tenant: Tenant, path: str) -> None:
    answer = tenant.client.get(path)
    assert answer.status_code == 404, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    "start",
    [
        b"GET /v1/\xff\xfe HTTP/1.1",
        b"GET /v1/packs?limit=\xff HTTP/1.1",
        b"GET /v1/packs HTTP/9.9",
        b"POST /v1/telemetry HTTP/1.1\r\nContent-Length: -1",
        b"POST /v1/telemetry HTTP/1.1\r\nContent-Length: 1e3",
        b"POST /v1/telemetry HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
        b"GET /v1/packs HTTP/1.1\r\nX-\0: 1",
        b"\x16\x03\x01\x02\x00",
    ],
    ids=range(8),
)
def test_bytes_that_are_no_request_answer_400_or_nothing(tenant: Tenant, start: bytes) -> None:
    port = tenant.api.engine.settings.port
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(start + b"\r\nHost: engine\r\nConnection: close\r\n\r\n")
        assert connection.recv(100).partition(b" ")[2][:3] in (b"400", b"")
    assert tenant.client.get("/healthz").status_code == 200


@pytest.mark.parametrize("name", ["X-Request-Id", "X-Anything", "Accept", "If-Match"])
def test_huge_header_is_no_failure(tenant: Tenant, name: str) -> None:
    # Refused by the connection itself, before there is a request with an id.
    answer = httpx.get(f"{tenant.client.base_url}/v1/packs", headers={name: "x" * 50_000}, trust_env=False)
    assert (answer.status_code, answer.json()["code"]) == (431, "head_too_large")


@pytest.mark.parametrize("given", ["my-request.7", 'a"b', "a b", "x" * 101])
def test_request_id_is_taken_over_only_when_harmless(tenant: Tenant, given: str) -> None:
    answer = tenant.client.get("/v1/packs?limit=0", headers={"X-Request-Id": given})
    assert (answer.headers["X-Request-Id"] == given) is (given == "my-request.7")
    assert answer.json()["request_id"] == answer.headers["X-Request-Id"]
