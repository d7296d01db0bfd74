"""Use cases of corrections: ask for one and wait a while for it, and look what became of it."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from api.call import Call
from api.corrections import schemas
from api.ranges import require_range
from domain.clock import rfc3339, to_ms
from domain.corrections import CorrectionKind, CorrectionStatus
from domain.errors import InvalidRequestError, NotFoundError
from domain.measures import MEASURE_INDEX, MEASURE_NAMES, THOUSANDTHS_PER_UNIT
from domain.packs import KnownPack, Limits
from domain.tenancy import TenantId
from storage import corrections as stored
from storage import packs as stored_packs
from storage.transactions import Transaction

Row = dict[str, Any]

_ALL = (True,) * len(MEASURE_NAMES)


async def ask(call: Call, new: schemas.NewCorrection) -> Row:
    """The correction, done or still under way after a wait.

    Raises NotFoundError (pack, batch, import, a reading that never was), InvalidRequestError, ArchivedError.
    """
    async with call.transaction() as transaction:
        correction_id = await stored.ask(transaction, await _asked(call, transaction, new))
    await call.engine.runner.corrected(correction_id, call.engine.settings.correction_wait_s)
    return await get(call, correction_id)


async def get(call: Call, correction_id: UUID) -> Row:
    """The correction. Raises NotFoundError."""
    async with call.snapshot() as transaction:
        return _public(await stored.get(transaction, correction_id))


async def page(call: Call, cursor: str | None, limit: int) -> tuple[list[Row], str | None]:
    """Corrections, oldest first, and the cursor of the next page."""
    async with call.snapshot() as transaction:
        rows, after = await stored.page(transaction, cursor, limit)
    return [_public(row) for row in rows], after


def is_done(row: Row) -> bool:
    """Whether nothing of the correction is left to do."""
    return bool(row["status"] == CorrectionStatus.DONE)


async def _asked(call: Call, transaction: Transaction, new: schemas.NewCorrection) -> stored.NewCorrection:
    kind = CorrectionKind(new.kind)
    if isinstance(new, schemas.DeleteBatch):
        return stored.NewCorrection(kind, new.reason, _ALL, batch_id=new.batch)
    if isinstance(new, schemas.DeleteImport):
        return stored.NewCorrection(kind, new.reason, _ALL, import_id=new.imported)
    pack = await stored_packs.get_by_name(transaction, new.pack)
    if isinstance(new, schemas.DeleteRange):
        require_range(new.starts, new.ends)
        chosen = _ALL if new.measures is None else _chosen(new.measures, "measures")
        return stored.NewCorrection(kind, new.reason, chosen, pack["pack_id"], new.starts, new.ends)
    chosen = _chosen(list(new.values), "values")
    known = await stored.ever_stored(transaction, pack["pack_id"], new.ts)
    for name, meant, there in zip(MEASURE_NAMES, chosen, known, strict=True):
        if meant and not there:
            raise NotFoundError(f"the pack never had a {name} at that time", field=f"values.{name}")
    found = await call.engine.registry.packs(call.actor.tenant_id, [new.pack])
    limits = _limits_at(found.get(new.pack), call.actor.tenant_id, new.ts)
    return stored.NewCorrection(
        kind,
        new.reason,
        chosen,
        pack["pack_id"],
        new.ts,
        new.ts + timedelta(milliseconds=1),
        _thousandths(new.values, limits),
    )


def _chosen(names: list[str], field: str) -> tuple[bool, ...]:
    for name in names:
        if name not in MEASURE_INDEX:
            raise InvalidRequestError(f"measures are {', '.join(MEASURE_INDEX)}", field=field)
    return tuple(name in names for name in MEASURE_NAMES)


def _limits_at(pack: KnownPack | None, tenant_id: TenantId, moment: datetime) -> Limits:
    """What is plausible for the pack's model at that time. Raises NotFoundError when the tenant didn't hold it then."""
    for tenure in () if pack is None else pack.tenures:
        if tenure.tenant_id == tenant_id and tenure.from_ms <= to_ms(moment) < tenure.to_ms:
            return tenure.limits
    raise NotFoundError("the pack was not held at that time", field="ts")


def _thousandths(values: dict[str, float], limits: Limits) -> tuple[int | None, ...]:
    """The right values, rounded. Raises InvalidRequestError for one outside of the limits."""
    rounded: list[int | None] = [None] * len(MEASURE_NAMES)
    for name, value in values.items():
        index = MEASURE_INDEX[name]
        low, high = limits.minimum[index], limits.maximum[index]
        if not low <= value <= high:
            raise InvalidRequestError(
                f"{name} lies between {low} and {high}",
                field=f"values.{name}",
                limit=low if value < low else high,
            )
        rounded[index] = round(value * THOUSANDTHS_PER_UNIT)
    return tuple(rounded)


def _public(row: Row) -> Row:
    thousandths = row["thousandths"]
    values = None
    if thousandths is not None:
        values = {
            name: value / THOUSANDTHS_PER_UNIT
            for name, value in zip(MEASURE_NAMES, thousandths, strict=True)
            if value is not None
        }
    names = ("id", "kind", "status", "readings", "pack", "reason", "subject")
    return {name: row[name] for name in names} | {
        "from": _text(row["starts"]),
        "to": _text(row["ends"]),
        "measures": [name for name, meant in zip(MEASURE_NAMES, row["chosen"], strict=True) if meant],
        "values": values,
        "batch": row["batch_id"],
        "import": row["import_id"],
        "requested_at": _text(row["requested_at"]),
        "finished_at": _text(row["finished_at"]),
    }


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)
