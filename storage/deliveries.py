"""Deliveries as requests see them: listed, read, and queued once more."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.rows import DictRow

from domain.channels import DeliveryState
from domain.errors import ConflictError, NotFoundError
from storage import channels
from storage.cursors import Cursors
from storage.transactions import Transaction

_DELIVERIES = Cursors("deliveries")

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Which deliveries are asked for; None asks for all."""

    channel: UUID | None = None
    state: str | None = None


async def page(
    transaction: Transaction, chosen: DeliveryFilter, cursor: str | None, limit: int
) -> tuple[list[DictRow], str | None]:
    """Deliveries, newest first, and the cursor of the next page."""
    asked = _asked(chosen, None) | {"after": _DELIVERIES.decode_number(cursor), "limit": limit + 1}
    return _DELIVERIES.page(await transaction.rows("deliveries.list", asked), limit, "delivery_no")


def _asked(chosen: DeliveryFilter, delivery_id: UUID | None) -> Row:
    return {"id": delivery_id, "channel": chosen.channel, "state": chosen.state}


async def get(transaction: Transaction, delivery_id: UUID) -> DictRow:
    """The delivery. Raises NotFoundError."""
    asked = _asked(DeliveryFilter(), delivery_id) | {"after": None, "limit": 1}
    row = await transaction.one("deliveries.list", asked)
    if row is None:
        raise NotFoundError("there is no such delivery")
    return row


async def messages(transaction: Transaction, delivery_id: UUID, limit: int) -> list[Row]:
    """What is said of its events, in their order; at most `limit`."""
    rows = await transaction.rows("deliveries.messages", {"id": delivery_id, "limit": limit})
    return [row["message"] for row in rows]


async def replay(transaction: Transaction, delivery_id: UUID, now: datetime) -> None:
    """Queue a delivery once more, under its id; one that waits is let alone.

    Raises NotFoundError, ConflictError when its channel was deleted.
    """
    found = await transaction.one("deliveries.channel_of", {"id": delivery_id})
    if found is None:
        raise NotFoundError("there is no such delivery")
    channel = {"id": found["channel_id"]}
    if await transaction.one("channels.lock", channel) is None:
        raise ConflictError("its channel was deleted")
    await transaction.rows("deliveries.replay", {"id": delivery_id, "now": now})
    await transaction.rows("channels.wake", channel | {"due": now})
    await transaction.audit("deliveries.replayed", "deliveries", str(delivery_id), None, None)


async def replay_many(
    transaction: Transaction,
    channel_id: UUID,
    states: Sequence[DeliveryState],
    starts: datetime,
    ends: datetime,
    now: datetime,
    limit: int,
) -> int:
    """Queue deliveries made in starts <= t < ends once more, oldest first. Gives how many, at most `limit`.

    Raises NotFoundError.
    """
    await channels.get(transaction, channel_id)
    await transaction.rows("channels.lock", {"id": channel_id})
    asked = {
        "channel": channel_id,
        "states": [str(state) for state in states],
        "from": starts,
        "to": ends,
        "now": now,
        "limit": limit,
    }
    count = len(await transaction.rows("deliveries.replay_many", asked))
    await transaction.rows("channels.wake", {"id": channel_id, "due": now})
    await transaction.audit("channels.replayed", "channels", str(channel_id), None, {"deliveries": count})
    return count
