"""Corrections as requests see them: asked for, listed, and what speaks against one."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg.rows import DictRow, tuple_row

from domain.corrections import CorrectionKind
from domain.errors import ArchivedError, NotFoundError
from domain.measures import MEASURE_NAMES
from storage.cursors import Cursors
from storage.database import query
from storage.transactions import Transaction

_CORRECTIONS = Cursors("corrections")


@dataclass(frozen=True, slots=True)
class NewCorrection:
    """What is asked for; see `domain.corrections.Correction`. pack_id is the pack's number."""

    kind: CorrectionKind
    reason: str
    chosen: tuple[bool, ...]
    pack_id: int | None = None
    starts: datetime | None = None
    ends: datetime | None = None
    thousandths: tuple[int | None, ...] | None = None
    batch_id: UUID | None = None
    import_id: UUID | None = None


async def ask(transaction: Transaction, new: NewCorrection) -> UUID:
    """The id of the correction, which the partition's writer carries out once this is committed.

    An import that is deleted takes no more readings. Raises NotFoundError (batch, import), ArchivedError.
    """
    if new.import_id is not None:
        undone = await transaction.one("corrections.undo_import", {"import_id": new.import_id})
        if undone is None:
            raise NotFoundError("there is no such import", field="import")
    if new.batch_id is not None:
        batch = await transaction.one("corrections.batch_exists", {"batch_id": new.batch_id})
        if batch is None:
            raise NotFoundError("there is no such batch", field="batch")
    touched = {"starts": new.starts, "batch_id": new.batch_id, "import_id": new.import_id}
    archived = await transaction.one("corrections.archived", touched)
    if archived is not None:
        raise ArchivedError(
            "days before this are archived", field="from", limit=archived["archived_before"].isoformat()
        )
    values = {
        "kind": new.kind,
        "pack_id": new.pack_id,
        "starts": new.starts,
        "ends": new.ends,
        "chosen": list(new.chosen),
        "thousandths": None if new.thousandths is None else list(new.thousandths),
        "batch_id": new.batch_id,
        "import_id": new.import_id,
        "reason": new.reason,
        "subject": transaction.actor.subject,
    }
    made = await transaction.one("corrections.insert", values)
    assert made is not None  # noqa: S101 - INSERT … RETURNING
    correction_id: UUID = made["id"]
    after = await get(transaction, correction_id)
    await transaction.audit("corrections.asked_for", "corrections", str(correction_id), None, after)
    return correction_id


async def get(transaction: Transaction, correction_id: UUID) -> DictRow:
    """The correction. Raises NotFoundError."""
    row = await transaction.one("corrections.list", {"id": correction_id, "after": None, "limit": 1})
    if row is None:
        raise NotFoundError("there is no such correction")
    return row


async def page(transaction: Transaction, cursor: str | None, limit: int) -> tuple[list[DictRow], str | None]:
    """Corrections, oldest first, and the cursor of the next page."""
    asked = {"id": None, "after": _CORRECTIONS.decode_number(cursor), "limit": limit + 1}
    return _CORRECTIONS.page(await transaction.rows("corrections.list", asked), limit, "correction_no")


async def ever_stored(transaction: Transaction, pack_id: int, moment: datetime) -> tuple[bool, ...]:
    """For each measure, whether the pack has, or once had, a value of it at that moment."""
    known = ", ".join(f"coalesce(bool_or({name} IS NOT NULL), false)" for name in MEASURE_NAMES)
    text = query("corrections.was_stored").replace(b"{measures_known}", known.encode())
    parameters = {"tenant_id": transaction.actor.tenant_id, "pack_id": pack_id, "starts": moment}
    async with transaction.connection.cursor(row_factory=tuple_row) as cursor:
        row = await (await cursor.execute(text, parameters)).fetchone()
    return tuple(row or ())
