"""A subscription's way through feed and store, step by step: no gap and no double, however slow the client is."""

import asyncio
import itertools
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import psycopg

from api.live.audience import Audience, Filter
from api.live.frames import Frame
from api.live.hub import Hub, HubLimits
from api.live.subscription import Pace, Subscription
from api.settings import Settings
from domain.tenancy import Actor, Role, TenantId
from storage.database import APP_ROLE, INGEST_ROLE
from storage.transactions import Transactions, open_pool
from tests.running import RunningApi

HOT = {"kind": "threshold", "measure": "temperature_c", "side": "above", "limit": 50, "clear_limit": 45}
FEED_EVENTS = 4
WAIT_S = 20


@dataclass(frozen=True)
class Bench:
    """A tenant with one rule, a hub that keeps few events, and ways to subscribe and to let things happen."""

    api: RunningApi
    tenant: str
    tenant_id: TenantId
    client: httpx.Client
    hub: Hub
    transactions: Transactions
    numbers: "itertools.count[int]"

    def subscribe(self, wanted: Filter | None = None, heartbeat_s: float = 60, **rights: Any) -> Subscription:
        given = {"roles": frozenset({Role.ANALYST}), "sites": None} | rights
        actor = Actor("someone", self.tenant_id, self.tenant, given["roles"], given["sites"])
        return Subscription(
            audience=Audience(actor, wanted or Filter()),
            ends_at_s=given.get("ends_at_s", 10.0),
            check_credential=lambda: None,
            hub=self.hub,
            transactions=self.transactions,
            pace=Pace(heartbeat_s, 2),
            request_id="test",
        )

    async def flap(self, times: int) -> None:
        """Raise and clear an alert so many times, and wait until the hub has seen it."""
        await asyncio.to_thread(self._flap, times)
        last = await self.hub.reached()
        async with asyncio.timeout(WAIT_S):
            while not self.hub.has_reached(last):  # noqa: ASYNC110 - the hub tells its clients only
                await asyncio.sleep(0.005)

    def _flap(self, times: int) -> None:
        for _ in range(times):
            for temperature_c in (60, 20):
                body = {
                    "pack": f"P-{next(self.numbers) // 2 % 50}",
                    "ts": datetime.now(UTC).isoformat(),
                    "temperature_c": temperature_c,
                }
                self.client.post("/v1/telemetry", json=body).raise_for_status()

    def happened(self) -> list[tuple[str, str]]:
        with psycopg.connect(self.api.access.admin, options="-c search_path=bpm") as connection:
            return connection.execute(
                "SELECT kind, alert_id::text FROM alert_events WHERE tenant_id = %s ORDER BY partition_no, seq",
                (self.tenant_id,),
            ).fetchall()


@asynccontextmanager
async def bench_on(api: RunningApi) -> AsyncIterator[Bench]:
    settings = Settings()
    directory = open_pool(api.access.as_role(INGEST_ROLE, settings), connections_max=2, wait_s_max=10)
    requests = open_pool(api.access.as_role(APP_ROLE, settings), connections_max=2, wait_s_max=10)
    name = api.tenant(f"t-{uuid.uuid4().hex[:12]}")
    async with directory, requests:
        hub = Hub(
            api.access.as_role(INGEST_ROLE, settings),
            directory,
            HubLimits(poll_s=0.2, wait_s_max=10, feed_events_max=FEED_EVENTS, store_reads_max=2),
            lambda: 0.0,
        )
        hub.start()
        try:
            with api.client(name) as client, psycopg.connect(api.access.admin) as connection:
                rule = {"name": "hot", "scope": {"kind": "tenant"}, "severity": "critical", "condition": HOT}
                rule["flapping"] = {"raises_max": 16, "window_s": 1}
                client.post("/v1/rules", json=rule).raise_for_status()
                (number,) = connection.execute(
                    "SELECT tenant_id FROM bpm.tenants WHERE name = %s", (name,)
                ).fetchone() or (0,)
                yield Bench(
                    api, name, TenantId(number), client, hub, Transactions(requests), itertools.count()
                )
        finally:
            await hub.stop()


def on(api: RunningApi, run: Callable[[Bench], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with bench_on(api) as bench:
            await run(bench)

    asyncio.run(whole())


async def take(frames: AsyncGenerator[Frame], count: int) -> list[Frame]:
    async with asyncio.timeout(WAIT_S):
        return [await anext(frames) for _ in range(count)]


async def alerts_until(frames: AsyncGenerator[Frame], count: int) -> list[tuple[str, str]]:
    """So many alerts, with other frames between them passed over."""
    found = []
    async with asyncio.timeout(WAIT_S):
        while len(found) < count:
            frame = await anext(frames)
            if frame.kind == "alert":
                found.append((frame.data["event"]["kind"], str(frame.data["alert"]["id"])))
    return found


def test_e20_events_that_the_feed_lets_go_of_during_a_catch_up_are_not_lost(api: RunningApi) -> None:
    async def run(bench: Bench) -> None:
        frames = bench.subscribe().frames(None)
        (snapshot,) = await take(frames, 1)
        await frames.aclose()
        await bench.flap(6)
        resumed = bench.subscribe().frames(snapshot.cursor)
        seen = await alerts_until(resumed, 2)
        # The feed keeps four events: all that it had when the catch-up began goes by meanwhile.
        await bench.flap(6)
        seen += await alerts_until(resumed, 22)
        assert seen == bench.happened()
        await resumed.aclose()

    on(api, run)


def test_e20_client_that_falls_behind_is_told_how_much_and_misses_nothing(api: RunningApi) -> None:
    async def run(bench: Bench) -> None:
        frames = bench.subscribe().frames(None)
        await take(frames, 1)
        reading = asyncio.create_task(anext(frames))
        await bench.flap(1)
        first = await reading
        await bench.flap(10)
        found = await take(frames, 1 + 1)
        assert [frame.kind for frame in found] == ["alert", "lagged"] or found[0].kind == "lagged"
        lagged = next(frame for frame in found if frame.kind == "lagged")
        assert lagged.data["events"] > 0
        seen = [first, *(frame for frame in found if frame.kind == "alert")]
        events = [(frame.data["event"]["kind"], str(frame.data["alert"]["id"])) for frame in seen]
        events += await alerts_until(frames, 22 - len(events))
        assert events == bench.happened()
        await frames.aclose()

    on(api, run)


def test_heartbeat_comes_also_while_only_others_alerts_happen(api: RunningApi) -> None:
    """Else a client whose filter lets nothing through would have a cursor that grows old."""

    async def run(bench: Bench) -> None:
        frames = bench.subscribe(Filter(packs=frozenset({"none"})), heartbeat_s=0.5).frames(None)
        (snapshot,) = await take(frames, 1)
        beating = asyncio.create_task(take(frames, 1))
        async with asyncio.timeout(WAIT_S):
            while not beating.done():
                await bench.flap(1)
        (beat,) = beating.result()
        assert beat.kind == "heartbeat"
        assert beat.cursor != snapshot.cursor
        await frames.aclose()

    on(api, run)
