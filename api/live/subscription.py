"""One client's way through the alerts: a snapshot or what it missed, then what happens, each once and in order."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Protocol

from api.alerts.shown import Row, shown
from api.live import cursors
from api.live.audience import Audience
from api.live.feed import Feed, Parked
from api.live.frames import AlertEvent, Facts, Frame, event_of, facts_of
from api.live.hub import Hub
from domain.errors import UnauthenticatedError, UnavailableError
from storage import alerts as stored
from storage.alert_log import Positions, events_of_tenant, positions_of_tenant
from storage.transactions import Transaction, Transactions

_PAGE_EVENTS = 500


@dataclass(frozen=True, slots=True)
class Pace:
    """heartbeat_s: after so long without a frame comes a heartbeat. snapshot_alerts: open alerts in one frame."""

    heartbeat_s: float
    snapshot_alerts: int


class Sink(Protocol):
    """A way to a client that doesn't wait."""

    def push(self, frames: bytes, /) -> bool:
        """Write whole frames at once; whether the client keeps up."""

    async def drained(self) -> None:
        """Return when the client has caught up. Raises TooSlowError when it doesn't in time."""


def _now_s() -> float:
    return asyncio.get_running_loop().time()


@dataclass(slots=True, eq=False)
class Subscription:
    """What one client gets.

    ends_at_s: when its credential ends. check_credential: raises when it has ended before, or may do other
    things by now. sink: through it the hub writes to the client itself, as long as the client keeps up.
    """

    audience: Audience
    ends_at_s: float
    check_credential: Callable[[], None]
    hub: Hub
    transactions: Transactions
    pace: Pace
    request_id: str
    sink: Sink | None = None
    _position: Positions = field(default_factory=dict)
    _quiet_since_s: float = 0.0

    async def frames(self, cursor: str | None) -> AsyncGenerator[Frame]:
        """Frames without end: what came after the cursor, or a snapshot and what came after it.

        Raises InvalidRequestError for a cursor that is none, ForbiddenError when the policy lets the actor see no
        alerts, UnauthenticatedError when the credential has ended, CredentialChangedError when it may do other things,
        UnavailableError when the engine stops, TenantElsewhereError when the tenant has moved to another cell.
        """
        # What isn't a cursor is said at once, though whose it is can be told only later.
        _ = None if cursor is None else cursors.decode(cursor, self.hub.mark)
        self._check()
        tenant = self.audience.actor.tenant_id
        feed = await self.hub.join(tenant)
        try:
            position = None if cursor is None else cursors.decode(cursor, self.hub.mark)
            self._position = position or {}
            if position is None or await self._is_ahead():
                async for frame in self._snapshot():
                    yield frame
            self._quiet_since_s = _now_s()
            async for frame in self._following(feed):
                yield frame
                self._quiet_since_s = _now_s()
        finally:
            self.hub.leave(tenant)

    async def _following(self, feed: Feed) -> AsyncIterator[Frame]:
        place: int | None = None
        while True:
            self._check()
            if place is None or place < feed.first:
                # Both of one moment: while the store is read, the feed goes on and may let go of more.
                first, until = feed.first, dict(feed.before)
                async for frame in self._catch_up(until, lagged=place is not None):
                    yield frame
                place = first
                continue
            changed, new = feed.changed, feed.after(place)
            place += len(new)
            for published in new:
                if self._takes(published.event):
                    yield published.frame
            if place == feed.behind:
                place = await self._wait(feed, changed)
            if _now_s() >= self._quiet_since_s + self.pace.heartbeat_s:
                yield Frame("heartbeat", cursors.encode(self._position, self.hub.mark), None)

    def _check(self) -> None:
        if self.hub.ending:
            raise UnavailableError("the engine is stopping")
        if (reason := self.hub.not_served.get(self.audience.actor.tenant_id)) is not None:
            raise reason
        if self.hub.now_s() >= self.ends_at_s:
            raise UnauthenticatedError("the credential has ended")
        self.check_credential()
        self.audience.check()

    def _takes(self, event: AlertEvent) -> bool:
        """Move on to an event of the feed; whether it is to be shown."""
        if event.seq <= self._position.get(event.partition_no, 0):
            return False
        self._position[event.partition_no] = event.seq
        return self._shows(event.facts)

    def _shows(self, facts: Facts) -> bool:
        self._check()
        return self.audience.gets(facts)

    async def _wait(self, feed: Feed, changed: asyncio.Event) -> int:
        """Wait for what is new, a heartbeat or the end of the credential; the place in the feed afterwards."""
        due_s = self._quiet_since_s + self.pace.heartbeat_s - _now_s()
        wait_s = max(min(due_s, self.ends_at_s - self.hub.now_s()), 0)
        if self.sink is not None and self.hub.has_reached(self._position):
            return await self._park(self.sink, feed, wait_s)
        place = feed.behind
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await changed.wait()
        return place

    async def _park(self, sink: Sink, feed: Feed, wait_s: float) -> int:
        parked = Parked(sink.push, self.ends_at_s, feed.behind, self._position, self._quiet_since_s)
        feed.park(self.audience, parked)
        try:
            async with asyncio.timeout(wait_s):
                await parked.called.wait()
        except TimeoutError:
            pass
        finally:
            feed.leave(self.audience, parked)
        self._quiet_since_s = parked.pushed_at_s
        if parked.called.is_set():
            self._position = parked.position
            await sink.drained()
            return parked.place
        self._position = self.hub.positions
        return feed.behind

    async def _is_ahead(self) -> bool:
        """Whether the cursor points behind all that there is: the store was put back since, from a backup."""
        if self.hub.has_reached(self._position):
            return False
        reached = await self.hub.reached()
        return any(seq > reached.get(partition_no, 0) for partition_no, seq in self._position.items())

    async def _snapshot(self) -> AsyncIterator[Frame]:
        """The open alerts of one snapshot of the store, in pages; the last has the cursor."""
        pages: list[list[Row]] = []
        after: str | None = None
        # What the hub had read before is in the snapshot, also where others' events came after the tenant's last.
        known = self.hub.positions
        async with self._snapshot_of_store() as transaction:
            own = await positions_of_tenant(transaction)
            while not pages or after is not None:
                chosen = stored.AlertFilter(state="open")
                rows, after = await stored.page(transaction, chosen, after, self.pace.snapshot_alerts)
                pages.append([shown(row) for row in rows if self._shows(facts_of(row))])
        self._position = {
            number: max(own.get(number, 0), known.get(number, 0)) for number in own.keys() | known.keys()
        }
        for number, alerts in enumerate(pages, start=1):
            self._check()
            more = number < len(pages)
            cursor = None if more else cursors.encode(self._position, self.hub.mark)
            yield Frame("snapshot", cursor, {"alerts": alerts, "more": more})

    async def _catch_up(self, until: Positions, *, lagged: bool) -> AsyncIterator[Frame]:
        """From the store what the feed has let go of; when the client was too slow for it, counted and said first."""
        if lagged:
            missed = 0
            async for events in self._stored(dict(self._position), until):
                missed += len(events)
            yield Frame("lagged", cursors.encode(self._position, self.hub.mark), {"events": missed})
        async for events in self._stored(self._position, until):
            for event in events:
                self._check()
                self._position[event.partition_no] = event.seq
                yield Frame("alert", cursors.encode(self._position, self.hub.mark), event.data)

    async def _stored(self, position: Positions, until: Positions) -> AsyncIterator[list[AlertEvent]]:
        """Pages of those events in the store that are to be shown, up to `until`; `position` is moved there."""
        for partition_no, last in until.items():
            while (after := position.get(partition_no, 0)) < last:
                async with self._snapshot_of_store() as transaction:
                    rows = await events_of_tenant(transaction, partition_no, after, last, _PAGE_EVENTS)
                yield [event_of(row) for row in rows if self._shows(facts_of(row))]
                position[partition_no] = last if len(rows) < _PAGE_EVENTS else rows[-1]["seq"]

    @contextlib.asynccontextmanager
    async def _snapshot_of_store(self) -> AsyncIterator[Transaction]:
        """A snapshot; few are read at once, so that many clients who come together leave connections to requests."""
        async with (
            self.hub.reading,
            self.transactions.begin(self.audience.actor, self.request_id, read_only=True) as transaction,
        ):
            yield transaction
