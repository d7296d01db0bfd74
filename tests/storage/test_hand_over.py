"""A pack that changes hands: each tenant has the readings of its own time (rule E3)."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from domain.clock import from_ms
from domain.errors import ConflictError, NotFoundError
from storage.database import INGEST_ROLE
from storage.registry import hand_over
from tests.running import RunningApi


def reading(moment: datetime, voltage_v: float, pack: str = "P-1") -> dict[str, object]:
    return {"pack": pack, "ts": moment.isoformat(), "voltage_v": voltage_v}


def series(api: RunningApi, tenant: str, pack: str) -> list[float]:
    now = datetime.now(UTC)
    asked = {
        "pack": pack,
        "measure": "voltage_v",
        "from": (now - timedelta(days=2)).isoformat(),
        "to": (now + timedelta(days=1)).isoformat(),
    }
    with api.client(tenant) as client:
        columns = client.get("/v1/trends", params=asked).json()["columns"]
    found: list[float] = columns["voltage_v"]
    return found


def test_e3_each_tenant_has_the_readings_of_its_own_tenure(api: RunningApi) -> None:
    giver, taker = api.tenant("giver"), api.tenant("taker", register_unknown_packs=False)
    conninfo = api.access.as_role(INGEST_ROLE, api.engine.settings)
    moved = from_ms(api.engine.clock.now_ms()) - timedelta(hours=1)
    before, after = moved - timedelta(minutes=1), moved + timedelta(minutes=1)
    with api.client(giver) as old, api.client(taker) as new:
        assert old.post("/v1/telemetry", json=reading(before, 300)).json()["accepted"] == 1
        hand_over(conninfo, "P-1", giver, taker, "T-9", moved)

        def answered(client: object, body: dict[str, object]) -> list[str]:
            receipt = client.post("/v1/telemetry", json=body).json()  # type: ignore[attr-defined]
            return [item["reason"] for item in receipt["items"]]

        assert answered(old, reading(after, 301)) == ["not_held_then"]
        assert answered(new, reading(before, 302, "T-9")) == ["not_held_then"]
        assert answered(new, reading(after, 303, "T-9")) == []
        assert answered(old, reading(moved - timedelta(seconds=1), 304)) == []
        assert series(api, giver, "P-1") == [300.0, 304.0]
        assert series(api, taker, "T-9") == [303.0]
        packs = {client: client.get("/v1/packs").json()["items"][0]["id"] for client in (old, new)}
        latest = {client: client.get(f"/v1/packs/{packs[client]}/latest").json() for client in (old, new)}
        assert latest[old]["latest"]["voltage_v"]["value"] == 304.0
        assert latest[new]["latest"]["voltage_v"]["value"] == 303.0
        assert old.get(f"/v1/packs/{packs[new]}").status_code == 404


def test_e3_the_packs_own_device_reports_for_all_of_its_life(api: RunningApi) -> None:
    giver, taker = api.tenant("maker"), api.tenant("fleet", register_unknown_packs=False)
    conninfo = api.access.as_role(INGEST_ROLE, api.engine.settings)
    moved = from_ms(api.engine.clock.now_ms()) - timedelta(hours=1)
    with api.client(giver) as old:
        old.post("/v1/telemetry", json=reading(moved - timedelta(minutes=5), 300))
    hand_over(conninfo, "P-1", giver, taker, "P-1", moved)
    with api.client(taker, "device", pack="P-1") as device:
        sent = [reading(moved - timedelta(minutes=1), 310), reading(moved + timedelta(minutes=1), 311)]
        assert device.post("/v1/telemetry", json=sent).json()["accepted"] == 2
    assert series(api, giver, "P-1") == [300.0, 310.0]
    assert series(api, taker, "P-1") == [311.0]


def test_hand_over_behind_stored_readings_is_refused(api: RunningApi) -> None:
    giver, taker = api.tenant("seller"), api.tenant("buyer")
    conninfo = api.access.as_role(INGEST_ROLE, api.engine.settings)
    now = datetime.now(UTC)
    with api.client(giver) as client:
        client.post("/v1/telemetry", json=reading(now, 300))
    with pytest.raises(ConflictError, match="stored"):
        hand_over(conninfo, "P-1", giver, taker, "P-1", now - timedelta(hours=1))
    with pytest.raises(NotFoundError):
        hand_over(conninfo, "P-2", giver, taker, "P-2", now)
    with pytest.raises(NotFoundError):
        hand_over(conninfo, "P-1", giver, "nobody", "P-1", now)
    assert series(api, giver, "P-1") == [300.0]


def test_giver_cannot_take_the_pack_back_by_a_move(api: RunningApi) -> None:
    giver, taker = api.tenant("lender"), api.tenant("borrower", register_unknown_packs=False)
    conninfo = api.access.as_role(INGEST_ROLE, api.engine.settings)
    moved = from_ms(api.engine.clock.now_ms()) - timedelta(hours=2)
    with api.client(giver) as client:
        client.post("/v1/telemetry", json=reading(moved - timedelta(minutes=5), 300))
        pack = client.get("/v1/packs").json()["items"][0]["id"]
        hand_over(conninfo, "P-1", giver, taker, "P-1", moved)
        after = {"from": (moved + timedelta(hours=1)).isoformat()}
        assert client.post(f"/v1/packs/{pack}/tenures", json=after).status_code == 409
        before = {"from": (moved - timedelta(hours=1)).isoformat()}
        assert client.post(f"/v1/packs/{pack}/tenures", json=before).status_code == 201
        sent = client.post("/v1/telemetry", json=reading(moved + timedelta(minutes=1), 301)).json()
        assert [item["reason"] for item in sent["items"]] == ["not_held_then"]
    with api.client(giver, "device", pack="P-1") as device:
        sent = device.post("/v1/telemetry", json=reading(moved + timedelta(minutes=1), 302)).json()
        assert [item["reason"] for item in sent["items"]] == ["not_held_then"]


def test_move_into_the_future_is_refused(api: RunningApi) -> None:
    with api.client(api.tenant("mover")) as client:
        client.post("/v1/telemetry", json=reading(datetime.now(UTC), 300))
        pack = client.get("/v1/packs").json()["items"][0]["id"]
        refused = client.post(f"/v1/packs/{pack}/tenures", json={"from": "9999-12-31T23:59:59Z"})
        assert (refused.status_code, refused.json()["field"]) == (422, "from")


def test_registering_known_packs_draws_no_number(api: RunningApi) -> None:
    rows = b"pack\n" + b"".join(b"N-%d\n" % number for number in range(50))
    with api.client(api.tenant("repeater")) as client, psycopg.connect(api.access.admin) as connection:

        def register() -> tuple[int, int]:
            done = client.post("/v1/packs/import", content=rows, headers={"Content-Type": "text/csv"}).json()
            drawn = connection.execute("SELECT last_value FROM bpm.pack_numbers").fetchone()
            assert drawn is not None
            return done["created"], drawn[0]

        first = register()
        assert first[0] == 50
        assert register() == (0, first[1])


def test_former_holder_can_not_correct_a_reading_of_the_present_ones_time(api: RunningApi) -> None:
    giver, taker = api.tenant("first"), api.tenant("second", register_unknown_packs=False)
    conninfo = api.access.as_role(INGEST_ROLE, api.engine.settings)
    moment = from_ms(api.engine.clock.now_ms()) - timedelta(hours=1)
    until = {"from": moment.isoformat(), "to": (moment + timedelta(seconds=1)).isoformat()}
    with api.client(giver) as old, api.client(taker) as new:
        old.post("/v1/telemetry", json=reading(moment, 300))
        gone = {"kind": "delete_range", "pack": "P-1", "reason": "a test"} | until
        assert old.post("/v1/corrections", json=gone).json()["readings"] == 1
        hand_over(conninfo, "P-1", giver, taker, "P-1", moment - timedelta(minutes=1))
        right = {"kind": "correct", "pack": "P-1", "reason": "a test", "ts": moment.isoformat()}
        answer = old.post("/v1/corrections", json=right | {"values": {"voltage_v": 301}})
        assert (answer.status_code, answer.json()["field"]) == (404, "ts")
        assert new.post("/v1/telemetry", json=reading(moment, 302)).json()["accepted"] == 1
    assert series(api, giver, "P-1") == []
    assert series(api, taker, "P-1") == [302.0]
