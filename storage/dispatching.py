"""Deliveries made from the alert log: each event once for each channel that wants it, with the reader's position."""

import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import DictRow

from domain.alert_rules import Severity
from domain.channels import DeliveryState, EventKind, QuietHours, Wanted
from storage.alert_log import events_of_all
from storage.channels import quiet_from
from storage.database import query

Connection = psycopg.AsyncConnection[DictRow]
Row = dict[str, Any]
Key = tuple[int, UUID]
"""Tenant and channel."""


@dataclass(frozen=True, slots=True)
class DispatchLimits:
    """events_max: of one transaction. pending_max: deliveries that wait in one channel. digest_events_max: of one."""

    events_max: int
    pending_max: int
    digest_events_max: int


@dataclass(frozen=True, slots=True)
class _Channel:
    key: Key
    wanted: Wanted
    quiet: QuietHours | None


@dataclass(slots=True)
class _Made:
    """What one transaction is to write."""

    deliveries: list[Row] = field(default_factory=list)
    events: list[Row] = field(default_factory=list)
    left_out: Counter[Key] = field(default_factory=Counter)
    due: dict[Key, datetime] = field(default_factory=dict)


async def partitions_behind(connection: Connection) -> list[int]:
    """The partitions of whose log there is more to read."""
    await connection.execute(query("dispatching.add_positions"))
    cursor = await connection.execute(query("dispatching.partitions"))
    return [row["partition_no"] for row in await cursor.fetchall()]


async def dispatch(
    connection: Connection,
    partition_no: int,
    now: datetime,
    limits: DispatchLimits,
    message_of: Callable[[Row], str],
) -> int:
    """Make the deliveries of the next events of a partition, and move on, in one transaction.

    message_of: what is said of an event, as JSON text. Gives how many events were read: 0 when there are none, or
    another process is at it.
    """
    async with connection.transaction():
        position = await _one(connection, "lock_position", {"partition_no": partition_no})
        if position is None:
            return 0
        reached = await _one(connection, "alert_seq", {"partition_no": partition_no})
        assert reached is not None  # noqa: S101 - the position refers to it
        until, most = reached["alert_seq"], limits.events_max
        events = await events_of_all(connection, partition_no, position["seq"], until, most)
        if events:
            await _deliver(connection, partition_no, events, now, limits, message_of)
        seq = events[-1]["seq"] if len(events) == most else until
        await connection.execute(
            query("dispatching.move_position"), {"partition_no": partition_no, "seq": seq}
        )
        return len(events)


async def _deliver(
    connection: Connection,
    partition_no: int,
    events: Sequence[Row],
    now: datetime,
    limits: DispatchLimits,
    message_of: Callable[[Row], str],
) -> None:
    tenants = sorted({event["tenant_id"] for event in events})
    channels = [_channel(row) for row in await _rows(connection, "channels", {"tenants": tenants})]
    wanted = [
        (channel, event)
        for event in events
        for channel in channels
        if channel.key[0] == event["tenant_id"] and channel.wanted.holds_for(event)
    ]
    if not wanted:
        return
    held = {channel.key: _held_until(channel, now) for channel, _ in wanted}
    at_once = {channel.key for channel, event in wanted if not _is_held(channel, event, held)}
    waiting = await _waiting(connection, sorted(at_once), limits.pending_max)
    digests = await _open_digests(
        connection,
        {
            key: until
            for channel, event in wanted
            if _is_held(channel, event, held) and (until := held[channel.key]) is not None
            for key in [channel.key]
        },
        now,
    )
    made = _Made()
    for channel, event in wanted:
        key, message = channel.key, message_of(event)
        if _is_held(channel, event, held):
            digest = digests[key]
            made.due[key] = min(made.due.get(key, digest["quiet_until"]), digest["quiet_until"])
            if digest["events"] >= limits.digest_events_max:
                made.left_out[key[0], digest["id"]] += 1
                continue
            digest["events"] += 1
            delivery_id = digest["id"]
        else:
            delivery_id = _add_delivery(made, key, now, waiting, limits.pending_max)
        made.events.append(
            {
                "tenant_id": key[0],
                "channel_id": key[1],
                "seq": event["seq"],
                "delivery_id": delivery_id,
                "message": message,
            }
        )
    await _write(connection, partition_no, made, now)


