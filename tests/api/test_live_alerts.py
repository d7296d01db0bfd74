"""Alerts as they happen: over sockets and event streams, each event once and in order (rule E20)."""

import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import psycopg
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from api.database_access import DatabaseAccess
from tests.running import RunningApi, running_api

Row = dict[str, Any]

HOT = {"kind": "threshold", "measure": "temperature_c", "side": "above", "limit": 50, "clear_limit": 45}
WAIT_S = 20


@dataclass(frozen=True)
class Tenant:
    """A tenant of a test's own with one rule, which packs breach above 50 degrees."""

    api: RunningApi
    name: str
    client: httpx.Client

    def send(self, temperature_c: float, pack: str = "P-1") -> None:
        body = {"pack": pack, "ts": datetime.now(UTC).isoformat(), "temperature_c": temperature_c}
        self.client.post("/v1/telemetry", json=body).raise_for_status()

    def flap(self, times: int, pack: str = "P-1") -> None:
        """Raise and clear an alert so many times; more than 16 within a second would be taken for flapping."""
        for _ in range(times):
            self.send(60, pack)
            self.send(20, pack)

    @contextmanager
    def socket(
        self, first: Row | None = None, client: httpx.Client | None = None
    ) -> Iterator[ClientConnection]:
        ticket = (client or self.client).post("/v1/tickets").json()["ticket"]
        with self.bare() as socket:
            socket.send(json.dumps({"ticket": ticket} | (first or {})))
            yield socket

    def bare(self) -> ClientConnection:
        url = self.api.url.replace("http", "ws") + "/v1/alerts/live"
        return connect(url, proxy=None, close_timeout=2)

    def happened(self) -> list[tuple[str, str]]:
        """What the log has, in order: kind and alert."""
        with psycopg.connect(self.api.access.admin, options="-c search_path=bpm") as connection:
            return connection.execute(
                "SELECT kind, alert_id::text FROM alert_events JOIN tenants USING (tenant_id)"
                " WHERE name = %s ORDER BY partition_no, seq",
                (self.name,),
            ).fetchall()


@contextmanager
def tenant_of(api: RunningApi) -> Iterator[Tenant]:
    name = f"t-{uuid.uuid4().hex[:12]}"
    with api.client(api.tenant(name)) as client:
        rule = {"name": "hot", "scope": {"kind": "tenant"}, "severity": "critical", "condition": HOT}
        rule["flapping"] = {"raises_max": 16, "window_s": 1}
        client.post("/v1/rules", json=rule).raise_for_status()
        yield Tenant(api, name, client)


@pytest.fixture
def tenant(api: RunningApi) -> Iterator[Tenant]:
    with tenant_of(api) as made:
        yield made


