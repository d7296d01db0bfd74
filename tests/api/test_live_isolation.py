"""No stream ever shows what is another tenant's or another site's, while packs move between them (rule E20)."""

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
import psycopg
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from websockets.sync.client import ClientConnection, connect

from api.database_access import DatabaseAccess
from storage.database import INGEST_ROLE
from storage.registry import hand_over
from tests.running import RunningApi, running_api, until

SITES = ("north", "south")
TENANTS = 2
PACKS = 3
WAIT_S = 20
HOT = {"kind": "threshold", "measure": "temperature_c", "side": "above", "limit": 50, "clear_limit": 45}
RULE = {
    "name": "hot",
    "scope": {"kind": "tenant"},
    "severity": "critical",
    "condition": HOT,
    "flapping": {"raises_max": 16, "window_s": 1},
}

Place = tuple[int, int]
"""A tenant, and one of its packs."""


@dataclass(frozen=True)
class Rights:
    """What a client may see, and what of it it wants."""

    tenant: int
    role: str
    sites: tuple[str, ...] | None
    wanted: tuple[str, ...]

    def sees(self, site: str | None) -> bool:
        return self.sites is None or site in self.sites

    def wants(self, site: str | None) -> bool:
        return not self.wanted or site in self.wanted


some_sites = st.lists(st.sampled_from(SITES), unique=True, max_size=2).map(tuple)
rights = st.builds(
    Rights,
    st.integers(0, TENANTS - 1),
    st.sampled_from(["tenant_admin", "operator", "analyst"]),
    st.none() | some_sites,
    some_sites,
)
packs = st.integers(0, PACKS - 1)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("heat"), packs),
        st.tuples(st.just("heat"), packs),
        st.tuples(st.just("cool"), packs),
        st.tuples(st.just("move"), packs, st.sampled_from([*SITES, None])),
        st.tuples(st.just("give"), packs),
    ),
    min_size=6,
    max_size=14,
)


