"""One client's way through the alerts: a snapshot or what it missed, then what happens, each once and in order."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from uuid import UUID

from api.alerts.shown import Row, shown
from api.live import cursors
from api.live.frames import AlertEvent, Facts, Frame, event_of, facts_of
from api.live.hub import Feed, Hub
from domain.errors import ForbiddenError, UnauthenticatedError
from domain.policy import Action, decide
from domain.tenancy import Actor
from storage import alerts as stored
from storage.alert_log import Positions, events_of_tenant, positions_of_tenant
from storage.transactions import Transaction, Transactions

_PAGE_EVENTS = 500


@dataclass(frozen=True, slots=True)
class Filter:
    """Which alerts are wanted: those with one of each that isn't empty."""

    sites: frozenset[str] = frozenset()
    severities: frozenset[str] = frozenset()
    rules: frozenset[UUID] = frozenset()
    packs: frozenset[str] = frozenset()

    def wants(self, facts: Facts) -> bool:
        """Whether an alert of these facts is among those wanted."""
        return (
            (not self.sites or facts.site in self.sites)
            and (not self.severities or facts.severity in self.severities)
            and (not self.rules or facts.rule_id in self.rules)
            and (not self.packs or facts.pack in self.packs)
        )


@dataclass(frozen=True, slots=True)
class Pace:
    """heartbeat_s: after so long without a frame comes a heartbeat. snapshot_alerts: open alerts in one frame."""

    heartbeat_s: float
    snapshot_alerts: int


@dataclass(slots=True, eq=False)
class Subscription:
    """What one client gets.

    now_s is asked whether the credential, which ends at ends_at_s, still counts.
    """

    actor: Actor
    ends_at_s: float
    wanted: Filter
    hub: Hub
    transactions: Transactions
    pace: Pace
    now_s: Callable[[], float]
    request_id: str
    _position: Positions = field(default_factory=dict)

    async def frames(self, cursor: str | None) -> AsyncGenerator[Frame]:
        """Frames without end: what came after the cursor, or a snapshot and what came after it.

        Raises InvalidRequestError for a cursor that is none, ForbiddenError when the policy lets the actor see alerts
        no more, UnauthenticatedError when the credential has ended.
        """
        self._position = {} if cursor is None else cursors.decode(cursor)
        self._check()
        feed = await self.hub.join(self.actor.tenant_id)
        try:
            if cursor is None or await self._is_ahead():
                async for frame in self._snapshot():
                    yield frame
            place: int | None = None
            while True:
                if place is None or place < feed.first:
                    async for frame in self._catch_up(feed, lagged=place is not None):
                        yield frame
                    place = feed.first
                changed, new = feed.changed, feed.after(place)
                place += len(new)
                for published in new:
                    if self._takes(published.event):
                        yield published.frame
                if place == feed.behind and not await self._wait(changed):
                    yield Frame("heartbeat", cursors.encode(self._position), None)
        finally:
            self.hub.leave(self.actor.tenant_id)

    def _check(self) -> None:
        if self.now_s() >= self.ends_at_s:
            raise UnauthenticatedError("the credential has ended")
        decision = decide(self.actor, Action.ALERT_READ)
        if not decision.allowed:
            raise ForbiddenError(decision.reason)

    def _takes(self, event: AlertEvent) -> bool:
        """Move on to an event of the feed; whether it is to be shown."""
        if event.seq <= self._position.get(event.partition_no, 0):
            return False
        self._position[event.partition_no] = event.seq
        return self._shows(event.facts)

    def _shows(self, facts: Facts) -> bool:
        self._check()
        return self.actor.sees_site(facts.site) and self.wanted.wants(facts)

    async def _wait(self, changed: asyncio.Event) -> bool:
        """Whether something happened before a heartbeat is due or the credential ends."""
        wait_s = min(self.pace.heartbeat_s, self.ends_at_s - self.now_s())
        try:
            async with asyncio.timeout(max(wait_s, 0)):
                await changed.wait()
        except TimeoutError:
            self._check()
            return False
        return True

    async def _is_ahead(self) -> bool:
        """Whether the cursor points behind all that there is: the store was put back since, from a backup."""
        reached = await self.hub.reached()
        return any(seq > reached.get(partition_no, 0) for partition_no, seq in self._position.items())

    async def _snapshot(self) -> AsyncIterator[Frame]:
        """The open alerts of one snapshot of the store, in pages; the last has the cursor."""
        pages: list[list[Row]] = []
        after: str | None = None
        async with self._snapshot_of_store() as transaction:
            self._position = await positions_of_tenant(transaction)
            while not pages or after is not None:
                chosen = stored.AlertFilter(state="open")
                rows, after = await stored.page(transaction, chosen, after, self.pace.snapshot_alerts)
                pages.append([shown(row) for row in rows if self._shows(facts_of(row))])
        for number, alerts in enumerate(pages, start=1):
            more = number < len(pages)
            cursor = None if more else cursors.encode(self._position)
            yield Frame("snapshot", cursor, {"alerts": alerts, "more": more})

    async def _catch_up(self, feed: Feed, *, lagged: bool) -> AsyncIterator[Frame]:
        """From the store what the feed has let go of; when the client was too slow for it, counted and said first."""
        until = dict(feed.before)
        if lagged:
            missed = 0
            async for events in self._stored(dict(self._position), until):
                missed += len(events)
            yield Frame("lagged", cursors.encode(self._position), {"events": missed})
        async for events in self._stored(self._position, until):
            for event in events:
                self._position[event.partition_no] = event.seq
                yield Frame("alert", cursors.encode(self._position), event.data)

    async def _stored(self, position: Positions, until: Positions) -> AsyncIterator[list[AlertEvent]]:
        """Pages of those events in the store that are to be shown, up to `until`; `position` is moved there."""
        for partition_no, last in until.items():
            while (after := position.get(partition_no, 0)) < last:
                async with self._snapshot_of_store() as transaction:
                    rows = await events_of_tenant(transaction, partition_no, after, last, _PAGE_EVENTS)
                yield [event_of(row) for row in rows if self._shows(facts_of(row))]
                position[partition_no] = last if len(rows) < _PAGE_EVENTS else rows[-1]["seq"]

    def _snapshot_of_store(self) -> AbstractAsyncContextManager[Transaction]:
        return self.transactions.begin(self.actor, self.request_id, read_only=True)
