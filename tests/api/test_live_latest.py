"""Latest values of packs as they change, over a socket."""

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from api.database_access import DatabaseAccess
from api.packs.latest import of_packs
from tests.running import RunningApi, running_api

Row = dict[str, Any]
WAIT_S = 20


@pytest.fixture(scope="module")
def brisk(second_database: DatabaseAccess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    """An engine whose heartbeats come soon, and that looks often at who is in a group."""
    folder = tmp_path_factory.mktemp("brisk")
    with running_api(second_database, folder, live_heartbeat_s=0.5, live_members_s=0.2) as api:
        yield api


@pytest.fixture
def client(brisk: RunningApi) -> Iterator[httpx.Client]:
    name = brisk.tenant(f"t-{uuid.uuid4().hex[:12]}")
    with brisk.client(name) as client:
        client.headers["X-Test-Tenant"] = name
        yield client


def send(client: httpx.Client, pack: str, **values: float) -> int:
    """Send a reading of now; its time in milliseconds."""
    now = datetime.now(UTC)
    body = {"pack": pack, "ts": now.isoformat()} | values
    answer = client.post("/v1/telemetry", json=body)
    assert answer.json()["accepted"] == 1, answer.text
    return int(now.timestamp() * 1000)


@contextmanager
def watching(client: httpx.Client, **first: Any) -> Iterator[ClientConnection]:
    ticket = client.post("/v1/tickets").json()["ticket"]
    url = str(client.base_url).replace("http", "ws").rstrip("/") + "/v1/telemetry/live"
    with connect(url, proxy=None, close_timeout=2) as socket:
        socket.send(json.dumps({"ticket": ticket, "rate_hz": 10} | first))
        yield socket


def received(socket: ClientConnection, kind: str) -> Row:
    """The data of the next frame of a kind."""
    deadline_s = time.monotonic() + WAIT_S
    while (frame := json.loads(socket.recv(WAIT_S)))["type"] != kind:
        assert frame["type"] == "heartbeat", frame
        assert time.monotonic() < deadline_s, f"no {kind} came"
    return dict(frame["data"] or {})


def values_of(data: Row, measure: str) -> dict[str, Any]:
    return dict(zip(data["columns"]["pack"], data["columns"][measure], strict=True))


def test_snapshot_and_then_only_what_changed(client: httpx.Client) -> None:
    send(client, "P-1", voltage_v=350)
    send(client, "P-2", voltage_v=360)
    with watching(client, packs=["P-1", "P-2", "P-9"], measures=["voltage_v"]) as socket:
        snapshot = received(socket, "snapshot")
        assert values_of(snapshot, "voltage_v") == {"P-1": 350, "P-2": 360}
        assert snapshot["unknown"] == ["P-9"]
        assert set(snapshot["columns"]) == {"pack", "voltage_v", "voltage_v_ts"}
        ts_ms = send(client, "P-2", voltage_v=361)
        changed = received(socket, "telemetry")
        assert values_of(changed, "voltage_v") == {"P-2": 361}
        assert values_of(changed, "voltage_v_ts") == {"P-2": ts_ms}


def test_slow_pace_brings_the_last_value_and_passes_over_those_before(client: httpx.Client) -> None:
    send(client, "P-1", voltage_v=350)
    with watching(client, packs=["P-1"], measures=["voltage_v"], rate_hz=1) as socket:
        received(socket, "snapshot")
        began_s = time.monotonic()
        for voltage_v in range(351, 361):
            send(client, "P-1", voltage_v=voltage_v)
        seen = [values_of(received(socket, "telemetry"), "voltage_v")["P-1"]]
        while seen[-1] != 360:
            seen.append(values_of(received(socket, "telemetry"), "voltage_v")["P-1"])
    assert len(seen) <= 2 + (time.monotonic() - began_s), "one a second, however long the ten take"


def test_pack_that_is_registered_later_is_seen(client: httpx.Client) -> None:
    with watching(client, group="all", measures=["voltage_v"]) as socket:
        assert received(socket, "snapshot")["columns"]["pack"] == []
        send(client, "P-1", voltage_v=350)
        assert values_of(received(socket, "telemetry"), "voltage_v") == {"P-1": 350}


def test_pack_that_moves_away_is_gone_for_who_sees_only_its_former_site(
    brisk: RunningApi, client: httpx.Client
) -> None:
    for site in ("north", "south"):
        client.post("/v1/sites", json={"name": site, "zone": "UTC"}).raise_for_status()
    made = client.post("/v1/packs", json={"pack": "P-1", "site": "north"}).json()
    send(client, "P-1", voltage_v=350)
    with (
        brisk.client(client.headers["X-Test-Tenant"], "analyst", sites=["north"]) as limited,
        watching(limited, packs=["P-1"], measures=["voltage_v"]) as socket,
    ):
        assert values_of(received(socket, "snapshot"), "voltage_v") == {"P-1": 350}
        moment = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
        moved = client.post(f"/v1/packs/{made['id']}/tenures", json={"from": moment, "site": "south"})
        assert moved.is_success, moved.text
        send(client, "P-1", voltage_v=399)
        assert received(socket, "telemetry")["gone"] == ["P-1"]


def test_heartbeat_comes_when_nothing_changes(client: httpx.Client) -> None:
    send(client, "P-1", voltage_v=350)
    with watching(client, packs=["P-1"]) as socket:
        received(socket, "snapshot")
        assert received(socket, "heartbeat") == {}


@pytest.mark.parametrize(
    ("first", "words"),
    [
        ({}, "packs or a group"),
        ({"packs": ["P"], "group": "all"}, "packs or a group"),
        ({"packs": []}, "packs"),
        ({"packs": ["P"], "measures": ["colour"]}, "measures"),
        ({"packs": ["P"], "rate_hz": 11}, "rate_hz"),
        ({"packs": ["P"], "rate_hz": 0}, "rate_hz"),
        ({"group": "planet:earth"}, "group"),
        ({"group": "saved:nope"}, "group"),
        ({"group": "site:nowhere"}, "group"),
    ],
)
def test_what_cannot_be_watched_is_named(client: httpx.Client, first: Row, words: str) -> None:
    with watching(client, **first) as socket, pytest.raises(ConnectionClosed) as closed:
        socket.recv(WAIT_S)
    frame = closed.value.rcvd
    assert frame is not None
    assert (frame.code, words in frame.reason) == (4400, True), frame.reason


def test_store_is_not_read_while_nothing_changes(
    client: httpx.Client, brisk: RunningApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(client, "P-1", voltage_v=350)
    reads: list[int] = []

    async def counted(*given: Any) -> Any:
        reads.append(1)
        return await of_packs(*given)

    monkeypatch.setattr("api.live.latest.of_packs", counted)
    with watching(client, packs=["P-1"], measures=["voltage_v"]) as socket:
        received(socket, "snapshot")
        began_s = time.monotonic()
        for _ in range(2):
            received(socket, "heartbeat")
        idle, watched_s = len(reads), time.monotonic() - began_s
        send(client, "P-1", voltage_v=351)
        assert values_of(received(socket, "telemetry"), "voltage_v") == {"P-1": 351}
    # Ten looks a second: the first read, one more for the newcomers, and one each 0.2 s for members.
    assert idle <= 4 + watched_s / brisk.engine.settings.live_members_s


def test_value_that_is_corrected_or_deleted_is_told(client: httpx.Client) -> None:
    ts_ms = send(client, "P-1", voltage_v=350)
    moment = datetime.fromtimestamp(ts_ms / 1000, UTC)
    span = {"from": moment.isoformat(), "to": (moment + timedelta(milliseconds=1)).isoformat()}
    with watching(client, packs=["P-1"], measures=["voltage_v"]) as socket:
        received(socket, "snapshot")
        asked = {"kind": "delete_range", "pack": "P-1", "reason": "a test"} | span
        assert client.post("/v1/corrections", json=asked).is_success
        gone = received(socket, "telemetry")
    assert (values_of(gone, "voltage_v"), gone["gone"]) == ({"P-1": None}, [])