def _add_delivery(made: _Made, key: Key, now: datetime, waiting: Counter[Key], pending_max: int) -> UUID:
    """Enter a delivery of one event; it is dead at once when too many wait before it."""
    dead = waiting[key] >= pending_max
    waiting[key] += 1
    if not dead:
        made.due[key] = now
    delivery_id = uuid.uuid4()
    made.deliveries.append(
        {
            "tenant_id": key[0],
            "id": delivery_id,
            "channel_id": key[1],
            "state": str(DeliveryState.DEAD if dead else DeliveryState.PENDING),
            "error": f"{pending_max} deliveries were waiting in the channel" if dead else None,
        }
    )
    return delivery_id


def _channel(row: Row) -> _Channel:
    return _Channel(
        (row["tenant_id"], row["id"]),
        Wanted(
            frozenset(map(EventKind, row["event_kinds"])),
            None if row["severities"] is None else frozenset(map(Severity, row["severities"])),
            None if row["rule_ids"] is None else frozenset(row["rule_ids"]),
            None if row["sites"] is None else frozenset(row["sites"]),
            row["muted"],
            row["security_alerts"],
        ),
        quiet_from(row["quiet"]),
    )


def _held_until(channel: _Channel, now: datetime) -> datetime | None:
    return None if channel.quiet is None else channel.quiet.ends_after(now)


def _is_held(channel: _Channel, event: Row, held: dict[Key, datetime | None]) -> bool:
    """Whether it waits for the end of quiet hours: unless it is critical, or the channel holds back those too."""
    if channel.quiet is None or held[channel.key] is None:
        return False
    return channel.quiet.hold_critical or event["severity"] != Severity.CRITICAL


async def _waiting(connection: Connection, keys: Sequence[Key], most: int) -> Counter[Key]:
    given = {"tenant_id": [key[0] for key in keys], "channel_id": [key[1] for key in keys], "limit": most}
    rows = await _rows(connection, "waiting", given)
    return Counter({(row["tenant_id"], row["channel_id"]): row["count"] for row in rows})


async def _open_digests(connection: Connection, until: dict[Key, datetime], now: datetime) -> dict[Key, Row]:
    if not until:
        return {}
    given = {
        "tenant_id": [key[0] for key in until],
        "channel_id": [key[1] for key in until],
        "quiet_until": list(until.values()),
        "now": now,
    }
    rows = await _rows(connection, "open_digests", given)
    return {(row["tenant_id"], row["channel_id"]): row for row in rows}


async def _write(connection: Connection, partition_no: int, made: _Made, now: datetime) -> None:
    if made.deliveries:
        await _rows(connection, "insert_deliveries", _columns(made.deliveries) | {"now": now})
    if made.events:
        await _rows(connection, "insert_events", _columns(made.events) | {"partition_no": partition_no})
    if made.left_out:
        left_out = [
            {"tenant_id": tenant, "id": id_, "events": count}
            for (tenant, id_), count in made.left_out.items()
        ]
        await _rows(connection, "leave_out", _columns(left_out))
    if made.due:
        due = [
            {"tenant_id": tenant, "channel_id": id_, "due_at": due_at}
            for (tenant, id_), due_at in made.due.items()
        ]
        await _rows(connection, "wake", _columns(due))


def _columns(rows: Sequence[Row]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


async def _rows(connection: Connection, name: str, parameters: Row) -> list[DictRow]:
    cursor = await connection.execute(query(f"dispatching.{name}"), parameters)
    return await cursor.fetchall() if cursor.description else []


async def _one(connection: Connection, name: str, parameters: Row) -> DictRow | None:
    rows = await _rows(connection, name, parameters)
    return rows[0] if rows else None
