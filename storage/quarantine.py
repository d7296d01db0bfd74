"""What was set aside: written by the partition's writer, read, judged again and discarded by requests."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
import psycopg
from psycopg.rows import DictRow

from domain.clock import from_ms
from domain.errors import NotFoundError
from domain.readings import BatchResult
from domain.receipts import QuarantinedItem, QuarantineReason
from domain.tenancy import TenantId
from storage.cursors import Cursors
from storage.database import query
from storage.transactions import Transaction

_ITEMS = Cursors("quarantine")

_KEY = ("tenant_id", "source", "item_hash", "reason")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which items: those with all that is not None; starts <= last_at < ends."""

    ids: Sequence[UUID] | None = None
    reason: str | None = None
    source: str | None = None
    pack: str | None = None
    starts: datetime | None = None
    ends: datetime | None = None

    def parameters(self) -> dict[str, Any]:
        return {
            "ids": None if self.ids is None else list(self.ids),
            "reason": self.reason,
            "source": self.source,
            "pack": self.pack,
            "from": self.starts,
            "to": self.ends,
        }


def insert(connection: psycopg.Connection[Any], results: Sequence[BatchResult]) -> None:
    """Write what the batches set aside, in the transaction that is open. Equal items share a row."""
    found: dict[tuple[TenantId, str, bytes, str], dict[str, Any]] = {}
    for result in results:
        if result.batch.redriven:
            continue
        for item in _one_a_reading(result.quarantined):
            digest = result.batch.origin.digest(item.raw, result.batch.origin.form_of(item.index))
            key = (result.batch.tenant_id, result.batch.source, digest, item.reason)
            row = found.setdefault(key, _row(result, item, digest))
            row["times"] += 1
    if found:
        rows = list(found.values())
        connection.execute(query("quarantine.lock"), {name: [row[name] for row in rows] for name in _KEY})
        connection.execute(
            query("quarantine.insert"), {name: [row[name] for row in rows] for name in rows[0]}
        )


def _row(result: BatchResult, item: QuarantinedItem, digest: bytes) -> dict[str, Any]:
    batch, origin = result.batch, result.batch.origin
    sites = origin.site_limit
    return {
        "tenant_id": batch.tenant_id,
        "source": batch.source,
        "item_hash": digest,
        "reason": str(item.reason),
        "field": item.field,
        "limit_value": None if item.limit is None else str(item.limit),
        "raw": item.raw,
        "times": 0,
        "at": from_ms(batch.arrived_at_ms),
        "form": str(origin.form_of(item.index)),
        "pack": origin.pack_of(item.index),
        "mode": str(batch.mode),
        "import_id": batch.import_id,
        "subject": batch.subject,
        "pack_limit": origin.pack_limit,
        "own_device": origin.own_device,
        "site_limit": None if sites is None else orjson.dumps(sites).decode(),
    }


def _one_a_reading(items: Sequence[QuarantinedItem]) -> list[QuarantinedItem]:
    """The items with those of one reading and reason put together, their fields joined: a reading counts once."""
    found: dict[tuple[int, QuarantineReason], QuarantinedItem] = {}
    for item in items:
        key = item.index, item.reason
        if key in found:
            item = replace(item, field=f"{found[key].field}, {item.field}")  # noqa: PLW2901 - the joined one
        found[key] = item
    return list(found.values())


async def page(
    transaction: Transaction, wanted: Wanted, cursor: str | None, limit: int
) -> tuple[list[DictRow], str | None]:
    """The wanted items, oldest first, and the cursor of the next page."""
    after = _ITEMS.decode_number(cursor)
    given = wanted.parameters() | {"after": after, "limit": limit + 1}
    return _ITEMS.page(await transaction.rows("quarantine.list", given), limit, "id")


async def count(transaction: Transaction, wanted: Wanted, limit: int) -> int:
    """How many items are wanted, up to a limit."""
    row = await transaction.one("quarantine.count", wanted.parameters() | {"limit": limit})
    return 0 if row is None else int(row["items"])


async def get(transaction: Transaction, item_id: UUID) -> DictRow:
    """The item. Raises NotFoundError."""
    rows, _ = await page(transaction, Wanted(ids=[item_id]), None, 1)
    if not rows:
        raise NotFoundError("there is no such item in quarantine")
    return rows[0]


async def discard(transaction: Transaction, item_id: UUID) -> None:
    """Let go of an item for good; the audit log keeps it. Raises NotFoundError."""
    row = await transaction.one("quarantine.discard", {"ids": [item_id]})
    if row is None:
        raise NotFoundError("there is no such item in quarantine")
    await transaction.audit("quarantine.discarded", "quarantine", str(item_id), row, None)


async def settle_redrive(
    transaction: Transaction, batch_id: UUID, gone: Sequence[UUID], stay: Sequence[tuple[UUID, int]]
) -> None:
    """Let go of the items that a committed batch brought in, and count the try of those that stay.

    stay: ids, with the tries before this one. Doing it twice changes nothing more.
    """
    if gone:
        await transaction.rows("quarantine.discard", {"ids": list(gone)})
    if stay:
        tries = {"ids": [item for item, _ in stay], "redrives": [before for _, before in stay]}
        await transaction.rows("quarantine.count_redrive", tries)
    after = {"batch": str(batch_id), "gone": [str(item) for item in gone], "stay": len(stay)}
    await transaction.audit("quarantine.redriven", "quarantine", str(batch_id), None, after)


@dataclass(frozen=True, slots=True)
class SweepLimits:
    """days_max: an item that didn't come again for so long is dropped. items_max: of a tenant; then the oldest go.

    drop_max: items dropped in one pass for each of the two reasons.
    """

    days_max: int
    items_max: int
    drop_max: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """Items that a pass dropped: by age, and beyond what a tenant may have."""

    aged: int
    over: int

    @property
    def total(self) -> int:
        return self.aged + self.over


async def sweep(connection: psycopg.AsyncConnection[DictRow], now: datetime, limits: SweepLimits) -> Dropped:
    """What one pass over all tenants dropped; ask again while it drops as many as it may.

    now: believed as far as the installation trusts a clock.
    """
    asked = {"now": now, "keep": timedelta(days=limits.days_max), "limit": limits.drop_max}
    aged = await connection.execute(query("quarantine.drop_aged"), asked)
    over = await connection.execute(
        query("quarantine.drop_over"), {"items_max": limits.items_max, "limit": limits.drop_max}
    )
    return Dropped(aged.rowcount, over.rowcount)
