"""Use cases of silences."""

from typing import Any
from uuid import UUID

from api.call import Call
from api.ranges import require_range
from api.silences.schemas import NewSilence
from domain.alert_rules import SilenceKind
from storage import alert_rules as stored
from storage import packs as stored_packs
from storage.records import SITES

Row = dict[str, Any]


async def create(call: Call, new: NewSilence) -> Row:
    """The new silence. Raises InvalidRequestError (empty span), NotFoundError (what it names), ConflictError."""
    require_range(new.starts, new.ends)
    async with call.transaction() as transaction:
        pack = None if new.pack is None else await stored_packs.get_by_name(transaction, new.pack)
        values = {
            "pack_id": None if pack is None else pack["pack_id"],
            "site_id": await SITES.id_of(transaction, new.site, "site"),
            "rule_no": await stored.number_of(transaction, new.rule),
            "starts": new.starts,
            "ends": new.ends,
            "reason": new.reason,
        }
        clock, settings = call.engine.clock, call.engine.settings
        row = await stored.silence(
            transaction, SilenceKind(new.kind), values, clock.now_ms, settings.silences_max
        )
    return _public(row)


async def page(call: Call, cursor: str | None, limit: int) -> tuple[list[Row], str | None]:
    """Silences, oldest first, and the cursor of the next page."""
    async with call.snapshot() as transaction:
        rows, after = await stored.page_of_silences(transaction, cursor, limit)
    return [_public(row) for row in rows], after


async def get(call: Call, silence_id: UUID) -> Row:
    """The silence, also one that was ended. Raises NotFoundError."""
    async with call.snapshot() as transaction:
        return _public(await stored.get_silence(transaction, silence_id))


async def end(call: Call, silence_id: UUID) -> None:
    """Let a silence hide nothing more. Raises NotFoundError."""
    async with call.transaction() as transaction:
        await stored.end_silence(transaction, silence_id, call.engine.clock.now_ms)


def _public(row: Row) -> Row:
    shown = ("id", "kind", "pack", "site", "rule", "reason", "created_by", "created_at", "ended_at")
    return {name: row[name] for name in shown} | {"from": row["starts"], "to": row["ends"]}
