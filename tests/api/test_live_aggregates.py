"""Live aggregates over HTTP: who is counted where, what moves a pack, and what survives a restart."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import jwt
import numpy as np
import psycopg
import pytest

from api.database_access import DatabaseAccess
from api.settings import Settings
from storage.database import INGEST_ROLE
from storage.registry import hand_over
from storage.reports import Reports
from streams.live_export import MergedPicture, Unheard
from tests.running import WAIT_S_MAX, RunningApi, running_api, until

Row = dict[str, Any]


@pytest.fixture
def client(api: RunningApi) -> Iterator[httpx.Client]:
    with api.client(api.tenant(f"t-{uuid.uuid4().hex[:12]}")) as client:
        yield client


def tenant_of(client: httpx.Client) -> str:
    token = client.headers["Authorization"].removeprefix("Bearer ")
    return str(jwt.decode(token, options={"verify_signature": False})["tenant"])


def at(seconds: float = 0) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


def send(client: httpx.Client, *readings: Row, **params: str) -> Row:
    answer = client.post("/v1/telemetry", json=list(readings), params=params)
    assert answer.status_code in (200, 207), answer.text
    return dict(answer.json())


def live(client: httpx.Client, by: str = "fleet") -> dict[str | None, Row]:
    answer = client.get("/v1/aggregates/live", params={"by": by})
    assert answer.status_code == 200, answer.text
    assert answer.json()["by"] == by
    return {item["group"]: item for item in answer.json()["items"]}


def fleet(client: httpx.Client) -> Row:
    return live(client)["fleet"]


def packs(item: Row) -> tuple[int, int, int]:
    return item["packs"]["reporting"], item["packs"]["silent"], item["packs"]["never_seen"]


def register(client: httpx.Client) -> None:
    for name, region in (("A", "north"), ("B", "north"), ("C", None)):
        site = {"name": name, "region": region, "zone": "UTC"}
        client.post("/v1/sites", json=site).raise_for_status()
    model = {"name": "M", "chemistry": "LFP", "rated_capacity_ah": 10}
    client.post("/v1/models", json=model).raise_for_status()
    for pack, site, model_name in (("a1", "A", "M"), ("a2", "A", None), ("b1", "B", "M"), ("n1", None, None)):
        made = {"pack": pack, "site": site, "model": model_name}
        client.post("/v1/packs", json=made).raise_for_status()


def test_tenant_without_packs_gets_zeros(client: httpx.Client) -> None:
    item = fleet(client)
    assert packs(item) == (0, 0, 0)
    assert item["readings_per_s"] == 0
    assert item["state_of_charge_pct"]["p50"] is None
    assert sum(item["state_of_health_pct"]["histogram"]["packs"]) == 0
    assert item["temperature_c"] == {"min": None, "max": None}
    assert item["open_alerts"] == {"info": 0, "warning": 0, "critical": 0, "muted": 0}
    assert item["freshness_s"] == {"p50": None, "p95": None, "max": None}
    assert set(live(client, "state")) == {"reporting", "silent", "never_seen"}
    assert live(client, "site") == live(client, "model") == live(client, "region") == {}


@pytest.mark.parametrize("by", ["", "pack", "Fleet", "fleet,site"])
def test_unknown_split_is_refused(client: httpx.Client, by: str) -> None:
    answer = client.get("/v1/aggregates/live", params={"by": by})
    assert (answer.status_code, answer.json()["field"]) == (422, "by")


def test_packs_are_counted_by_site_model_region_and_state(client: httpx.Client) -> None:
    register(client)
    send(
        client,
        {
            "pack": "a1",
            "ts": at(),
            "state_of_charge_pct": 40.04,
            "state_of_health_pct": 99.96,
            "temperature_c": 20,
        },
        {
            "pack": "a2",
            "ts": at(),
            "state_of_charge_pct": 60,
            "temperature_c": -5.5,
            "cell_voltage_min_v": 3.1,
        },
        {
            "pack": "b1",
            "ts": at(-50),
            "state_of_charge_pct": 80,
            "temperature_c": 31,
            "cell_voltage_max_v": 3.9,
        },
    )
    until(lambda: packs(fleet(client)) == (3, 0, 1))
    item = fleet(client)
    charge, health = item["state_of_charge_pct"], item["state_of_health_pct"]
    assert (charge["packs"], charge["mean"], charge["min"], charge["p50"], charge["max"]) == (
        3,
        60.013,
        40.0,
        60.0,
        80.0,
    )
    assert charge["histogram"]["width"] == 5
    assert [start for start, count in enumerate(charge["histogram"]["packs"]) if count] == [8, 12, 16]
    assert (health["p50"], health["histogram"]["packs"][50]) == (100.0, 1)
    assert item["temperature_c"] == {
        "min": {"value": -5.5, "pack": "a2"},
        "max": {"value": 31.0, "pack": "b1"},
    }
    assert item["cell_voltage_v"] == {
        "min": {"value": 3.1, "pack": "a2"},
        "max": {"value": 3.9, "pack": "b1"},
    }
    assert item["freshness_s"]["max"] <= WAIT_S_MAX
    assert 45 <= item["clock_skew_s"]["p95"] <= 75
    until(lambda: fleet(client)["readings_per_s"] > 0)
    assert {site: packs(found) for site, found in live(client, "site").items()} == {
        "A": (2, 0, 0), "B": (1, 0, 0), "C": (0, 0, 0), None: (0, 0, 1),
    }  # fmt: skip
    assert {model: packs(found) for model, found in live(client, "model").items()} == {
        "M": (2, 0, 0),
        None: (1, 0, 1),
    }
    assert {region: packs(found) for region, found in live(client, "region").items()} == {
        "north": (3, 0, 0), None: (0, 0, 1),
    }  # fmt: skip
    states = live(client, "state")
    assert [packs(found) for found in states.values()] == [(3, 0, 0), (0, 0, 0), (0, 0, 1)]
    assert states["reporting"]["state_of_charge_pct"] == charge


def test_limited_credential_counts_its_sites_alone(api: RunningApi, client: httpx.Client) -> None:
    register(client)
    send(
        client,
        {"pack": "a1", "ts": at(), "temperature_c": 20},
        {"pack": "b1", "ts": at(), "temperature_c": 30},
    )
    until(lambda: packs(fleet(client)) == (2, 0, 2))
    tenant = tenant_of(client)
    with api.client(tenant, "analyst", sites=["A"]) as limited:
        assert packs(fleet(limited)) == (1, 0, 1)
        assert fleet(limited)["temperature_c"]["max"] == {"value": 20.0, "pack": "a1"}
        assert set(live(limited, "site")) == {"A"}
        assert set(live(limited, "region")) == {"north"}
        assert [packs(found) for found in live(limited, "state").values()] == [
            (1, 0, 0),
            (0, 0, 0),
            (0, 0, 1),
        ]
        assert {model: packs(found) for model, found in live(limited, "model").items()} == {
            "M": (1, 0, 0), None: (0, 0, 1),
        }  # fmt: skip
    with api.client(tenant, "analyst", sites=["no-such-site"]) as limited:
        assert packs(fleet(limited)) == (0, 0, 0)
        assert live(limited, "site") == {}


def test_new_and_moved_packs_are_followed(client: httpx.Client) -> None:
    register(client)
    until(lambda: packs(fleet(client)) == (0, 0, 4))
    send(client, {"pack": "new", "ts": at(), "state_of_charge_pct": 50})
    until(lambda: packs(fleet(client)) == (1, 0, 4))
    (new,) = [one["id"] for one in client.get("/v1/packs").json()["items"] if one["pack"] == "new"]
    client.post(f"/v1/packs/{new}/tenures", json={"from": at(), "site": "B"}).raise_for_status()
    until(lambda: packs(live(client, "site")["B"]) == (1, 0, 1))
    assert live(client, "site")["B"]["state_of_charge_pct"]["p50"] == 50
    etag = {"If-Match": client.get(f"/v1/packs/{new}").headers["ETag"]}
    client.patch(f"/v1/packs/{new}", json={"site": "C", "model": "M"}, headers=etag).raise_for_status()
    until(lambda: packs(live(client, "site")["C"]) == (1, 0, 0))
    assert packs(live(client, "model")["M"]) == (1, 0, 2)
    assert packs(fleet(client)) == (1, 0, 4)


def test_import_counts_in_latest_values_and_does_not_report(client: httpx.Client) -> None:
    register(client)
    number = client.post("/v1/imports", json={"source": "a file"}).json()["id"]
    send(
        client, {"pack": "a1", "ts": "2020-01-01T00:00:00Z", "state_of_health_pct": 97}, **{"import": number}
    )
    until(lambda: packs(fleet(client)) == (0, 1, 3))
    item = fleet(client)
    assert (item["state_of_health_pct"]["p50"], item["readings_per_s"]) == (97.0, 0.0)
    assert item["freshness_s"]["max"] is item["clock_skew_s"]["max"] is None


def test_correction_moves_what_is_counted(client: httpx.Client) -> None:
    register(client)
    moment = at(-10)
    send(
        client,
        {"pack": "a1", "ts": at(-20), "temperature_c": 20},
        {"pack": "a1", "ts": moment, "temperature_c": 90},
    )
    assert until(lambda: fleet(client)["temperature_c"]["max"]) == {"value": 90.0, "pack": "a1"}
    right = {"kind": "correct", "pack": "a1", "ts": moment, "values": {"temperature_c": 30}, "reason": "r"}
    client.post("/v1/corrections", json=right).raise_for_status()
    until(lambda: fleet(client)["temperature_c"]["max"]["value"] == 30)
    span = {"from": "2000-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}
    gone = {"kind": "delete_range", "pack": "a1", "reason": "r"} | span
    client.post("/v1/corrections", json=gone).raise_for_status()
    until(lambda: fleet(client)["temperature_c"]["max"] is None)
    assert packs(fleet(client)) == (1, 0, 3)


def test_giver_and_taker_of_a_pack_never_count_each_others_values(api: RunningApi) -> None:
    giver, taker = (api.tenant(f"t-{uuid.uuid4().hex[:12]}") for _ in range(2))
    conninfo = api.access.as_role(INGEST_ROLE, api.engine.settings)
    with api.client(giver) as gives, api.client(taker) as takes:
        send(gives, {"pack": "P", "ts": at(-30), "state_of_charge_pct": 11, "temperature_c": 77})
        until(lambda: packs(fleet(gives)) == (1, 0, 0))
        hand_over(conninfo, "P", giver, taker, "Q", datetime.now(UTC) - timedelta(seconds=10))
        until(lambda: packs(fleet(takes)) == (0, 0, 1))
        assert packs(fleet(gives)) == (0, 0, 0)
        assert fleet(takes)["state_of_charge_pct"]["packs"] == 0
        assert fleet(takes)["temperature_c"] == fleet(gives)["temperature_c"] == {"min": None, "max": None}
        # Late, and of the giver's own time: it stays the giver's.
        send(gives, {"pack": "P", "ts": at(-20), "state_of_charge_pct": 12})
        assert packs(fleet(takes)) == (0, 0, 1)
        send(takes, {"pack": "Q", "ts": at(), "state_of_charge_pct": 55})
        until(lambda: packs(fleet(takes)) == (1, 0, 0))
        assert fleet(takes)["state_of_charge_pct"]["mean"] == 55


def test_open_alerts_are_counted_where_they_were_raised(client: httpx.Client) -> None:
    register(client)
    condition = {
        "kind": "threshold",
        "measure": "temperature_c",
        "side": "above",
        "limit": 50,
        "clear_limit": 45,
    }
    for severity in ("warning", "critical"):
        rule = {"name": severity, "scope": {"kind": "tenant"}, "severity": severity, "condition": condition}
        client.post("/v1/rules", json=rule).raise_for_status()
    silence = {"kind": "mute", "from": at(-3600), "to": at(3600), "reason": "r", "site": "B"}
    client.post("/v1/silences", json=silence).raise_for_status()
    send(
        client,
        {"pack": "a1", "ts": at(), "temperature_c": 60},
        {"pack": "b1", "ts": at(), "temperature_c": 61},
    )
    none = {"info": 0, "warning": 0, "critical": 0, "muted": 0}
    until(lambda: live(client, "site")["A"]["open_alerts"] == none | {"warning": 1, "critical": 1})
    assert live(client, "site")["B"]["open_alerts"] == none | {"muted": 2}
    assert fleet(client)["open_alerts"] == none | {"warning": 1, "critical": 1, "muted": 2}
    assert live(client, "state")["reporting"]["open_alerts"] == fleet(client)["open_alerts"]
    (a1,) = [one["id"] for one in client.get("/v1/packs").json()["items"] if one["pack"] == "a1"]
    client.post(f"/v1/packs/{a1}/tenures", json={"from": at(), "site": "C"}).raise_for_status()
    until(lambda: packs(live(client, "site")["C"]) == (1, 0, 0))
    assert live(client, "site")["A"]["open_alerts"] == none | {"warning": 1, "critical": 1}
    assert live(client, "site")["C"]["open_alerts"] == none
    etag = {"If-Match": client.get(f"/v1/packs/{a1}").headers["ETag"]}
    client.patch(f"/v1/packs/{a1}", json={"site": "B"}, headers=etag).raise_for_status()
    for alert in client.get("/v1/alerts", params={"state": "open"}).json()["items"]:
        client.post(f"/v1/alerts/{alert['id']}/clear").raise_for_status()
    until(lambda: fleet(client)["open_alerts"] == none)


def test_too_many_groups_are_refused(own_database: DatabaseAccess, tmp_path: Path) -> None:
    with (
        running_api(own_database, tmp_path, live_groups_max=1) as api,
        api.client(api.tenant("groups")) as client,
    ):
        register(client)
        answer = client.get("/v1/aggregates/live", params={"by": "site"})
        assert (answer.status_code, answer.json()["field"], answer.json()["limit"]) == (422, "by", 1)
        assert live(client, "region")


@pytest.mark.parametrize("saved", [True, False])
def test_restart_changes_nothing_but_rates(own_database: DatabaseAccess, tmp_path: Path, saved: bool) -> None:
    condition = {
        "kind": "threshold",
        "measure": "temperature_c",
        "side": "above",
        "limit": 50,
        "clear_limit": 45,
    }
    rule = {"name": "hot", "scope": {"kind": "tenant"}, "severity": "info", "condition": condition}
    splits = ("fleet", "site", "model", "region", "state")

    def seen(client: httpx.Client) -> Any:
        found = [live(client, by) for by in splits]
        for groups in found:
            for item in groups.values():
                del item["readings_per_s"], item["freshness_s"]
        return found

    with running_api(own_database, tmp_path) as api, api.client(api.tenant("restarted")) as client:
        register(client)
        client.post("/v1/rules", json=rule).raise_for_status()
        send(client, {"pack": "a1", "ts": at(), "temperature_c": 60, "state_of_charge_pct": 3.25})
        send(client, {"pack": "b1", "ts": at(), "temperature_c": 20, "state_of_health_pct": 90})
        send(client, {"pack": "a1", "ts": at(-100), "temperature_c": 10})
        until(lambda: packs(fleet(client)) == (2, 0, 2))
        before = seen(client)
    assert as_stored(own_database)[:2] == ((2, 0, 2), (1, 0, 0, 0)) == as_told(before[0]["fleet"])
    # Two sites, with and without a model, and a pack at none.
    assert as_stored(own_database)[2] == 4
    if not saved:
        with psycopg.connect(own_database.admin) as connection:
            connection.execute("DELETE FROM bpm.pack_state")
            connection.execute("UPDATE bpm.partitions SET applied_batch_no = 0")
    with running_api(own_database, tmp_path) as api, api.client("restarted") as client:
        assert seen(client) == before
    if saved:
        with psycopg.connect(own_database.admin) as connection:
            connection.execute("UPDATE bpm.pack_state SET live_arrived_ms = live_arrived_ms - 3600000")
        with running_api(own_database, tmp_path) as api, api.client("restarted") as client:
            assert packs(fleet(client)) == (0, 2, 2)
            assert live(client, "state")["silent"]["open_alerts"]["info"] == 1
            assert 3550 < fleet(client)["freshness_s"]["p50"] < 3700
            found = fleet(client)
        assert as_stored(own_database)[:2] == ((0, 2, 2), (1, 0, 0, 0)) == as_told(found)


def as_told(item: Row) -> tuple[tuple[int, int, int], tuple[int, ...]]:
    """Packs and open alerts of a group."""
    return packs(item), tuple(item["open_alerts"].values())


def as_stored(access: DatabaseAccess) -> tuple[tuple[int, int, int], tuple[int, ...], int]:
    """The same of all packs, as they are counted over Kafka before there is a worker; and how many places have some."""
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    counted = Reports(access.as_role(INGEST_ROLE, Settings())).unreported([0], now_ms - 900_000)
    picture = MergedPicture([], now_ms, 60, Unheard([0], counted))
    assert picture.stale == {0: None}
    cells = [
        cell for tenant in {place.tenant_id for place, *_ in counted} for cell, _ in picture.cells_of(tenant)
    ]
    (figures,) = picture.figures(np.array(cells, np.int32), np.zeros(len(cells), np.int32), 1)
    states = picture.figures_by_state(np.array(cells, np.int32))
    assert [sum(one.alerts) for one in states] == ([0, 1, 0] if figures.silent else [0, 0, 1])
    return (figures.reporting, figures.silent, figures.never_seen), tuple(figures.alerts), len(cells)
