"""Use cases of quarantine: list, export, discard. Judging again stands in `redrive`."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

from api.call import Call
from api.quarantine import encode
from api.quarantine.schemas import Asked
from api.ranges import require_range
from api.routing import CSV
from domain.errors import ForbiddenError, InvalidRequestError
from storage import quarantine as stored

Row = dict[str, Any]

_EXPORT_PAGE_ITEMS = 500
_PAGE_ITEMS = 100


def wanted(asked: Asked) -> stored.Wanted:
    """The filter that a request names. Raises InvalidRequestError for an empty range."""
    require_range(asked.starts, asked.ends)
    return stored.Wanted(None, asked.reason, asked.source, asked.pack, asked.starts, asked.ends)


async def page(call: Call, asked: Asked) -> tuple[list[Row], str | None]:
    """Items, oldest first, and the cursor of the next page."""
    async with call.snapshot() as transaction:
        rows, after = await stored.page(transaction, wanted(asked), asked.cursor, asked.limit or _PAGE_ITEMS)
    return [encode.public(row) for row in rows], after


async def export(call: Call, asked: Asked, media_type: str) -> AsyncIterator[bytes]:
    """All wanted items in chunks. Raises InvalidRequestError, at once, for more than an export may have."""
    items_max = call.engine.settings.quarantine_export_items_max
    async with call.snapshot() as transaction:
        found = await stored.count(transaction, wanted(asked), items_max + 1)
    if found > items_max:
        raise InvalidRequestError(
            f"more than {items_max} items: ask for a part, such as one reason or a shorter time",
            field="limit",
            limit=items_max,
        )
    return _chunks(call, wanted(asked), media_type, items_max)


async def _chunks(call: Call, which: stored.Wanted, media_type: str, items_max: int) -> AsyncIterator[bytes]:
    # A transaction a page, so that a slow reader holds no connection.
    if media_type == CSV:
        yield encode.csv_header()
    cursor, left = None, items_max
    while left > 0:
        async with call.snapshot() as transaction:
            rows, cursor = await stored.page(transaction, which, cursor, min(_EXPORT_PAGE_ITEMS, left))
        items = map(encode.public, rows)
        yield encode.csv_lines(items) if media_type == CSV else encode.json_lines(items)
        left -= len(rows)
        if cursor is None:
            return


async def get(call: Call, item_id: UUID) -> Row:
    """The item. Raises NotFoundError."""
    async with call.snapshot() as transaction:
        return encode.public(await stored.get(transaction, item_id))


async def discard(call: Call, item_id: UUID) -> None:
    """Let go of an item for good. Raises NotFoundError, ForbiddenError."""
    require_whole_tenant(call)
    async with call.transaction() as transaction:
        await stored.discard(transaction, item_id)


def require_whole_tenant(call: Call) -> None:
    """Raises ForbiddenError for the credential of one pack: what was set aside may name any."""
    if call.actor.device_pack is not None:
        raise ForbiddenError("the credential is limited to one pack")
