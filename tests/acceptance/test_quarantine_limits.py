"""Quarantine stays small: what is too old or too much is dropped, and nothing asks for more than its limit."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import psycopg
import pytest

from api.database_access import DatabaseAccess
from tests.running import RunningApi, running_api, until

LIMITS = {
    "quarantine_items_max": 5,
    "quarantine_sweep_s": 0.05,
    "quarantine_sweep_items_max": 3,
    "quarantine_export_items_max": 3,
    "redrive_items_max": 2,
}


@pytest.fixture(scope="module")
def small(database: DatabaseAccess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    """An API that keeps little and looks often."""
    with running_api(database, tmp_path_factory.mktemp("data"), **LIMITS) as running:
        yield running


@pytest.fixture
def client(small: RunningApi) -> Iterator[httpx.Client]:
    with small.client(small.tenant(f"t-{uuid.uuid4().hex[:12]}", register_unknown_packs=False)) as client:
        yield client


def send(client: httpx.Client, *packs: str) -> None:
    for pack in packs:
        ts = (datetime.now(UTC) - timedelta(seconds=5)).isoformat()
        client.post("/v1/telemetry", json={"pack": pack, "ts": ts, "voltage_v": 1}).raise_for_status()


def packs(client: httpx.Client) -> list[str]:
    return [item["pack"] for item in client.get("/v1/quarantine").json()["items"]]


def dropped(api: RunningApi, why: str) -> float:
    lines = httpx.get(f"{api.url}/metrics", trust_env=False).text.splitlines()
    begins = f'bpm_quarantine_dropped_total{{why="{why}"}} '
    return float(next((line for line in lines if line.startswith(begins)), f"{begins}0").removeprefix(begins))


def test_beyond_as_many_as_allowed_the_oldest_go_and_are_counted(
    small: RunningApi, client: httpx.Client
) -> None:
    before = dropped(small, "too_many")
    again = {"pack": "P-0", "ts": datetime.now(UTC).isoformat(), "voltage_v": 1}
    client.post("/v1/telemetry", json=again).raise_for_status()
    send(client, *(f"P-{number}" for number in range(1, 5)))
    client.post("/v1/telemetry", json=again).raise_for_status()
    send(client, *(f"Q-{number}" for number in range(4)))
    until(lambda: len(packs(client)) == 5)
    assert packs(client) == ["P-0", *(f"Q-{number}" for number in range(4))], "P-0 came again"
    until(lambda: dropped(small, "too_many") == before + 4)


def test_other_tenants_items_stay(small: RunningApi, client: httpx.Client) -> None:
    with small.client(small.tenant(f"t-{uuid.uuid4().hex[:12]}", register_unknown_packs=False)) as other:
        send(other, "P-1")
        send(client, *(f"P-{number}" for number in range(9)))
        until(lambda: len(packs(client)) == 5)
        assert packs(other) == ["P-1"]


def test_items_that_did_not_come_again_for_long_are_dropped(small: RunningApi, client: httpx.Client) -> None:
    before = dropped(small, "age")
    marked = uuid.uuid4().hex
    names = [f"{marked}-{number}" for number in range(5)]
    send(client, *names)
    with psycopg.connect(small.access.admin, options="-c search_path=bpm", autocommit=True) as database:
        aged = "UPDATE quarantine SET last_at = now() - make_interval(days => %s) WHERE pack = %s"
        for name, days in zip(names, (91, 91, 91, 91, 89), strict=True):
            database.execute(aged, (days, name))
    until(lambda: packs(client) == names[4:])
    until(lambda: dropped(small, "age") == before + 4)


def test_items_are_no_older_than_by_the_clock_that_is_trusted(
    small: RunningApi, client: httpx.Client
) -> None:
    marked = uuid.uuid4().hex
    names = [f"{marked}-{number}" for number in range(3)]
    with psycopg.connect(small.access.admin, options="-c search_path=bpm", autocommit=True) as database:
        trusted = "UPDATE installation SET clock_trusted_until = now() - make_interval(days => %s)"
        database.execute(trusted, (3,))
        send(client, *names)
        aged = "UPDATE quarantine SET last_at = now() - make_interval(days => %s) WHERE pack = %s"
        for name, days in zip(names, (91, 94, 1), strict=True):
            database.execute(aged, (days, name))
        until(lambda: names[1] not in packs(client))
        assert {*packs(client)} == {names[0], names[2]}
        database.execute(trusted, (0,))
        until(lambda: packs(client) == [names[2]])


def test_export_of_just_the_limit_is_given_and_a_larger_one_is_refused(client: httpx.Client) -> None:
    asked = {"format": "csv"}
    send(client, "P-1", "P-2", "P-3")
    assert len(client.get("/v1/quarantine", params=asked).text.splitlines()) == 4
    send(client, "P-4")
    answer = client.get("/v1/quarantine", params=asked)
    assert (answer.status_code, answer.json()["limit"]) == (422, 3)
    assert len(client.get("/v1/quarantine", params=asked | {"pack": "P-4"}).text.splitlines()) == 2


def test_redrive_takes_as_many_as_allowed_and_goes_on_at_the_cursor(client: httpx.Client) -> None:
    names = ["P-1", "P-2", "P-3", "P-4", "P-5"]
    send(client, *names)
    client.post("/v1/packs", json={"pack": "P-5"}).raise_for_status()
    sizes, cursor = [], None
    while True:
        asked = {"filter": {}} | ({} if cursor is None else {"cursor": cursor})
        found = client.post("/v1/quarantine/redrive", json=asked).json()
        sizes.append((found["selected"], found["accepted"]))
        cursor = found["next_cursor"]
        if cursor is None:
            break
    assert sizes == [(2, 0), (2, 0), (1, 1)]
    assert packs(client) == names[:4]
