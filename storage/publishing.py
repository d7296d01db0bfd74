"""The alert log, read once for a topic, with the reader's position."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg.rows import DictRow

from storage.alert_log import events_of_all
from storage.database import query

Connection = psycopg.AsyncConnection[DictRow]
Row = dict[str, Any]

_TAKE_S: Final = 1.0
"""How often what the database tells is taken from it while the topic's acknowledgement is waited for."""


async def partitions_behind(connection: Connection) -> list[int]:
    """The partitions of whose log there is more to publish."""
    await connection.execute(query("publishing.add_positions"))
    cursor = await connection.execute(query("publishing.partitions"))
    return [row["partition_no"] for row in await cursor.fetchall()]


async def publish(
    connection: Connection,
    partition_no: int,
    events_max: int,
    send: Callable[[Sequence[Row]], Awaitable[None]],
    turn_s_max: float,
) -> int:
    """Send the next events of a partition, and move on once they are durable; an end in between sends them again.

    The turn is a lock of the session, which ends with it, and not of a transaction: one that was open for as long as
    brokers are away would hold up vacuums and migrations, and let live figures be read again and again.

    connection: commits each statement by itself. send: gets events with their `tenant_name`. turn_s_max: after so long
    without an acknowledgement it is another process's turn, which may reach the brokers; then the events of this turn
    come twice. Gives how many there were: 0 when there are none, or another process is at it.
    """
    async with _turn(connection, partition_no) as turn:
        page = await _next_page(connection, partition_no, events_max) if turn.mine else None
        if page is None:
            return 0
        sending = asyncio.ensure_future(send(page.events))
        try:
            while not await _is_done(sending, connection, turn_s_max):
                await turn.end()
            await sending
        finally:
            sending.cancel()
        await _move(connection, page)
        return len(page.events)


@dataclass(frozen=True, slots=True)
class _Page:
    """Events of a partition's log. before, until: the position without and with them."""

    partition_no: int
    before: int
    until: int
    events: Sequence[Row]


@dataclass(slots=True)
class _Turn:
    """Whether this process is the only one that publishes events of a partition."""

    connection: Connection
    partition_no: int
    mine: bool = False

    async def end(self) -> None:
        if self.mine and not self.connection.closed:
            self.mine = False
            await self.connection.execute(query("publishing.end_turn"), {"partition_no": self.partition_no})


@asynccontextmanager
async def _turn(connection: Connection, partition_no: int) -> AsyncIterator[_Turn]:
    """A turn, unless another process has it; it ends with the block."""
    asked = {"partition_no": partition_no}
    (row,) = await (await connection.execute(query("publishing.take_turn"), asked)).fetchall()
    turn = _Turn(connection, partition_no, row["mine"])
    try:
        yield turn
    finally:
        await turn.end()


async def _next_page(connection: Connection, partition_no: int, events_max: int) -> _Page | None:
    """The next events, with the names of their tenants; None when there are none."""
    at = {"partition_no": partition_no}
    (position,) = await (await connection.execute(query("publishing.position"), at)).fetchall()
    before, until = position["seq"], position["alert_seq"]
    events = await events_of_all(connection, partition_no, before, until, events_max)
    page = _Page(partition_no, before, events[-1]["seq"] if len(events) == events_max else until, events)
    if not events:
        await _move(connection, page)
        return None
    tenants = {"tenants": sorted({event["tenant_id"] for event in events})}
    rows = await (await connection.execute(query("publishing.tenant_names"), tenants)).fetchall()
    names = {row["tenant_id"]: row["name"] for row in rows}
    return _Page(
        partition_no,
        before,
        page.until,
        [{**event, "tenant_name": names[event["tenant_id"]]} for event in events],
    )


async def _is_done(sending: asyncio.Future[None], connection: Connection, wait_s_max: float) -> bool:
    """Whether it is within the time.

    What the database tells meanwhile is taken from it: it is kept for all who listen until each has it. A connection
    that has ended is noticed by that, too.
    """
    loop = asyncio.get_running_loop()
    until_s = loop.time() + wait_s_max
    while not sending.done() and (left_s := until_s - loop.time()) > 0:
        await asyncio.wait({sending}, timeout=min(_TAKE_S, left_s))
        if not sending.done():
            async for _ in connection.notifies(timeout=0):
                pass
    return sending.done()


async def _move(connection: Connection, page: _Page) -> None:
    at = {"partition_no": page.partition_no, "before": page.before, "seq": page.until}
    await connection.execute(query("publishing.move_position"), at)
