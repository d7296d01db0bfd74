"""The alert log, read once for a topic, with the reader's position."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import psycopg
from psycopg.rows import DictRow

from storage.alert_log import events_of_all
from storage.database import query

Connection = psycopg.AsyncConnection[DictRow]
Row = dict[str, Any]


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
) -> int:
    """Send the next events of a partition, and move on once they are durable; an end in between sends them again.

    send: gets events with their `tenant_name`. Gives how many there were: 0 when there are none, or another process
    is at it.
    """
    async with connection.transaction():
        at = {"partition_no": partition_no}
        position = await (await connection.execute(query("publishing.lock_position"), at)).fetchone()
        if position is None:
            return 0
        until = position["alert_seq"]
        events = await events_of_all(connection, partition_no, position["seq"], until, events_max)
        if events:
            tenants = {"tenants": sorted({event["tenant_id"] for event in events})}
            rows = await (await connection.execute(query("publishing.tenant_names"), tenants)).fetchall()
            names = {row["tenant_id"]: row["name"] for row in rows}
            await send([{**event, "tenant_name": names[event["tenant_id"]]} for event in events])
        seq = events[-1]["seq"] if len(events) == events_max else until
        await connection.execute(query("publishing.move_position"), at | {"seq": seq})
        return len(events)
