"""Imports and receipts as requests see them."""

from dataclasses import replace
from datetime import datetime
from uuid import UUID

from psycopg.rows import DictRow

from domain.errors import NotFoundError
from domain.receipts import Receipt, ReceiptStatus, pending_receipt
from storage.cursors import Cursors, moment_in, no_cursor
from storage.submissions import receipt_of_parts
from storage.transactions import Transaction

_IMPORTS = Cursors("imports")


async def create_import(transaction: Transaction, source: str, expected: int | None) -> DictRow:
    """The new import, under whose id bodies may bring the past. expected: readings that will come, if that is known."""
    row = await transaction.one(
        "telemetry.insert_import",
        {"source": source, "expected": expected, "subject": transaction.actor.subject},
    )
    assert row is not None  # noqa: S101 - INSERT … RETURNING
    await transaction.audit("imports.created", "imports", str(row["id"]), None, row)
    return row


async def get_import(transaction: Transaction, import_id: UUID, only_subject: str | None) -> DictRow:
    """The import with the sums of its receipts. Raises NotFoundError.

    only_subject: whose imports may be seen; None means everybody's in the tenant.
    """
    key = {"id": import_id, "only_subject": only_subject, "after_at": None, "after": None, "limit": 1}
    row = await transaction.one("telemetry.list_imports", key)
    if row is None:
        raise NotFoundError("there is no such import")
    return row


async def page_of_imports(
    transaction: Transaction, only_subject: str | None, cursor: str | None, limit: int
) -> tuple[list[DictRow], str | None]:
    """Imports with the sums of their receipts, the newest first, and the cursor of the next page."""
    after_at, after = (None, None) if cursor is None else _import_cursor(cursor)
    asked = {"id": None, "only_subject": only_subject, "after_at": after_at, "after": after}
    rows = await transaction.rows("telemetry.list_imports", asked | {"limit": limit + 1})
    if len(rows) <= limit:
        return rows, None
    last = rows[limit - 1]
    return rows[:limit], _IMPORTS.encode(f"{last['created_at'].isoformat()} {last['id']}")


async def get_receipt(transaction: Transaction, receipt_id: UUID, only_subject: str | None) -> Receipt:
    """The receipt of a batch, pending while it is on its way through the topic, or lost there. Raises NotFoundError.

    only_subject: whose receipts may be seen; None means everybody's in the tenant.
    """
    rows = await transaction.rows("submissions.parts", {"id": receipt_id})
    pending = await transaction.one("submissions.pending", {"id": receipt_id})
    whose = rows[0] if rows else pending
    if whose is None or only_subject not in (None, whose["subject"]):
        raise NotFoundError("there is no such receipt")
    if (receipt := receipt_of_parts(receipt_id, rows)) is not None:
        return receipt
    if pending is None:
        return pending_receipt(receipt_id)
    receipt = pending_receipt(receipt_id, pending["received"], tuple(pending["ignored_keys"]))
    return replace(receipt, status=ReceiptStatus.LOST) if pending["lost"] else receipt


def _import_cursor(cursor: str) -> tuple[datetime, UUID]:
    moment, _, key = (_IMPORTS.decode(cursor) or "").partition(" ")
    try:
        return moment_in(moment), UUID(key)
    except ValueError as error:
        raise no_cursor() from error
