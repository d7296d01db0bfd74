"""Percentiles of groups by day: computed at once or folded before, they are the same."""

import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import numpy as np
import psycopg

from tests.running import RunningApi

WAIT_S = 60
DAY = datetime(2026, 3, 29, tzinfo=UTC)
"""Clocks go forward in Zurich on this day."""


def readings(pack: str, seed: int) -> list[dict[str, Any]]:
    chance = np.random.default_rng(seed)
    return [
        {
            "pack": pack,
            "ts": (DAY - timedelta(hours=20) + timedelta(seconds=int(seconds))).isoformat(),
            "voltage_v": round(float(chance.uniform(300, 400)), 3),
        }
        for seconds in np.unique(chance.integers(0, 60 * 3600, 400))
    ]


def asked(client: httpx.Client, group: str) -> httpx.Response:
    params = {
        "group": group, "measure": "voltage_v", "step": "P1D", "zone": "Europe/Zurich",
        "from": "2026-03-27T23:00:00Z", "to": "2026-03-30T22:00:00Z",
    }  # fmt: skip
    return client.get("/v1/aggregates", params=params)


def test_e16_group_day_that_is_counted_again_is_computed_and_the_same(api: RunningApi) -> None:
    with api.client(api.tenant(f"t-{uuid.uuid4().hex[:8]}")) as client:
        for name, zone in (("Z", "Europe/Zurich"), ("K", "Asia/Kolkata")):
            client.post("/v1/sites", json={"name": name, "zone": zone}).raise_for_status()
        for pack, site in (("P1", "Z"), ("P2", "Z"), ("P3", "K"), ("P4", None)):
            client.post(
                "/v1/packs", json={"pack": pack} | ({"site": site} if site else {})
            ).raise_for_status()
        packs = {one["pack"]: one["id"] for one in client.get("/v1/packs").json()["items"]}
        # In the middle of the day, and of a quarter-hour, a pack moves to the other site.
        move = {"from": "2026-03-29T11:07:30Z", "site": "K"}
        client.post(f"/v1/packs/{packs['P2']}/tenures", json=move).raise_for_status()
        import_id = client.post("/v1/imports", json={"source": "s"}).json()["id"]
        for seed, pack in enumerate(packs):
            body = readings(pack, seed)
            receipt = client.post("/v1/telemetry", json=body, params={"import": import_id}).json()
            assert receipt["accepted"] == len(body)
        groups = ("all", "site:Z", "site:K")
        assert api.engine.counter.wait_until_counted(WAIT_S), api.engine.counter.trouble
        api.engine.counter.stop()
        with psycopg.connect(api.access.admin, autocommit=True) as connection:
            waiting = "SELECT count(*) FROM bpm.groups_to_fold"
            assert connection.execute(waiting).fetchone() == (0,)
            stored = {group: asked(client, group).json()["columns"] for group in groups}
            assert stored["all"]["packs"][1] == 4
            assert stored["site:Z"]["packs"][1] == 2
            assert stored["site:K"]["packs"][1] == 2
            connection.execute(
                "INSERT INTO bpm.window_notes SELECT tenant_id, pack_id, '2026-03-29 10:00:00+00', 999999999"
                " FROM bpm.packs"
            )
        began_s = time.monotonic()
        assert {group: asked(client, group).json()["columns"] for group in groups} == stored
        assert time.monotonic() - began_s < WAIT_S
