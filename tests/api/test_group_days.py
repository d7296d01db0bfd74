"""Group days over HTTP, with the counter at work: they follow moves and edits at once, and in the store."""

from collections.abc import Iterator
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
from tests.stored import Row

WAIT_S = 60
DAY = datetime(2026, 3, 29, tzinfo=UTC)
"""Clocks go forward in Zurich on this day."""

DAYS = [date(2026, 3, day) for day in (28, 29, 30)]
VOLTAGE = MEASURE_INDEX["voltage_v"]


@pytest.fixture(scope="module")
def api(database: DatabaseAccess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    """A running API that looks often for what is to be counted."""
    with running_api(database, tmp_path_factory.mktemp("data"), count_wait_s=0.05) as running:
        yield running


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


def fleet(api: RunningApi, client: httpx.Client) -> tuple[list[Row], dict[str, int], dict[str, Any]]:
    """Two packs in Zurich and one in Chatham with readings of two days, all of it folded; and what they are."""
    for name, zone in (("Z", "Europe/Zurich"), ("C", "Pacific/Chatham")):
        client.post("/v1/sites", json={"name": name, "zone": zone}).raise_for_status()
    model = {"name": "M", "chemistry": "LFP", "rated_capacity_ah": 1}
    client.post("/v1/models", json=model).raise_for_status()
    for pack, site in (("P1", "Z"), ("P2", "Z"), ("P3", "C")):
        client.post("/v1/packs", json={"pack": pack, "site": site}).raise_for_status()
    import_id = client.post("/v1/imports", json={"source": "s"}).json()["id"]
    sent = {pack: readings(pack, seed) for seed, pack in enumerate(("P1", "P2", "P3"))}
    for body in sent.values():
        client.post("/v1/telemetry", json=body, params={"import": import_id}).raise_for_status()
    assert api.engine.counter.wait_until_counted(WAIT_S), api.engine.counter.trouble
    numbers = {pack: number for number, pack in enumerate(sent)}
    rows: list[Row] = [
        (numbers[pack], to_ms(datetime.fromisoformat(one["ts"])), [None] * VOLTAGE + [one["voltage_v"]])
        for pack, body in sent.items()
        for one in body
    ]
    return rows, numbers, {one["pack"]: one for one in client.get("/v1/packs").json()["items"]}


def assert_days_follow(
    api: RunningApi, client: httpx.Client, rows: list[Row], groups: dict[str, list[Held]]
) -> None:
    """The answers equal a recount at once, and from what is stored when the counter has followed."""
    for is_counted in (False, True):
        if is_counted:
            assert api.engine.counter.wait_until_counted(WAIT_S), api.engine.counter.trouble
            assert nothing_waits(api)
        for group, held in groups.items():
            expected = naive_groups.group_days(held, rows)
            columns = asked(client, group).raise_for_status().json()["columns"]
            told = dict(zip(DAYS, columns["packs"], strict=True))
            assert {day: packs for day, packs in told.items() if packs} == {
                day: packs for day, (packs, _) in expected.items() if day in told
            }
            for place, day in enumerate(DAYS):
                for figure in ("min", "mean", "max"):
                    value = columns[f"voltage_v_{figure}_p50"][place]
                    known = expected.get(day, (0, {}))[1].get((VOLTAGE, figure, 50))
                    assert value == (None if known is None else pytest.approx(known, rel=1e-12))


def nothing_waits(api: RunningApi) -> bool:
    """Whether the days asked for are folded; days that aren't over wait for their end."""
    with psycopg.connect(api.access.admin) as connection:
        row = connection.execute(
            "SELECT (SELECT count(*) FROM bpm.window_notes WHERE starts < %(to)s)"
            " + (SELECT count(*) FROM bpm.days_to_fold WHERE day < %(to)s)"
            " + (SELECT count(*) FROM bpm.groups_to_fold WHERE day < %(to)s)",
            {"to": DAYS[-1] + timedelta(days=3)},
        ).fetchone()
    return row == (0,)


def stay(pack: int, zone: str, from_ms: float = float("-inf"), to_ms_: float = float("inf")) -> Held:
    return Held(pack, 0, None, zone, from_ms, to_ms_)


def test_e16_days_follow_a_move_to_a_site_whose_day_was_folded(api: RunningApi) -> None:
    with api.client(api.tenant("moved")) as client:
        rows, numbers, packs = fleet(api, client)
        moved = "2026-03-28T15:07:30Z"
        client.post(
            f"/v1/packs/{packs['P1']['id']}/tenures", json={"from": moved, "site": "C"}
        ).raise_for_status()
        moved_ms = to_ms(datetime.fromisoformat(moved))
        before = stay(numbers["P1"], "Europe/Zurich", to_ms_=moved_ms)
        after = stay(numbers["P1"], "Pacific/Chatham", moved_ms)
        zurich, chatham = stay(numbers["P2"], "Europe/Zurich"), stay(numbers["P3"], "Pacific/Chatham")
        groups = {
            "all": [before, after, zurich, chatham],
            "site:Z": [before, zurich],
            "site:C": [after, chatham],
        }
        assert_days_follow(api, client, rows, groups)


def test_e16_days_follow_a_pack_whose_site_or_model_is_put_right(api: RunningApi) -> None:
    with api.client(api.tenant("put-right")) as client:
        rows, numbers, packs = fleet(api, client)
        one, other = packs["P1"], packs["P2"]
        for pack, change in ((one, {"site": "C"}), (other, {"model": "M"})):
            headers = {"If-Match": f'"{pack["version"]}"'}
            client.patch(f"/v1/packs/{pack['id']}", json=change, headers=headers).raise_for_status()
        moved, zurich = stay(numbers["P1"], "Pacific/Chatham"), stay(numbers["P2"], "Europe/Zurich")
        chatham = stay(numbers["P3"], "Pacific/Chatham")
        groups = {
            "all": [moved, zurich, chatham],
            "site:Z": [zurich],
            "site:C": [moved, chatham],
            "model:M": [zurich],
        }
        assert_days_follow(api, client, rows, groups)


def test_e16_days_follow_a_site_whose_zone_is_edited(api: RunningApi) -> None:
    with api.client(api.tenant("zoned")) as client:
        rows, numbers, _ = fleet(api, client)
        (site,) = [one for one in client.get("/v1/sites").json()["items"] if one["name"] == "Z"]
        headers = {"If-Match": f'"{site["version"]}"'}
        # A zone that no site had before.
        change = {"zone": "Pacific/Pago_Pago"}
        client.patch(f"/v1/sites/{site['id']}", json=change, headers=headers).raise_for_status()
        samoa = [stay(numbers[pack], "Pacific/Pago_Pago") for pack in ("P1", "P2")]
        chatham = stay(numbers["P3"], "Pacific/Chatham")
        groups = {"all": [*samoa, chatham], "site:Z": samoa, "site:C": [chatham]}
        assert_days_follow(api, client, rows, groups)
        with psycopg.connect(api.access.admin) as connection:
            zones = connection.execute(
                "SELECT DISTINCT pack_days.zone FROM bpm.pack_days JOIN bpm.tenants USING (tenant_id) WHERE name = 'zoned'"
            ).fetchall()
        assert set(zones) == {("Pacific/Pago_Pago",), ("Pacific/Chatham",)}


def test_e16_today_is_answered_as_far_as_it_has_gone(api: RunningApi) -> None:
    now = datetime.now(UTC)
    with api.client(api.tenant("today")) as client:
        for pack, voltage_v in (("P1", 300.0), ("P2", 310.0)):
            sent = {"pack": pack, "ts": now.isoformat(), "voltage_v": voltage_v}
            assert client.post("/v1/telemetry", json=sent).json()["accepted"] == 1
        params = {
            "group": "all", "measure": "voltage_v", "step": "P1D",
            "from": now.replace(hour=0, minute=0, second=0, microsecond=0).isoformat(),
            "to": (now + timedelta(days=400)).isoformat(),
        }  # fmt: skip
        columns = client.get("/v1/aggregates", params=params).raise_for_status().json()["columns"]
    assert columns["packs"][0] == 2
    assert columns["voltage_v_mean_p50"][0] == 305.0
    # Nothing is from the future.
    assert set(columns["packs"][1:]) == {None}