@pytest.fixture(scope="module")
def brisk(second_database: DatabaseAccess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    folder = tmp_path_factory.mktemp("brisk")
    with running_api(second_database, folder, live_heartbeat_s=0.4, live_members_s=0.1) as api:
        yield api


@dataclass
class World:
    """Tenants with the same sites and rules, their packs, and what each of them was when something was sent.

    held: by whom each pack is held. sites: where each tenant's packs are, as its records say; kept after each step.
    """

    api: RunningApi
    names: list[str]
    clients: list[httpx.Client]
    held: list[int] = field(default_factory=lambda: [0] * PACKS)
    sites: dict[Place, str | None] = field(default_factory=dict)
    steps: list[dict[Place, str | None]] = field(default_factory=list)
    sent: dict[float, tuple[Place, int]] = field(default_factory=dict)
    raised_at: dict[str, tuple[int, str | None]] = field(default_factory=dict)

    def external_id(self, tenant: int, pack: int) -> str:
        return f"T{tenant}-{pack}"

    def do(self, step: tuple[Any, ...]) -> None:
        kind, pack, *more = step
        # Times are whole milliseconds, and a tenure begins after the reading before it.
        time.sleep(0.002)
        if kind == "move":
            self._move(pack, more[0])
        elif kind == "give":
            self._give(pack)
        else:
            self._send(pack, 60 if kind == "heat" else 20)
        self.steps.append(dict(self.sites))

    def _id(self, tenant: int, pack: int) -> str:
        items = self.clients[tenant].get("/v1/packs").json()["items"]
        return next(str(one["id"]) for one in items if one["pack"] == self.external_id(tenant, pack))

    def _move(self, pack: int, site: str | None) -> None:
        tenant = self.held[pack]
        body = {"from": datetime.now(UTC).isoformat(), "site": site}
        path = f"/v1/packs/{self._id(tenant, pack)}/tenures"
        self.clients[tenant].post(path, json=body).raise_for_status()
        self.sites[tenant, pack] = site

    def _give(self, pack: int) -> None:
        giver, taker = self.held[pack], (self.held[pack] + 1) % TENANTS
        hand_over(
            self.api.access.as_role(INGEST_ROLE, self.api.engine.settings),
            self.external_id(giver, pack),
            self.names[giver],
            self.names[taker],
            self.external_id(taker, pack),
            datetime.now(UTC),
        )
        self.held[pack] = taker
        self.sites[taker, pack] = None

    def _send(self, pack: int, about_c: float) -> None:
        """Each reading has a value of its own, by which it is known wherever it turns up."""
        tenant = self.held[pack]
        value_c = round(about_c + len(self.sent) / 1000, 3)
        body = {"pack": self.external_id(tenant, pack), "ts": datetime.now(UTC).isoformat(), "temperature_c": value_c}  # fmt: skip
        answer = self.clients[tenant].post("/v1/telemetry", json=body).json()
        assert answer["accepted"] == 1, answer
        self.sent[value_c] = ((tenant, pack), len(self.steps))
        for tenant_name, alert in self._alerts():
            # Whose it is and where it was follows from where the reading was sent from, not from what is stored.
            if alert not in self.raised_at:
                assert tenant_name == self.names[tenant]
                self.raised_at[alert] = (tenant, self.sites[tenant, pack])

    def _alerts(self) -> list[tuple[str, str]]:
        return [(name, alert) for name, _, alert in self.happened()]

    def happened(self) -> list[tuple[str, str, str]]:
        with psycopg.connect(self.api.access.admin, options="-c search_path=bpm") as connection:
            return connection.execute(
                "SELECT name, kind, alert_id::text FROM alert_events JOIN tenants USING (tenant_id)"
                " WHERE name = ANY(%s) ORDER BY partition_no, seq",
                (self.names,),
            ).fetchall()

    def events_for(self, client: Rights) -> list[tuple[str, str]]:
        """The events that a client is to get, in order."""
        found = []
        for name, kind, alert in self.happened():
            tenant, site = self.raised_at[alert]
            assert name == self.names[tenant]
            if tenant == client.tenant and client.sees(site) and client.wants(site):
                found.append((kind, alert))
        return found

    def may_be_seen(self, value_c: float, client: Rights) -> bool:
        """Whether the value was sent for the client's tenant, by a pack that has been where the client sees since."""
        place, step = self.sent[value_c]
        return place[0] == client.tenant and any(client.sees(then[place]) for then in self.steps[step:])


@contextmanager
def world_of(api: RunningApi) -> Iterator[World]:
    names = [api.tenant(f"t-{uuid.uuid4().hex[:12]}") for _ in range(TENANTS)]
    with ExitStack() as stack:
        world = World(api, names, [stack.enter_context(api.client(name)) for name in names])
        for client in world.clients:
            for site in SITES:
                client.post("/v1/sites", json={"name": site, "zone": "UTC"}).raise_for_status()
            client.post("/v1/rules", json=RULE).raise_for_status()
        for pack in range(PACKS):
            site = SITES[pack % len(SITES)]
            body = {"pack": world.external_id(0, pack), "site": site}
            world.clients[0].post("/v1/packs", json=body).raise_for_status()
            world.sites[0, pack] = site
        world.steps.append(dict(world.sites))
        yield world


@contextmanager
def opened(world: World, client: Rights, path: str, first: dict[str, Any]) -> Iterator[ClientConnection]:
    limits: dict[str, Any] = {} if client.sites is None else {"sites": list(client.sites)}
    with world.api.client(world.names[client.tenant], client.role, **limits) as asking:
        ticket = asking.post("/v1/tickets").json()["ticket"]
    with connect(world.api.url.replace("http", "ws") + path, proxy=None, close_timeout=2) as socket:
        socket.send(json.dumps({"ticket": ticket} | first))
        yield socket


def frames_until_quiet(socket: ClientConnection, at_least: int = 0) -> list[dict[str, Any]]:
    """What comes until nothing does for two heartbeats; the first may have come while packs still moved."""
    frames: list[dict[str, Any]] = []
    quiet, deadline_s = 0, time.monotonic() + WAIT_S
    while quiet < 2 or len(frames) < at_least:
        assert time.monotonic() < deadline_s, "it was never quiet, or too little came"
        frame = json.loads(socket.recv(WAIT_S))
        quiet = quiet + 1 if frame["type"] == "heartbeat" else 0
        frames += [frame] if frame["type"] != "heartbeat" else []
    return frames


def temperatures(frames: list[dict[str, Any]]) -> list[float]:
    shown = [value for frame in frames for value in frame["data"]["columns"]["temperature_c"]]
    return [round(value, 3) for value in shown if value is not None]


def test_e20_streams_show_each_client_its_own_alone_while_packs_move(brisk: RunningApi) -> None:
    @settings(max_examples=8, deadline=None, phases=[Phase.generate])
    @given(clients=st.lists(rights, min_size=3, max_size=5), walk=steps)
    def walked(clients: list[Rights], walk: list[tuple[Any, ...]]) -> None:
        with world_of(brisk) as world, ExitStack() as stack:
            assert_own_alone(world, clients, [("heat", 0), *walk, ("cool", 0), ("heat", 1)], stack)

    walked()


def assert_own_alone(
    world: World, clients: list[Rights], walk: list[tuple[Any, ...]], stack: ExitStack
) -> None:
    alerts, latest = [], []
    for client in clients:
        wanted = {"filter": {"sites": list(client.wanted)}}
        alerts.append(stack.enter_context(opened(world, client, "/v1/alerts/live", wanted)))
        first = {
            "packs": [world.external_id(client.tenant, pack) for pack in range(PACKS)],
            "measures": ["temperature_c"],
            "rate_hz": 10,
        }
        latest.append(stack.enter_context(opened(world, client, "/v1/telemetry/live", first)))
        assert json.loads(alerts[-1].recv(WAIT_S))["data"]["alerts"] == []
        assert json.loads(latest[-1].recv(WAIT_S))["type"] == "snapshot"
    for step in walk:
        world.do(step)
    for client, socket in zip(clients, alerts, strict=True):
        expected = world.events_for(client)
        frames = frames_until_quiet(socket, len(expected))
        assert [(one["data"]["event"]["kind"], one["data"]["alert"]["id"]) for one in frames] == expected
    for client, socket in zip(clients, latest, strict=True):
        seen = temperatures(frames_until_quiet(socket))
        assert [value for value in seen if not world.may_be_seen(value, client)] == []


def test_place_of_a_pack_counts_from_its_move_on(brisk: RunningApi) -> None:
    """The walk above in one step of each kind, so that it is known to have something to see."""
    north = Rights(0, "operator", ("north",), ())
    with (
        world_of(brisk) as world,
        opened(world, north, "/v1/alerts/live", {}) as alerts,
        opened(world, north, "/v1/telemetry/live", {"packs": ["T0-0"], "rate_hz": 10}) as latest,
    ):
        for step in (("heat", 0), ("cool", 0), ("move", 0, "south"), ("heat", 0), ("cool", 0), ("give", 0)):
            world.do(step)
            if step == ("heat", 0) and len(world.sent) == 1:
                until(lambda: 60.0 in temperatures([json.loads(latest.recv(WAIT_S))]))
        frames = frames_until_quiet(alerts)
        assert [one["data"]["event"]["kind"] for one in frames if one["type"] == "alert"] == ["raised", "cleared"]  # fmt: skip
        assert set(temperatures(frames_until_quiet(latest))) <= {60.0, 20.001}
        assert world.may_be_seen(20.001, north)
        assert not world.may_be_seen(60.002, north)
