"""Channels as requests see them. Their secrets are written here and never read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, time
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from domain.channels import ChannelKind, QuietHours, Weekday
from domain.errors import ConflictError, NotFoundError
from storage.cursors import Cursors
from storage.records import require_version
from storage.transactions import Transaction

_CHANNELS = Cursors("channels")

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ChannelFacts:
    """What is set of a channel. None for severities, rules and sites is all."""

    name: str
    enabled: bool
    url: str | None
    recipients: tuple[str, ...] | None
    event_kinds: tuple[str, ...]
    severities: tuple[str, ...] | None
    rule_ids: tuple[UUID, ...] | None
    site_ids: tuple[UUID, ...] | None
    muted: bool
    quiet: QuietHours | None
    security_alerts: bool = False


def quiet_from(row: Mapping[str, Any] | None) -> QuietHours | None:
    """Quiet hours from how they are stored."""
    if row is None:
        return None
    return QuietHours(
        zone=row["zone"],
        starts=time.fromisoformat(row["from"]),
        ends=time.fromisoformat(row["to"]),
        days=frozenset(map(Weekday, row["days"])),
        hold_critical=row["hold_critical"],
    )


def quiet_row(quiet: QuietHours | None) -> Row | None:
    """Quiet hours as they are stored, and answered."""
    if quiet is None:
        return None
    return {
        "zone": quiet.zone,
        "from": quiet.starts.isoformat("minutes"),
        "to": quiet.ends.isoformat("minutes"),
        "days": [str(day) for day in Weekday if day in quiet.days],
        "hold_critical": quiet.hold_critical,
    }


async def create(
    transaction: Transaction,
    channel_id: UUID,
    kind: ChannelKind,
    facts: ChannelFacts,
    secret: bytes | None,
    now: datetime,
    channels_max: int,
) -> DictRow:
    """The new channel. Raises ConflictError: the name is taken, or there are too many; NotFoundError for a rule."""
    count = await transaction.one("channels.count")
    if count is not None and count["count"] >= channels_max:
        raise ConflictError(f"there are {channels_max} channels already", limit=channels_max)
    values = await _values(transaction, facts)
    given = {"kind": str(kind), "secret": secret, "created_by": transaction.actor.subject, "created_at": now}
    await _write(transaction, "channels.insert", values | given | {"id": channel_id})
    after = await get(transaction, channel_id)
    await transaction.audit("channels.created", "channels", str(channel_id), None, after)
    return after


async def _values(transaction: Transaction, facts: ChannelFacts) -> Row:
    if facts.rule_ids is not None:
        found = await transaction.rows("channels.known_rules", {"rules": list(facts.rule_ids)})
        if {row["id"] for row in found} != set(facts.rule_ids):
            raise NotFoundError("there is no such rule", field="rules")

    def listed(given: tuple[Any, ...] | None) -> list[Any] | None:
        return None if given is None else list(given)

    return {
        "name": facts.name,
        "enabled": facts.enabled,
        "url": facts.url,
        "recipients": listed(facts.recipients),
        "event_kinds": list(facts.event_kinds),
        "severities": listed(facts.severities),
        "rule_ids": listed(facts.rule_ids),
        "site_ids": listed(facts.site_ids),
        "muted": facts.muted,
        "security_alerts": facts.security_alerts,
        "quiet": None if facts.quiet is None else Jsonb(quiet_row(facts.quiet)),
    }


async def _write(transaction: Transaction, name: str, values: Row) -> None:
    try:
        await transaction.rows(name, values)
    except psycopg.errors.UniqueViolation as error:
        raise ConflictError("the name is taken in channels", field="name") from error


async def get(transaction: Transaction, channel_id: UUID) -> DictRow:
    """The channel. Raises NotFoundError, also for one that was deleted."""
    row = await transaction.one("channels.list", {"id": channel_id, "after": None, "limit": 1})
    if row is None:
        raise NotFoundError("there is no such channel")
    return row


async def page(transaction: Transaction, cursor: str | None, limit: int) -> tuple[list[DictRow], str | None]:
    """Channels by name, and the cursor of the next page."""
    asked = {"id": None, "after": _CHANNELS.decode(cursor), "limit": limit + 1}
    return _CHANNELS.page(await transaction.rows("channels.list", asked), limit, "name")


async def _lock(transaction: Transaction, channel_id: UUID) -> int:
    row = await transaction.one("channels.lock", {"id": channel_id})
    if row is None:
        raise NotFoundError("there is no such channel")
    return int(row["version"])


async def change(
    transaction: Transaction,
    channel_id: UUID,
    version: int,
    decide: Callable[[DictRow], ChannelFacts],
    now: datetime,
) -> DictRow:
    """The changed channel; one that is switched on, or goes elsewhere, forgets that it failed, and goes on at once.

    Raises NotFoundError, PreconditionFailedError, ConflictError (the name is taken).
    """
    require_version(await _lock(transaction, channel_id), version)
    before = await get(transaction, channel_id)
    facts = decide(before)
    anew = facts.enabled and (not before["enabled"] or facts.url != before["url"])
    values = await _values(transaction, facts)
    await _write(transaction, "channels.update", values | {"id": channel_id, "begins_anew": anew})
    if anew:
        await transaction.rows("channels.hasten", {"id": channel_id, "now": now})
        await transaction.rows("channels.wake", {"id": channel_id, "due": now})
    after = await get(transaction, channel_id)
    await transaction.audit("channels.changed", "channels", str(channel_id), before, after)
    return after


async def rotate(
    transaction: Transaction, channel_id: UUID, secret: bytes, former_until: datetime
) -> DictRow:
    """The channel with another secret. Raises NotFoundError, ConflictError when it has none."""
    await _lock(transaction, channel_id)
    given = {"id": channel_id, "secret": secret, "former_until": former_until}
    if await transaction.one("channels.rotate", given) is None:
        raise ConflictError("an e-mail channel has no secret")
    await transaction.audit("channels.rotated", "channels", str(channel_id), None, None)
    return await get(transaction, channel_id)


async def delete(transaction: Transaction, channel_id: UUID, now: datetime) -> None:
    """Delete a channel: what waits in it is given up. Raises NotFoundError."""
    await _lock(transaction, channel_id)
    before = await get(transaction, channel_id)
    await transaction.rows("channels.delete", {"id": channel_id, "now": now})
    await transaction.rows("channels.end_waiting", {"id": channel_id, "now": now})
    await transaction.audit("channels.deleted", "channels", str(channel_id), before, None)


async def queue_test(
    transaction: Transaction, channel_id: UUID, delivery_id: UUID, now: datetime, pending_max: int
) -> None:
    """Queue a message that tries the channel. Raises NotFoundError, ConflictError: it is off, or too full."""
    await _lock(transaction, channel_id)
    if not (await get(transaction, channel_id))["enabled"]:
        raise ConflictError("the channel is off: enable it first", field="enabled")
    waiting = await transaction.one("channels.waiting", {"id": channel_id, "limit": pending_max})
    if waiting is not None and waiting["count"] >= pending_max:
        raise ConflictError(f"{pending_max} deliveries wait in the channel", limit=pending_max)
    await transaction.rows("channels.queue_test", {"id": delivery_id, "channel_id": channel_id, "now": now})
    await transaction.rows("channels.wake", {"id": channel_id, "due": now})
    await transaction.audit("channels.tested", "channels", str(channel_id), None, None)
