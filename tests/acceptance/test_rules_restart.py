"""Rules go on after a restart as if there had been none, whether or not anything had been saved (E12, E18)."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from api.database_access import DatabaseAccess
from tests.running import running_api

Row = dict[str, Any]

RULES: list[Row] = [
    {"kind": "threshold", "measure": "temperature_c", "side": "above", "limit": 50, "clear_limit": 45},
    {
        "kind": "threshold",
        "measure": "temperature_c",
        "side": "above",
        "limit": 40,
        "clear_limit": 40,
        "duration_s": 1,
    },
    {
        "kind": "rate_of_change",
        "measure": "temperature_c",
        "trend": "either",
        "limit_per_s": 8,
        "max_gap_s": 60,
    },
    {"kind": "cell_imbalance", "limit_v": 0.1, "clear_limit_v": 0.05},
]
STEP_S = 0.4
SHOWN = ("rule", "onset", "state", "clear_reason", "value", "flapping", "late")


def batches_of(pack: str, begins: datetime) -> list[list[Row]]:
    """Two packs get the same story, one of them with a restart after each batch."""

    def reading(seconds: float, **values: float) -> Row:
        return {"pack": pack, "ts": (begins + timedelta(seconds=STEP_S * seconds)).isoformat()} | values

    return [
        [reading(0, temperature_c=20), reading(0, cell_voltage_max_v=3.8)],
        [reading(0, cell_voltage_min_v=3.5), reading(1, temperature_c=51)],
        [reading(2, temperature_c=47), reading(0.5, temperature_c=70)],
        [reading(3, temperature_c=44), reading(4, temperature_c=60), reading(5, temperature_c=20)],
        [reading(6, temperature_c=55), reading(7, temperature_c=30), reading(6.5, temperature_c=80)],
    ]


def forget_what_was_saved(database: DatabaseAccess) -> None:
    """As after a crash before the state was saved for the first time."""
    with psycopg.connect(database.admin) as connection:
        connection.execute("DELETE FROM bpm.pack_state")
        connection.execute("UPDATE bpm.partitions SET applied_batch_no = 0")


def found(client: httpx.Client, pack: str) -> list[Row]:
    items = client.get("/v1/alerts", params={"pack": pack, "limit": 1000}).json()["items"]
    rows = [{name: one[name] for name in SHOWN} for one in items]
    return sorted(rows, key=lambda one: (one["rule"], one["onset"]))


@pytest.mark.parametrize("saved", [True, False])
def test_e12_rules_go_on_after_a_restart_where_they_were(
    database: DatabaseAccess, tmp_path: Path, saved: bool
) -> None:
    tenant = f"restart-{saved}".lower()
    with running_api(database, tmp_path) as api, api.client(api.tenant(tenant)) as client:
        for pack in ("whole", "parted"):
            client.post("/v1/packs", json={"pack": pack})
        for number, condition in enumerate(RULES):
            body = {
                "name": str(number),
                "scope": {"kind": "tenant"},
                "severity": "info",
                "condition": condition,
            }
            assert client.post(
                "/v1/rules", json=body | {"flapping": {"raises_max": 1, "window_s": 60}}
            ).is_success
        begins = datetime.now(UTC) + timedelta(milliseconds=1)
        # All of it lies in the past when it is sent, so that its rule time is its own.
        while datetime.now(UTC) < begins + timedelta(seconds=8 * STEP_S):
            time.sleep(0.05)
        for batch in batches_of("whole", begins):
            assert client.post("/v1/telemetry", json=batch).status_code == 200
    for batch in batches_of("parted", begins):
        if not saved:
            forget_what_was_saved(database)
        with running_api(database, tmp_path) as api, api.client(tenant) as client:
            assert client.post("/v1/telemetry", json=batch).status_code == 200
            whole, parted = found(client, "whole"), found(client, "parted")
    assert parted == whole
    assert {one["rule"] for one in whole} == {"0", "1", "2", "3"}
    assert any(one["flapping"] for one in whole)
    assert any(one["late"] for one in whole)


def test_e12_rule_clock_that_a_deleted_reading_moved_outlives_two_restarts(
    database: DatabaseAccess, tmp_path: Path
) -> None:
    tenant, moment = "deleted", datetime.now(UTC)
    with running_api(database, tmp_path) as api, api.client(api.tenant(tenant)) as client:
        client.post("/v1/packs", json={"pack": "P-1"}).raise_for_status()
        sent = {"pack": "P-1", "ts": moment.isoformat(), "temperature_c": 20}
        client.post("/v1/telemetry", json=sent).raise_for_status()
        span = {"from": moment.isoformat(), "to": (moment + timedelta(seconds=1)).isoformat()}
        asked = {"kind": "delete_range", "pack": "P-1", "reason": "a test"} | span
        assert client.post("/v1/corrections", json=asked).status_code in (200, 201), asked
    forget_what_was_saved(database)
    with running_api(database, tmp_path):
        pass
    with psycopg.connect(database.admin) as connection:
        clocks = connection.execute(
            "SELECT rule_clock_ms FROM bpm.pack_state JOIN bpm.packs USING (pack_id) JOIN bpm.tenants USING (tenant_id)"
            " WHERE name = %s",
            (tenant,),
        ).fetchall()
    assert len(clocks) == 1
    assert clocks[0][0] is not None


def test_e12_pack_of_which_all_was_set_aside_does_not_keep_the_state_from_being_saved(
    database: DatabaseAccess, tmp_path: Path
) -> None:
    with running_api(database, tmp_path, save_state_s=0.1) as api, api.client(api.tenant("ahead")) as client:
        ahead = {"kind": "clock_skew", "future_s": 1}
        rule = {"name": "ahead", "scope": {"kind": "tenant"}, "severity": "info", "condition": ahead}
        client.post("/v1/rules", json=rule).raise_for_status()
        client.post("/v1/packs", json={"pack": "P-1"}).raise_for_status()
        far = (datetime.now(UTC) + timedelta(days=1)).isoformat()
        answer = client.post("/v1/telemetry", json={"pack": "P-1", "ts": far, "temperature_c": 20})
        assert answer.json()["quarantined"] == 1
        (alert,) = client.get("/v1/alerts").json()["items"]
    with psycopg.connect(database.admin) as connection:
        saved = connection.execute(
            "SELECT count(*) FROM bpm.pack_state JOIN bpm.packs USING (pack_id) JOIN bpm.tenants USING (tenant_id)"
            " WHERE name = 'ahead'"
        ).fetchone()
    assert saved == (1,)
    with running_api(database, tmp_path) as api, api.client("ahead") as client:
        assert client.get(f"/v1/alerts/{alert['id']}").json()["state"] == "open"
        # Its rule time lies before that of the one set aside, which moved no clock.
        earlier = datetime.fromisoformat(alert["raised_at"]) - timedelta(seconds=5)
        near = {"pack": "P-1", "ts": earlier.isoformat(), "temperature_c": 20}
        assert client.post("/v1/telemetry", json=near).json()["accepted"] == 1
        ended = client.get(f"/v1/alerts/{alert['id']}").json()
        assert (ended["state"], ended["cleared_at"] >= ended["raised_at"]) == ("cleared", True)
