"""What a tenant uses is counted once, whatever is sent again; what passes a quota is refused, and loses nothing."""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest

from api.database_access import DatabaseAccess
from domain.usage import Quotas, until_midnight_s
from storage.database import INGEST_ROLE
from storage.tenants import set_quotas
from storage.usage import Wanted, page_of
from tests.running import RunningApi, running_api, until

NAMES = (f"metered-{number}" for number in itertools.count())
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def brisk(database: DatabaseAccess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    """An engine that knows at once what was used, and commits imports in small parts."""
    folder = tmp_path_factory.mktemp("brisk")
    with running_api(
        database,
        folder,
        tenant_cache_s=0,
        usage_flush_s=0.1,
        usage_known_s=0,
        bulk_readings_min=50,
        bulk_slice_readings=20,
    ) as running:
        yield running


@pytest.fixture
def conninfo(brisk: RunningApi) -> str:
    return brisk.access.as_role(INGEST_ROLE, brisk.engine.settings)


@pytest.fixture
def name(brisk: RunningApi) -> str:
    return brisk.tenant(next(NAMES))


@pytest.fixture
def client(brisk: RunningApi, name: str) -> Iterator[httpx.Client]:
    with brisk.client(name) as client:
        yield client


def body(count: int, pack: str = "P-1", first: int = 0) -> list[dict[str, Any]]:
    return [
        {"pack": pack, "ts": (LONG_AGO + timedelta(seconds=first + number)).isoformat(), "voltage_v": 300}
        for number in range(count)
    ]


def begin_import(client: httpx.Client) -> str:
    return str(client.post("/v1/imports", json={"source": "s"}).raise_for_status().json()["id"])


def send(
    client: httpx.Client, readings: list[dict[str, Any]], import_id: str, key: str | None = None
) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return client.post("/v1/telemetry", json=readings, params={"import": import_id}, headers=headers)


def used(client: httpx.Client) -> dict[str, Any]:
    """What was used until now, all periods together."""
    items = client.get("/v1/usage", params={"limit": 1000}).raise_for_status().json()["items"]
    names = ("readings", "batches", "received_bytes", "requests")
    return {name: sum(item[name] for item in items) for name in names}


def test_readings_and_bytes_count_once_whatever_is_sent_again(client: httpx.Client) -> None:
    import_id = begin_import(client)
    sent = send(client, body(10), import_id, "a")
    assert sent.json()["accepted"] == 10
    before = used(client)
    assert (before["readings"], before["batches"]) == (10, 1)
    assert before["received_bytes"] == int(sent.request.headers["content-length"])
    assert send(client, body(10), import_id, "a").json() == sent.json()
    assert used(client) | {"requests": 0} == before | {"requests": 0}, "a retry under its key"
    assert send(client, body(10), import_id).json()["duplicate"] == 10
    assert used(client)["readings"] == 10, "the same readings in another body"


def test_body_in_parts_counts_as_its_readings_and_its_bytes_once(client: httpx.Client) -> None:
    import_id = begin_import(client)
    sent = send(client, body(70), import_id, "large")
    assert sent.json()["accepted"] == 70
    found = used(client)
    assert (found["readings"], found["batches"]) == (70, 4)
    assert found["received_bytes"] == int(sent.request.headers["content-length"])
    send(client, body(70), import_id, "large")
    assert used(client)["readings"] == 70


def test_what_is_set_aside_is_no_reading_that_was_stored(client: httpx.Client) -> None:
    import_id = begin_import(client)
    wrong = [*body(2), {"pack": "P-1", "ts": LONG_AGO.isoformat(), "voltage_v": -5}]
    assert send(client, wrong, import_id).json()["quarantined"] == 1
    assert used(client)["readings"] == 2


def test_requests_are_added_without_a_write_for_each(client: httpx.Client) -> None:
    for _ in range(25):
        client.get("/v1/packs").raise_for_status()
    until(lambda: used(client)["requests"] >= 25)


def test_usage_is_told_by_day_and_by_month_and_as_csv(
    brisk: RunningApi, client: httpx.Client, conninfo: str, name: str
) -> None:
    client.post("/v1/packs", json={"pack": "P-1"}).raise_for_status()
    with psycopg.connect(brisk.access.admin, options="-c search_path=bpm") as connection:
        connection.execute(
            "INSERT INTO ingest_days SELECT tenant_id, day::date, part, 1, 100, 1000 FROM tenants,"
            " generate_series('2026-01-30'::date, '2026-02-02'::date, interval '1 day') AS day,"
            " generate_series(0, 1) AS part WHERE name = %s",
            (name,),
        )
    span = {"from": "2026-01-31T12:00:00Z", "to": "2026-02-02T00:00:00Z"}
    days = client.get("/v1/usage", params=span).json()["items"]
    assert [(one["period"], one["readings"], one["packs"]) for one in days] == [
        ("2026-01-31", 200, 0),
        ("2026-02-01", 200, 0),
    ]
    months = client.get("/v1/usage", params={"by": "month", "to": "2026-03-01T00:00:00Z"}).json()["items"]
    assert [(one["period"], one["readings"]) for one in months] == [("2026-01-01", 400), ("2026-02-01", 400)]
    lines = client.get("/v1/usage", params=span, headers={"Accept": "text/csv"}).text.splitlines()
    assert lines[:2] == [
        "period,readings,batches,received_bytes,requests,packs",
        "2026-01-31,200,2,2000,0,0",
    ]
    last_moment = {"from": "2026-02-02T00:00:00Z", "to": "9999-12-31T23:59:59.999Z", "limit": 1}
    assert client.get("/v1/usage", params=last_moment).json()["items"][0]["period"] == "2026-02-02"
    first = client.get("/v1/usage", params={"limit": 1}).json()
    second = client.get("/v1/usage", params={"limit": 1, "cursor": first["next_cursor"]}).json()
    assert [first["items"][0]["period"], second["items"][0]["period"]] == ["2026-01-30", "2026-01-31"]
    # Requests of today are added a while later, and with them the month in which the pack is.
    told = until(lambda: (page := page_of(conninfo, name, Wanted("month"))[0])[-1]["packs"] == 1 and page)
    assert told[0]["readings"] == 400


def test_packs_beyond_the_quota_are_refused_and_readings_of_known_ones_go_in(
    client: httpx.Client, conninfo: str, name: str
) -> None:
    set_quotas(conninfo, name, lambda _: Quotas(packs_max=2))
    for number in range(2):
        client.post("/v1/packs", json={"pack": f"P-{number}"}).raise_for_status()
    refused = client.post("/v1/packs", json={"pack": "P-2"})
    assert (refused.status_code, refused.json()["code"], refused.json()["limit"]) == (
        409,
        "quota_exceeded",
        2,
    )
    table = {"content": b"pack\nP-1\nP-3\n", "headers": {"Content-Type": "text/csv"}}
    assert client.post("/v1/packs/import", **table).status_code == 409
    known = {"content": b"pack\nP-1\n", "headers": {"Content-Type": "text/csv"}}
    assert client.post("/v1/packs/import", **known).json()["existing"] == 1
    import_id = begin_import(client)
    receipt = send(client, [*body(1, "P-1"), *body(1, "unheard-of")], import_id).json()
    assert (receipt["accepted"], receipt["items"][0]["reason"]) == (1, "unknown_pack")
    set_quotas(conninfo, name, lambda _: Quotas())
    assert client.post("/v1/packs", json={"pack": "P-2"}).status_code == 201


@pytest.mark.parametrize("quota", [Quotas(day_readings_max=15), Quotas(day_received_bytes_max=1)])
def test_readings_beyond_the_quota_are_refused_until_midnight_and_none_is_lost(
    client: httpx.Client, conninfo: str, name: str, quota: Quotas
) -> None:
    import_id = begin_import(client)
    set_quotas(conninfo, name, lambda _: quota)
    accepted, answers = 0, []
    for number in range(5):
        answers.append(send(client, body(6, first=6 * number), import_id))
        accepted += answers[-1].json().get("accepted", 0)
    refused = answers[-1]
    assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
    assert 0 < int(refused.headers["Retry-After"]) <= until_midnight_s(datetime.now(UTC)) + 60
    assert accepted == (6 if quota.day_readings_max is None else 18), "what passes it goes in with its body"
    assert client.get("/v1/packs").is_success, "reading goes on"
    assert used(client)["readings"] == accepted


def test_requests_beyond_the_quota_are_refused(client: httpx.Client, conninfo: str, name: str) -> None:
    set_quotas(conninfo, name, lambda _: Quotas(day_requests_max=10))
    found = [client.get("/v1/packs").status_code for _ in range(15)]
    assert set(found[:9]) == {200}
    assert found[-1] == 429
    assert 10 <= found.count(200) <= 11


def test_quotas_of_one_tenant_are_not_anothers(brisk: RunningApi, conninfo: str, name: str) -> None:
    set_quotas(conninfo, name, lambda _: Quotas(day_requests_max=0))
    with brisk.client(brisk.tenant(next(NAMES))) as other, brisk.client(name) as client:
        assert other.get("/v1/packs").status_code == 200
        assert client.get("/v1/packs").status_code == 429
