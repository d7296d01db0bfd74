"""Use cases of deliveries."""

from typing import Any
from uuid import UUID

from api.call import Call
from api.deliveries.schemas import DeliveriesAsked
from domain.clock import from_ms
from domain.policy import sees_security_alerts
from storage import deliveries as stored

Row = dict[str, Any]

_SHOWN = (
    "id", "channel_id", "channel", "kind", "state", "events", "left_out", "created_at", "due_at", "attempts",
    "attempted_at", "ended_at", "status", "answer", "error",
)  # fmt: skip


async def page(call: Call, asked: DeliveriesAsked) -> tuple[list[Row], str | None]:
    """Deliveries, newest first, and the cursor of the next page."""
    chosen = stored.DeliveryFilter(asked.channel, asked.state)
    async with call.snapshot() as transaction:
        rows, after = await stored.page(transaction, chosen, asked.cursor, asked.limit)
    return [public(row) for row in rows], after


async def get(call: Call, delivery_id: UUID) -> Row:
    """The delivery with what it tells the actor of. Raises NotFoundError."""
    async with call.snapshot() as transaction:
        row = await stored.get(transaction, delivery_id)
        most = call.engine.settings.digest_events_max
        messages = await stored.messages(transaction, delivery_id, most)
    if not sees_security_alerts(call.actor):
        messages = [one for one in messages if one["data"]["alert"].get("security_kind") is None]
    return public(row) | {"messages": messages}


async def replay(call: Call, delivery_id: UUID) -> Row:
    """The delivery, queued once more. Raises NotFoundError, ConflictError when its channel was deleted."""
    async with call.transaction() as transaction:
        await stored.replay(transaction, delivery_id, from_ms(call.engine.clock.now_ms()))
        row = await stored.get(transaction, delivery_id)
    call.engine.outside.wake()
    return public(row)


def public(row: Row) -> Row:
    """A delivery as it is answered."""
    return {name: row[name] for name in _SHOWN}