@pytest.fixture(scope="module")
def brisk(second_database: DatabaseAccess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    """An engine whose heartbeats come soon, that keeps few events for sockets, and lets a tenant have three."""
    limits: dict[str, Any] = {"live_heartbeat_s": 0.3, "live_feed_events_max": 8, "live_snapshot_alerts": 2}
    folder = tmp_path_factory.mktemp("brisk")
    with running_api(second_database, folder, **limits, live_tenant_connections_max=3) as api:
        yield api


def received(socket: ClientConnection) -> Row:
    return dict(json.loads(socket.recv(WAIT_S)))


def received_soon(socket: ClientConnection) -> Row | None:
    """The next frame, if one comes within a moment."""
    try:
        return dict(json.loads(socket.recv(0.03)))
    except TimeoutError:
        return None


def until_quiet(socket: ClientConnection) -> list[Row]:
    """The frames up to the next heartbeat."""
    frames = []
    while (frame := received(socket))["type"] != "heartbeat":
        frames.append(frame)
    return frames


def alerts_of(socket: ClientConnection, count: int) -> list[Row]:
    """So many frames of alerts; heartbeats between them tell only that the machine was slow."""
    frames: list[Row] = []
    deadline_s = time.monotonic() + WAIT_S
    while len(frames) < count:
        frame = received(socket)
        assert time.monotonic() < deadline_s, f"{len(frames)} came, then {frame}"
        assert frame["type"] in ("alert", "heartbeat"), frame
        frames += [frame] if frame["type"] == "alert" else []
    return frames


def event_of(frame: Row) -> tuple[str, str]:
    return frame["data"]["event"]["kind"], frame["data"]["alert"]["id"]


def listen(socket: ClientConnection) -> None:
    """Listen until the other side closes; one that goes on is given up."""
    deadline_s = time.monotonic() + WAIT_S
    while time.monotonic() < deadline_s:
        socket.recv(WAIT_S)


def closed_with(socket: ClientConnection) -> tuple[int, str]:
    with pytest.raises(ConnectionClosed) as closed:
        listen(socket)
    frame = closed.value.rcvd
    assert frame is not None
    return frame.code, frame.reason


@contextmanager
def events_of(tenant: Tenant, headers: dict[str, str]) -> Iterator[Iterator[dict[str, str]]]:
    with tenant.client.stream("GET", "/v1/alerts/stream", headers=headers) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")

        def events() -> Iterator[dict[str, str]]:
            found: dict[str, str] = {}
            for line in answer.iter_lines():
                if line:
                    name, _, value = line.partition(": ")
                    found[name] = value
                else:
                    yield found
                    found = {}

        yield events()


def test_snapshot_comes_first_and_then_what_happens(tenant: Tenant) -> None:
    tenant.send(60)
    with tenant.socket() as socket:
        snapshot = received(socket)
        assert (snapshot["type"], snapshot["data"]["more"]) == ("snapshot", False)
        (alert,) = snapshot["data"]["alerts"]
        assert alert == tenant.client.get("/v1/alerts").json()["items"][0]
        tenant.send(20)
        cleared = received(socket)
        assert (cleared["type"], event_of(cleared)) == ("alert", ("cleared", alert["id"]))
        assert cleared["data"]["alert"] == tenant.client.get("/v1/alerts").json()["items"][0]


def test_actions_of_people_come_in_the_same_stream(tenant: Tenant) -> None:
    tenant.send(60)
    with tenant.socket() as socket:
        (alert,) = received(socket)["data"]["alerts"]
        tenant.client.post(f"/v1/alerts/{alert['id']}/acknowledge").raise_for_status()
        tenant.client.post(f"/v1/alerts/{alert['id']}/comments", json={"comment": "seen"}).raise_for_status()
        frames = [received(socket), received(socket)]
    assert [event_of(frame)[0] for frame in frames] == ["acknowledged", "commented"]
    assert frames[0]["data"]["alert"]["acknowledged_at"] is not None
    assert frames[1]["data"]["event"]["comment"] == "seen"


def test_e20_client_that_drops_a_hundred_times_gets_each_event_once_and_in_order(tenant: Tenant) -> None:
    with tenant.socket() as socket:
        cursor = received(socket)["cursor"]

    def flow() -> None:
        for number in range(60):
            tenant.flap(1, f"P-{number % 10}")

    flowing = threading.Thread(target=flow)
    flowing.start()
    events: list[tuple[str, str]] = []
    drops = 0
    while drops < 100 or flowing.is_alive() or len(events) < len(tenant.happened()):
        with tenant.socket({"cursor": cursor}) as socket:
            for _ in range(1 + drops % 3):
                frame = received_soon(socket)
                if frame is not None:
                    assert frame["type"] == "alert"
                    events.append(event_of(frame))
                    cursor = frame["cursor"]
        drops += 1
        assert drops < 1000
    flowing.join()
    assert events == tenant.happened()
    assert len(events) == 120


def test_e20_stream_resumes_where_it_was_by_the_id_of_its_last_event(tenant: Tenant) -> None:
    with events_of(tenant, {}) as stream:
        first = next(stream)
    assert (first["event"], json.loads(first["data"])) == ("snapshot", {"alerts": [], "more": False})
    tenant.flap(2)
    seen, last = [], first["id"]
    for _ in range(4):
        with events_of(tenant, {"Last-Event-ID": last}) as stream:
            event = next(stream)
        seen.append(json.loads(event["data"])["event"]["kind"])
        last = event["id"]
    assert seen == ["raised", "cleared", "raised", "cleared"]


def test_filters_choose_by_pack_severity_and_rule(tenant: Tenant) -> None:
    mild = {"name": "mild", "scope": {"kind": "tenant"}, "severity": "info", "condition": HOT | {"limit": 55}}
    rule = tenant.client.post("/v1/rules", json=mild).json()
    wanted = {"packs": ["P-2"], "severities": ["info"], "rules": [rule["id"]]}
    with tenant.socket({"filter": wanted}) as socket:
        assert received(socket)["data"]["alerts"] == []
        tenant.send(60, "P-1")
        tenant.send(60, "P-2")
        frame = received(socket)
    assert (frame["data"]["alert"]["pack"], frame["data"]["alert"]["rule"]) == ("P-2", "mild")


def test_snapshot_holds_what_is_wanted_alone(tenant: Tenant) -> None:
    for pack in ("P-1", "P-2"):
        tenant.send(60, pack)
    for wanted, packs in (
        ({"packs": ["P-2"]}, {"P-2"}),
        ({"severities": ["info"]}, set()),
        ({}, {"P-1", "P-2"}),
    ):
        with tenant.socket({"filter": wanted}) as socket:
            assert {alert["pack"] for alert in received(socket)["data"]["alerts"]} == packs


def test_tenants_and_sites_see_only_their_own(api: RunningApi, tenant: Tenant) -> None:
    for pack, site in (("N", "north"), ("S", "south")):
        tenant.client.post("/v1/sites", json={"name": site, "zone": "UTC"}).raise_for_status()
        tenant.client.post("/v1/packs", json={"pack": pack, "site": site}).raise_for_status()
    with (
        tenant_of(api) as other,
        other.socket() as elsewhere,
        api.client(tenant.name, "operator", sites=["north"]) as limited,
        tenant.socket(client=limited) as north,
    ):
        assert received(elsewhere)["data"]["alerts"] == received(north)["data"]["alerts"] == []
        tenant.flap(1, "S")
        tenant.flap(1, "N")
        other.flap(1, "O")
        assert [received(north)["data"]["alert"]["pack"] for _ in range(2)] == ["N", "N"]
        assert [received(elsewhere)["data"]["alert"]["pack"] for _ in range(2)] == ["O", "O"]


def test_ticket_opens_one_socket(tenant: Tenant) -> None:
    ticket = tenant.client.post("/v1/tickets").json()["ticket"]
    with tenant.bare() as socket:
        socket.send(json.dumps({"ticket": ticket}))
        assert received(socket)["type"] == "snapshot"
    with tenant.bare() as socket:
        socket.send(json.dumps({"ticket": ticket}))
        assert closed_with(socket)[0] == 4401


def test_ticket_holds_for_its_time_alone(tenant: Tenant) -> None:
    told = tenant.client.post("/v1/tickets").json()
    left_s = (datetime.fromisoformat(told["expires_at"]) - datetime.now(UTC)).total_seconds()
    life_s = tenant.api.engine.settings.ticket_life_s
    assert life_s - 10 < left_s <= life_s


def test_ticket_that_was_not_used_in_time_is_worth_nothing(tenant: Tenant) -> None:
    ticket = tenant.client.post("/v1/tickets").json()["ticket"]
    with psycopg.connect(tenant.api.access.admin, options="-c search_path=bpm") as connection:
        connection.execute("UPDATE tickets SET expires_at = now() - interval '1 second'")
    with tenant.bare() as socket:
        socket.send(json.dumps({"ticket": ticket}))
        assert closed_with(socket)[0] == 4401


def test_device_gets_no_ticket_and_analyst_does(api: RunningApi, tenant: Tenant) -> None:
    with api.client(tenant.name, "device", pack="P-1") as device:
        assert device.post("/v1/tickets").status_code == 403
    with api.client(tenant.name, "analyst") as analyst, tenant.socket(client=analyst) as socket:
        assert received(socket)["type"] == "snapshot"


@pytest.mark.parametrize(
    ("said", "code", "words"),
    [
        ("{", 4400, ""),
        ("[]", 4400, ""),
        ("{}", 4400, "ticket"),
        (b"\x00\xff", 4400, "text frame"),
        (json.dumps({"ticket": "x"}), 4401, "ticket"),
        (json.dumps({"ticket": "\0"}), 4401, "ticket"),
        (json.dumps({"ticket": "\ud800"}), 4400, ""),
        (json.dumps({"ticket": 5}), 4400, "ticket"),
        (json.dumps({"ticket": "x", "more": 1}), 4400, "more"),
        (json.dumps({"ticket": "x", "filter": {"severities": ["loud"]}}), 4400, "filter.severities"),
    ],
)
def test_first_frame_that_is_wrong_is_answered_by_a_code(
    tenant: Tenant, said: str | bytes, code: int, words: str
) -> None:
    with tenant.bare() as socket:
        socket.send(said)
        found, reason = closed_with(socket)
    assert (found, words in reason) == (code, True), reason


@pytest.mark.parametrize("cursor", ["?", "MDo", "x" * 1999, "LTE6NQ", "\u00e9"])
def test_cursor_that_is_none_is_refused(tenant: Tenant, cursor: str) -> None:
    with tenant.socket({"cursor": cursor}) as socket:
        assert closed_with(socket)[0] == 4400
    answer = tenant.client.get("/v1/alerts/stream", params={"cursor": cursor})
    assert (answer.status_code, answer.json()["field"]) == (422, "cursor")


def test_cursor_of_a_store_that_was_put_back_begins_with_a_snapshot(tenant: Tenant) -> None:
    with tenant.socket({"cursor": "MDo5OTk5OTk5OTk5"}) as socket:
        assert received(socket)["type"] == "snapshot"


def test_heartbeat_comes_when_nothing_happens_and_carries_the_cursor(brisk: RunningApi) -> None:
    with tenant_of(brisk) as tenant, tenant.socket() as socket:
        first, second = received(socket), received(socket)
    assert (first["type"], second["type"], second["data"]) == ("snapshot", "heartbeat", None)


def test_e20_heartbeat_after_an_event_carries_the_place_behind_it(brisk: RunningApi) -> None:
    with tenant_of(brisk) as tenant:
        with tenant.socket() as socket:
            assert until_quiet(socket)[0]["type"] == "snapshot"
            tenant.send(60)
            alerts_of(socket, 1)
            heartbeat = received(socket)
        assert heartbeat["type"] == "heartbeat"
        tenant.send(20)
        with tenant.socket({"cursor": heartbeat["cursor"]}) as socket:
            assert event_of(received(socket))[0] == "cleared"


def test_long_snapshot_comes_in_frames_of_which_the_last_has_the_cursor(brisk: RunningApi) -> None:
    with tenant_of(brisk) as tenant:
        for number in range(5):
            tenant.send(60, f"P-{number}")
        with tenant.socket() as socket:
            frames = until_quiet(socket)
    assert [len(frame["data"]["alerts"]) for frame in frames] == [2, 2, 1]
    assert [frame["data"]["more"] for frame in frames] == [True, True, False]
    assert [frame["cursor"] is None for frame in frames] == [True, True, False]


def test_client_that_is_behind_what_is_kept_gets_the_rest_from_the_store(brisk: RunningApi) -> None:
    with tenant_of(brisk) as tenant:
        with tenant.socket() as socket:
            cursor = received(socket)["cursor"]
        tenant.flap(10, "P-1")
        tenant.flap(10, "P-2")
        with tenant.socket({"cursor": cursor}) as socket:
            events = [event_of(frame) for frame in alerts_of(socket, 40)]
            assert until_quiet(socket) == []
        assert events == tenant.happened()


def test_connections_beyond_the_limit_are_refused(brisk: RunningApi) -> None:
    with tenant_of(brisk) as tenant, tenant.socket() as one, tenant.socket() as two, tenant.socket() as three:
        for socket in (one, two, three):
            received(socket)
        with tenant.socket() as fourth:
            assert closed_with(fourth)[0] == 4429
        assert tenant.client.get("/v1/alerts/stream").status_code == 429


def test_who_comes_while_others_listen_gets_nothing_that_a_snapshot_or_cursor_has_passed(
    brisk: RunningApi,
) -> None:
    with tenant_of(brisk) as tenant, tenant.socket() as listening:
        received(listening)
        tenant.flap(1)
        tenant.send(60, "P-2")
        heard = alerts_of(listening, 3)
        assert until_quiet(listening) == []
        with tenant.socket() as late:
            assert [frame["type"] for frame in until_quiet(late)] == ["snapshot"]
        with tenant.socket({"cursor": heard[0]["cursor"]}) as back:
            assert [event_of(frame) for frame in alerts_of(back, 2)] == [event_of(one) for one in heard[1:]]
            assert until_quiet(back) == []
