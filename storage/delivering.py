"""Deliveries taken up, sent by who took them up, and marked; what is old is given up or dropped."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from domain.channels import ChannelKind, DeliveryKind, DeliveryState
from domain.tenancy import TenantId
from storage.database import query

Connection = psycopg.AsyncConnection[DictRow]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ClaimedChannel:
    """A channel that this process sends through until the claim's end."""

    tenant_id: TenantId
    id: UUID
    name: str
    kind: ChannelKind
    url: str | None
    recipients: tuple[str, ...]
    secret: bytes | None
    former_secret: bytes | None
    former_secret_until: datetime | None
    failures: int
    failing_since: datetime | None
    version: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt. attempts: of all times, by which it is known. tries: since it was made, or replayed."""

    id: UUID
    kind: DeliveryKind
    attempts: int
    tries: int
    queued_at: datetime
    created_at: datetime
    quiet_until: datetime | None
    left_out: int
    messages: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of an attempt. due_at: of the next one, when it is pending still."""

    state: DeliveryState
    due_at: datetime | None = None
    status: int | None = None
    answer: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """How a channel stands after an attempt. rests_until: nothing is sent before. disabled_reason: it is off now."""

    failures: int = 0
    failing_since: datetime | None = None
    rests_until: datetime | None = None
    disabled_reason: str | None = None


async def claim(
    connection: Connection, now: datetime, busy_until: datetime, limit: int
) -> list[ClaimedChannel]:
    """Channels with something due that nobody sends through, from now on this process's until `busy_until`."""
    given = {"now": now, "busy_until": busy_until, "limit": limit}
    async with connection.transaction():
        rows = await _rows(connection, "claim_channels", given)
    return [
        ClaimedChannel(
            tenant_id=TenantId(row["tenant_id"]),
            id=row["id"],
            name=row["name"],
            kind=ChannelKind(row["kind"]),
            url=row["url"],
            recipients=tuple(row["recipients"] or ()),
            secret=row["secret"],
            former_secret=row["former_secret"],
            former_secret_until=row["former_secret_until"],
            failures=row["failures"],
            failing_since=row["failing_since"],
            version=row["version"],
        )
        for row in rows
    ]


async def take(
    connection: Connection, channel: ClaimedChannel, now: datetime, busy_until: datetime
) -> Delivery | None:
    """The channel's oldest delivery that is due, as a new attempt.

    None when there is none, or the channel was changed since it was claimed.
    """
    key = _key(channel)
    async with connection.transaction():
        if await _changed(connection, channel) is not None:
            return None
        rows = await _rows(connection, "take_delivery", key | {"now": now})
        if not rows:
            return None
        await _rows(connection, "keep", key | {"busy_until": busy_until})
        taken = rows[0]
        messages = await _rows(connection, "messages", key | {"id": taken["id"]})
    return Delivery(
        id=taken["id"],
        kind=DeliveryKind(taken["kind"]),
        attempts=taken["attempts"],
        tries=taken["tries"],
        queued_at=taken["queued_at"],
        created_at=taken["created_at"],
        quiet_until=taken["quiet_until"],
        left_out=taken["left_out"],
        messages=tuple(row["message"] for row in messages),
    )


async def end(
    connection: Connection,
    channel: ClaimedChannel,
    delivery: Delivery,
    ended: Ended,
    standing: Standing,
    busy_until: datetime,
    now: datetime,
) -> bool:
    """Write what became of an attempt, and how the channel stands. Gives whether the channel is still this process's.

    It stays so until `busy_until`, unless it rests or is disabled. What is disabled is audited. Of a channel that was
    changed meanwhile the answer says nothing: what is to be tried again is due at once.
    """
    async with connection.transaction():
        changed = await _changed(connection, channel)
        due_at = ended.due_at if changed is None or ended.due_at is None else now
        marked = {
            "id": delivery.id,
            "attempts": delivery.attempts,
            "state": str(ended.state),
            "due_at": due_at,
            "status": ended.status,
            "answer": ended.answer,
            "error": ended.error,
            "now": now,
        }
        if not await _rows(connection, "end_attempt", _key(channel) | marked):
            # Somebody else has taken it up since, and lets the channel go.
            return False
        if changed is not None:
            await _release(connection, channel, changed, None)
            return False
        free = standing.disabled_reason is not None
        await _release(connection, channel, standing, None if free else standing.rests_until or busy_until)
        if standing.disabled_reason is not None:
            await _audit_disabled(connection, channel, delivery, standing.disabled_reason)
    return not free


async def release(connection: Connection, channel: ClaimedChannel, standing: Standing) -> None:
    """Let others send through the channel, once it has rested."""
    async with connection.transaction():
        changed = await _changed(connection, channel)
        await _release(connection, channel, changed or standing, (changed or standing).rests_until)


async def _changed(connection: Connection, channel: ClaimedChannel) -> Standing | None:
    """Lock the channel; how it stands now when it was changed since it was claimed, else None."""
    (row,) = await _rows(connection, "lock_channel", _key(channel))
    return None if row["version"] == channel.version else Standing(row["failures"], row["failing_since"])


async def _release(
    connection: Connection, channel: ClaimedChannel, standing: Standing, busy_until: datetime | None
) -> None:
    given = {
        "busy_until": busy_until,
        "failures": standing.failures,
        "failing_since": standing.failing_since,
        "disabled_reason": standing.disabled_reason,
    }
    await _rows(connection, "release", _key(channel) | given)


async def _audit_disabled(
    connection: Connection, channel: ClaimedChannel, delivery: Delivery, reason: str
) -> None:
    row = {
        "tenant_id": channel.tenant_id,
        "subject": "engine",
        "action": "channels.disabled",
        "resource": "channels",
        "resource_id": str(channel.id),
        "before": None,
        "after": Jsonb({"disabled_reason": reason}),
        "request_id": f"delivery {delivery.id}",
        "client_address": None,
        "site": None,
    }
    await connection.execute(query("records.audit"), row)


async def email_wait_s(
    connection: Connection, tenant_id: TenantId, now: datetime, per_hour_max: int
) -> float | None:
    """Seconds until the tenant may send an e-mail again; None when it may now."""
    hour = timedelta(hours=1)
    given = {"tenant_id": tenant_id, "since": now - hour, "limit": per_hour_max}
    (row,) = await _rows(connection, "emails_since", given)
    if row["count"] < per_hour_max:
        return None
    again_at: datetime = row["first_at"] + hour
    return max(0.0, (again_at - now).total_seconds())


async def expire(connection: Connection, before: datetime, now: datetime, error: str, limit: int) -> int:
    """Give up what has waited since before a moment. Gives how many, at most `limit`."""
    given = {"before": before, "now": now, "error": error, "limit": limit}
    return len(await _rows(connection, "expire", given))


async def drop(connection: Connection, before: datetime, limit: int) -> int:
    """Drop what ended before a moment. Gives how many, at most `limit`."""
    return len(await _rows(connection, "drop", {"before": before, "limit": limit}))


async def oldest_due(connection: Connection) -> datetime | None:
    """Since when the delivery that waits longest has been due."""
    (row,) = await _rows(connection, "oldest_due", {})
    due_at: datetime | None = row["due_at"]
    return due_at


def _key(channel: ClaimedChannel) -> Row:
    return {"tenant_id": channel.tenant_id, "channel_id": channel.id}


async def _rows(connection: Connection, name: str, parameters: Row) -> list[DictRow]:
    cursor = await connection.execute(query(f"dispatching.{name}"), parameters)
    return await cursor.fetchall() if cursor.description else []
