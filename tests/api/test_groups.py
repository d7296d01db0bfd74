"""Saved groups of packs: kept, edited, seen within one's sites, and asked for together."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import numpy as np
import psycopg
import pytest

from api.database_access import DatabaseAccess
from domain.clock import to_ms
from domain.measures import MEASURE_INDEX
from tests import naive_groups
from tests.naive_groups import Held
from tests.running import RunningApi, running_api

WAIT_S = 60
GROUPS_MAX, PACKS_MAX = 20, 6
PACKS = {"P-1": "A", "P-2": "A", "P-3": "B", "P-4": None}


@pytest.fixture(scope="module")
def api(database: DatabaseAccess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    """A running API with small limits, that looks often for what is to be counted."""
    limits = {"groups_max": GROUPS_MAX, "group_packs_max": PACKS_MAX, "count_wait_s": 0.05}
    with running_api(database, tmp_path_factory.mktemp("data"), **limits) as running:
        yield running


@pytest.fixture(scope="module")
def client(api: RunningApi) -> Iterator[httpx.Client]:
    with api.client(api.tenant("grouped", register_unknown_packs=False)) as client:
        for site in ("A", "B"):
            client.post("/v1/sites", json={"name": site, "zone": "Europe/Zurich"}).raise_for_status()
        for pack, at in PACKS.items():
            client.post("/v1/packs", json={"pack": pack, "site": at}).raise_for_status()
        yield client


def save(client: httpx.Client, name: str, *packs: str) -> dict[str, Any]:
    made = client.post("/v1/groups", json={"name": name, "packs": list(packs)})
    assert made.status_code == 201, made.text
    return made.json() | {"etag": made.headers["ETag"]}


def members(client: httpx.Client, group: dict[str, Any]) -> list[str]:
    return [item["pack"] for item in client.get(f"/v1/groups/{group['id']}/packs").json()["items"]]


def test_group_is_saved_edited_and_deleted(client: httpx.Client) -> None:
    group = save(client, "night: shift", "P-2", "P-1")
    path = f"/v1/groups/{group['id']}"
    assert (group["packs"], group["version"], group["description"]) == (2, 1, "")
    change = {"name": "day", "description": "by day", "add": ["P-3", "P-2"], "remove": ["P-1", "P-4"]}
    edited = client.patch(path, json=change, headers={"If-Match": group["etag"]})
    assert edited.status_code == 200, edited.text
    assert (edited.json()["name"], edited.json()["packs"], edited.json()["version"]) == ("day", 2, 2)
    assert members(client, group) == ["P-2", "P-3"]
    stale = client.patch(path, json={"name": "x"}, headers={"If-Match": group["etag"]})
    assert stale.status_code == 412
    assert client.patch(path, json={"name": "x"}).status_code == 428
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == client.delete(path).status_code == 404
    assert client.get(f"{path}/packs").status_code == 404


def test_packs_of_a_group_come_in_pages(client: httpx.Client) -> None:
    group = save(client, "paged", "P-1", "P-2", "P-3")
    found, cursor = [], None
    while True:
        params = {"limit": 2} | ({} if cursor is None else {"cursor": cursor})
        page = client.get(f"/v1/groups/{group['id']}/packs", params=params).json()
        found += [item["pack"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == ["P-1", "P-2", "P-3"]


def test_name_that_is_taken_is_refused(client: httpx.Client) -> None:
    save(client, "once")
    taken = client.post("/v1/groups", json={"name": "once"})
    assert (taken.status_code, taken.json()["code"], taken.json()["field"]) == (409, "conflict", "name")
    other = save(client, "twice")
    renamed = client.patch(
        f"/v1/groups/{other['id']}", json={"name": "once"}, headers={"If-Match": other["etag"]}
    )
    assert (renamed.status_code, renamed.json()["field"]) == (409, "name")


def test_pack_that_is_not_there_is_named_by_its_place_and_nothing_is_saved(client: httpx.Client) -> None:
    refused = client.post("/v1/groups", json={"name": "unknown", "packs": ["P-1", "no-such-pack"]})
    assert (refused.status_code, refused.json()["field"]) == (404, "packs.1")
    assert "unknown" not in {group["name"] for group in client.get("/v1/groups").json()["items"]}


def test_limits_of_groups(api: RunningApi) -> None:
    with api.client(api.tenant("many", register_unknown_packs=False)) as client:
        names = [f"P-{number}" for number in range(PACKS_MAX + 1)]
        for name in names:
            client.post("/v1/packs", json={"pack": name}).raise_for_status()
        refused = client.post("/v1/groups", json={"name": "large", "packs": names})
        assert (refused.status_code, refused.json()["limit"]) == (422, PACKS_MAX)
        full = save(client, "full", *names[1:])
        more = client.patch(
            f"/v1/groups/{full['id']}", json={"add": names[:1]}, headers={"If-Match": full["etag"]}
        )
        assert (more.status_code, more.json()["field"], more.json()["limit"]) == (422, "add", PACKS_MAX)
        with ThreadPoolExecutor(4) as threads:
            made = list(
                threads.map(
                    lambda number: client.post("/v1/groups", json={"name": f"G-{number}"}).status_code,
                    range(GROUPS_MAX + 4),
                )
            )
        assert sorted(made) == [201] * (GROUPS_MAX - 1) + [409] * 5


def test_limited_credential_sees_the_members_at_its_sites_and_edits_none(
    api: RunningApi, client: httpx.Client
) -> None:
    group = save(client, "mixed", "P-1", "P-3", "P-4")
    with api.client("grouped", "operator", sites=["A"]) as limited:
        (seen,) = [one for one in limited.get("/v1/groups").json()["items"] if one["name"] == "mixed"]
        assert (seen["packs"], members(limited, group)) == (1, ["P-1"])
        told = limited.post("/v1/packs/latest", json={"group": "saved:mixed"}).json()
        assert told["columns"]["pack"] == ["P-1"]
        assert limited.post("/v1/groups", json={"name": "own"}).status_code == 403
        assert limited.delete(f"/v1/groups/{group['id']}").status_code == 403
        moved = client.get("/v1/packs", params={"limit": 1000}).json()["items"]
        (pack,) = [one for one in moved if one["pack"] == "P-3"]
        start = {"from": datetime.now(UTC).isoformat(), "site": "A"}
        client.post(f"/v1/packs/{pack['id']}/tenures", json=start).raise_for_status()
        assert members(limited, group) == ["P-1", "P-3"]


DAY = datetime(2026, 3, 29, tzinfo=UTC)
ASKED = {
    "measure": "voltage_v", "step": "P1D", "zone": "Europe/Zurich", "from": "2026-03-27T23:00:00Z",
    "to": "2026-03-30T22:00:00Z",
}  # fmt: skip


def test_e16_days_of_a_saved_group_equal_a_recount_before_and_after_counting(api: RunningApi) -> None:
    with api.client(api.tenant("days", register_unknown_packs=False)) as client:
        client.post("/v1/sites", json={"name": "A", "zone": "Europe/Zurich"}).raise_for_status()
        rows = []
        for number, pack in enumerate(("P-1", "P-2", "P-3", "P-4")):
            client.post("/v1/packs", json={"pack": pack, "site": "A"}).raise_for_status()
            chance = np.random.default_rng(number)
            for seconds in np.unique(chance.integers(-72_000, 140_000, 200)).tolist():
                moment = DAY + timedelta(seconds=seconds)
                rows.append((number, moment, round(float(chance.uniform(300, 400)), 3)))
        save(client, "some", "P-4", "P-1", "P-2")
        import_id = client.post("/v1/imports", json={"source": "s"}).json()["id"]
        body = [
            {"pack": f"P-{number + 1}", "ts": moment.isoformat(), "voltage_v": value}
            for number, moment, value in rows
        ]
        client.post("/v1/telemetry", json=body, params={"import": import_id}).raise_for_status()
        held = [Held(number, 0, None, "Europe/Zurich", float("-inf"), float("inf")) for number in (0, 1, 3)]
        expected = naive_groups.group_days(
            held,
            [
                (number, to_ms(moment), [None] * MEASURE_INDEX["voltage_v"] + [value])
                for number, moment, value in rows
            ],
        )
        for is_counted in (False, True):
            if is_counted:
                assert api.engine.counter.wait_until_counted(WAIT_S), api.engine.counter.trouble
            answer = client.get("/v1/aggregates", params=ASKED | {"group": "saved:some"})
            columns = answer.raise_for_status().json()["columns"]
            days = [date(2026, 3, day) for day in (28, 29, 30)]
            assert columns["packs"] == [expected[day][0] if day in expected else None for day in days]
            for place, day in enumerate(days):
                for figure in ("min", "mean", "max"):
                    key = (MEASURE_INDEX["voltage_v"], figure, 95)
                    told = columns[f"voltage_v_{figure}_p95"][place]
                    known = expected[day][1].get(key) if day in expected else None
                    assert told == (None if known is None else pytest.approx(known, rel=1e-12))


def test_empty_group_has_days_without_packs(client: httpx.Client) -> None:
    save(client, "empty")
    columns = client.get("/v1/aggregates", params=ASKED | {"group": "saved:empty"}).json()["columns"]
    assert columns["packs"] == [None, None, None]
    assert client.post("/v1/packs/latest", json={"group": "saved:empty"}).json()["columns"]["pack"] == []


@pytest.mark.parametrize("group", ["saved:no-such-group", "site:no-such-site", "model:no-such-model"])
def test_group_that_is_not_there_answers_404(client: httpx.Client, group: str) -> None:
    for answer in (
        client.get("/v1/aggregates", params=ASKED | {"group": group}),
        client.post("/v1/packs/latest", json={"group": group}),
    ):
        assert (answer.status_code, answer.json()["field"]) == (404, "group")


@pytest.mark.parametrize("group", ["", "saved", "saved:", "all:", "all:x", "fleet:x", "Saved:x"])
def test_text_that_names_no_group_is_refused(client: httpx.Client, group: str) -> None:
    for answer in (
        client.get("/v1/aggregates", params=ASKED | {"group": group}),
        client.post("/v1/packs/latest", json={"group": group}),
    ):
        assert (answer.status_code, answer.json()["field"]) == (422, "group")


def test_audit_log_has_each_edit_of_a_group(api: RunningApi, client: httpx.Client) -> None:
    group = save(client, "audited", "P-1")
    client.delete(f"/v1/groups/{group['id']}").raise_for_status()
    with psycopg.connect(api.access.admin) as connection:
        found = connection.execute(
            "SELECT action, after FROM bpm.audit_log WHERE resource_id = %s ORDER BY id", (group["id"],)
        ).fetchall()
    assert [action for action, _ in found] == ["groups.created", "groups.deleted"]
    assert found[0][1]["added"] == ["P-1"]
