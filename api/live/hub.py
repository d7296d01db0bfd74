"""The one reader of the alert log in a process: it hands what is new to all who are subscribed (rule E20)."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg_pool import PoolTimeout

from api.live import cursors
from api.live.feed import Feed, Published
from api.live.frames import Frame, event_of
from domain.errors import BpmError, UnavailableError
from domain.tenancy import TenantId
from storage.alert_log import Positions, events_of_all, mark_of_installation, positions
from storage.alerting import CHANNEL
from storage.connections import connect_async
from storage.registry import Registry
from storage.transactions import Pool

log = logging.getLogger(__name__)

_PAGE_EVENTS = 1000


@dataclass(frozen=True, slots=True)
class HubLimits:
    """poll_s: time between looks when no notification comes. wait_s_max: wait for the log at a beginning.

    feed_events_max: newest events of a tenant that are kept. store_reads_max: clients that read the store at once.
    """

    poll_s: float
    wait_s_max: float
    feed_events_max: int
    store_reads_max: int


class Hub:
    """Reads what is new when it is notified, and every `poll_s` in any case: a lost notification only delays.

    now_s: the wall clock by which credentials end.
    """

    def __init__(self, conninfo: str, pool: Pool, limits: HubLimits, now_s: Callable[[], float]) -> None:
        self.now_s = now_s
        self.ending = False
        self.mark = ""
        """Of this installation, for cursors; known once somebody has joined."""
        self.not_served: dict[TenantId, BpmError] = {}
        """Why tenants with subscriptions aren't served any more."""
        self._looked_s = 0.0
        self.reading = asyncio.Semaphore(limits.store_reads_max)
        self._conninfo = conninfo
        self._pool = pool
        self._limits = limits
        self._feeds: dict[TenantId, Feed] = {}
        self._positions: Positions | None = None
        self._task: asyncio.Task[None] | None = None
        self._known = asyncio.Event()

    @property
    def positions(self) -> Positions:
        """How far the hub has read: all of it has been published."""
        return dict(self._positions or {})

    def start(self) -> None:
        """Begin to read."""
        self._task = asyncio.create_task(self._run())

    def end_subscriptions(self) -> None:
        """Let every subscription end, before the server waits for its connections."""
        self.ending = True
        for feed in self._feeds.values():
            feed.call_all()

    def recheck(self, tenants: set[TenantId]) -> None:
        """Let the subscriptions of these tenants look whether their credentials still hold."""
        for tenant in tenants:
            if (feed := self._feeds.get(tenant)) is not None:
                feed.call_all()

    async def stop(self) -> None:
        """End reading."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def join(self, tenant: TenantId) -> Feed:
        """The tenant's feed, to which everything from now on is added until `leave`.

        Raises UnavailableError when the alert log can't be read, or the engine stops.
        """
        try:
            async with asyncio.timeout(self._limits.wait_s_max):
                await self._known.wait()
        except TimeoutError as error:
            raise UnavailableError("the alert log can't be read now") from error
        feed = self._feeds.get(tenant)
        if feed is None:
            feed = self._feeds[tenant] = Feed(self.positions, self._limits.feed_events_max, self.now_s)
        feed.subscribers += 1
        return feed

    def leave(self, tenant: TenantId) -> None:
        """Let go of a feed; nobody's is forgotten."""
        feed = self._feeds[tenant]
        feed.subscribers -= 1
        if feed.subscribers == 0:
            del self._feeds[tenant]
            # Whoever comes after has been let in anew.
            self.not_served.pop(tenant, None)

    def has_reached(self, position: Positions) -> bool:
        """Whether the hub has read as far as a client has."""
        known = self._positions or {}
        return all(seq <= known.get(partition_no, 0) for partition_no, seq in position.items())

    async def reached(self) -> Positions:
        """How far the sequences have come by now."""
        async with self._pool.connection() as connection:
            return await positions(connection)

    async def _run(self) -> None:
        while True:
            try:
                async with await connect_async(
                    self._conninfo, autocommit=True, row_factory=dict_row
                ) as connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    while True:
                        await self._read(connection)
                        async for _ in connection.notifies(timeout=self._limits.poll_s, stop_after=1):
                            pass
            except (psycopg.Error, OSError, PoolTimeout) as error:
                log.warning("the alert log can't be read now: %s", type(error).__name__)
            except Exception:
                # A hub that ended would leave its clients waiting for what never comes.
                log.exception("the alert log could not be handed on; it is read again")
            await asyncio.sleep(self._limits.poll_s)

    async def _read(self, connection: psycopg.AsyncConnection[DictRow]) -> None:
        """Publish what was committed since."""
        reached = await positions(connection)
        if not self.mark:
            self.mark = await mark_of_installation(connection)
        await self._look_for_not_served()
        if self._positions is None or not self._feeds:
            self._positions = reached
            self._known.set()
            return
        for partition_no, until in reached.items():
            while (after := self._positions.get(partition_no, 0)) < until:
                rows = await events_of_all(connection, partition_no, after, until, _PAGE_EVENTS)
                last = until if len(rows) < _PAGE_EVENTS else rows[-1]["seq"]
                self._publish(rows, partition_no, last)

    async def _look_for_not_served(self) -> None:
        """Call those whose tenant has moved or is suspended, so that they end."""
        now_s = asyncio.get_running_loop().time()
        if not self._feeds or now_s - self._looked_s < self._limits.poll_s:
            return
        self._looked_s = now_s
        feeds = dict(self._feeds)
        for tenant in await Registry(self._pool).not_served(list(feeds)):
            feed = feeds[tenant.tenant_id]
            if self._feeds.get(tenant.tenant_id) is not feed:
                # Of those who came meanwhile, it is told by the next look.
                continue
            try:
                tenant.place.require_near(tenant.name)
            except BpmError as error:
                self.not_served[tenant.tenant_id] = error
                feed.call_all()

    def _publish(self, rows: list[DictRow], partition_no: int, last: int) -> None:
        """Hand a page of events on and move to its end, in one go: who joins finds either all of it or nothing."""
        known = self.positions
        found: dict[TenantId, list[Published]] = {}
        for row in rows:
            tenant = TenantId(row["tenant_id"])
            feed = self._feeds.get(tenant)
            known[partition_no] = row["seq"]
            if feed is not None and row["seq"] > feed.before.get(partition_no, 0):
                event = event_of(row)
                frame = Frame("alert", cursors.encode(known, self.mark), event.data)
                found.setdefault(tenant, []).append(Published(event, frame))
        self._positions = known | {partition_no: last}
        for tenant, new in found.items():
            self._feeds[tenant].publish(new, self.positions)
