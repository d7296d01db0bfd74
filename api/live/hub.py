"""The one reader of the alert log in a process: it hands what is new to all who are subscribed (rule E20)."""

import asyncio
import logging
from collections import deque
from dataclasses import dataclass

import psycopg
from psycopg.rows import dict_row

from api.live import cursors
from api.live.frames import AlertEvent, Frame, event_of
from domain.errors import UnavailableError
from domain.tenancy import TenantId
from storage.alert_log import Positions, events_of_all, positions
from storage.alerting import CHANNEL
from storage.transactions import Pool

log = logging.getLogger(__name__)

_PAGE_EVENTS = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Published:
    """An event with its frame."""

    event: AlertEvent
    frame: Frame


class Feed:
    """The newest events of a tenant. Those who are subscribed keep only how far they have come in it.

    before: the positions behind which every event of the tenant, as far as the hub has read, stands in the feed.
    """

    def __init__(self, before: Positions, events_max: int) -> None:
        self.before = before
        self.subscribers = 0
        self.changed = asyncio.Event()
        self._events: deque[Published] = deque(maxlen=events_max)
        self._events_max = events_max
        self._first = 0

    @property
    def first(self) -> int:
        """The place of the oldest event that the feed still has."""
        return self._first

    @property
    def behind(self) -> int:
        """The place of the next event."""
        return self._first + len(self._events)

    def append(self, published: Published) -> None:
        """Add an event; the oldest is let go when there is no room."""
        if len(self._events) == self._events_max:
            oldest = self._events[0].event
            self.before[oldest.partition_no] = oldest.seq
            self._first += 1
        self._events.append(published)

    def wake(self) -> None:
        """Wake all who wait for a change."""
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    def after(self, place: int) -> list[Published]:
        """The events from a place on that the feed still has."""
        count = min(self.behind - place, len(self._events))
        return [self._events[index] for index in range(-count, 0)]


class Hub:
    """Reads what is new when it is notified, and every `poll_s` in any case: a lost notification only delays."""

    def __init__(
        self, conninfo: str, pool: Pool, *, poll_s: float, wait_s_max: float, events_max: int
    ) -> None:
        self._conninfo = conninfo
        self._pool = pool
        self._wait_s_max = wait_s_max
        self._poll_s = poll_s
        self._events_max = events_max
        self._feeds: dict[TenantId, Feed] = {}
        self._positions: Positions | None = None
        self._task: asyncio.Task[None] | None = None
        self._known = asyncio.Event()

    def start(self) -> None:
        """Begin to read."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End reading."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def join(self, tenant: TenantId) -> Feed:
        """The tenant's feed, to which everything from now on is added until `leave`.

        Raises UnavailableError when the alert log can't be read.
        """
        try:
            async with asyncio.timeout(self._wait_s_max):
                await self._known.wait()
        except TimeoutError as error:
            raise UnavailableError("the alert log can't be read now") from error
        feed = self._feeds.get(tenant)
        if feed is None:
            feed = self._feeds[tenant] = Feed(dict(self._positions or {}), self._events_max)
        feed.subscribers += 1
        return feed

    def leave(self, tenant: TenantId) -> None:
        """Let go of a feed; nobody's is forgotten."""
        feed = self._feeds[tenant]
        feed.subscribers -= 1
        if feed.subscribers == 0:
            del self._feeds[tenant]

    async def reached(self) -> Positions:
        """How far the sequences have come by now."""
        async with self._pool.connection() as connection:
            return await positions(connection)

    async def _run(self) -> None:
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    self._conninfo, autocommit=True, row_factory=dict_row
                ) as connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    while True:
                        await self._read(connection)
                        async for _ in connection.notifies(timeout=self._poll_s, stop_after=1):
                            pass
            except (psycopg.Error, OSError) as error:
                log.warning("the alert log can't be read now: %s", type(error).__name__)
                await asyncio.sleep(self._poll_s)

    async def _read(self, connection: psycopg.AsyncConnection[dict[str, object]]) -> None:
        """Publish what was committed since."""
        reached = await positions(connection)
        if self._positions is None or not self._feeds:
            self._positions = reached
            self._known.set()
            return
        for partition_no, until in reached.items():
            while (after := self._positions.get(partition_no, 0)) < until:
                rows = await events_of_all(connection, partition_no, after, until, _PAGE_EVENTS)
                for row in rows:
                    self._publish(TenantId(row["tenant_id"]), row)
                self._positions[partition_no] = until if len(rows) < _PAGE_EVENTS else rows[-1]["seq"]
        for feed in self._feeds.values():
            feed.wake()

    def _publish(self, tenant: TenantId, row: dict[str, object]) -> None:
        feed = self._feeds.get(tenant)
        if feed is None or self._positions is None:
            return
        event = event_of(row)
        self._positions[event.partition_no] = event.seq
        if event.seq > feed.before.get(event.partition_no, 0):
            feed.append(Published(event, Frame("alert", cursors.encode(self._positions), event.data)))
