"""Use cases of packs: register, find, move, and what they reported last."""

from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np

from api.call import Call
from api.packs.schemas import NewPack, PacksAsked
from api.registration import Registration, RowProblem, read_rows
from domain.clock import MILLISECONDS_PER_SECOND, from_ms, rfc3339, to_ms
from domain.errors import ConflictError, InvalidRequestError
from domain.measures import MEASURES, THOUSANDTHS_PER_UNIT
from domain.readings import NEVER_MS
from domain.tenancy import Actor
from storage import packs as stored
from storage.transactions import Transaction

Row = dict[str, Any]

_NEEDS_SITE = "the credential is limited to certain sites: name one of them"
_PUBLIC = ("id", "pack", "model", "site", "region", "zone", "created_at", "version")


async def create(call: Call, new: NewPack) -> Row:
    """The new pack.

    Raises ConflictError when its external id is taken, NotFoundError for model or site, InvalidRequestError when
    the actor is limited to sites and gives none.
    """
    _require_site(call.actor, new.site)
    async with call.transaction() as transaction:
        made = await stored.register(transaction, [stored.NewPack(new.pack, new.model, new.site)])
        if not made:
            raise ConflictError("a pack of this external id is registered already", field="pack")
        return _public(await stored.get(transaction, made[new.pack]))


def _require_site(actor: Actor, site: str | None) -> None:
    """Raises InvalidRequestError for a pack without site, which a limited actor would lose sight of."""
    if actor.sites is not None and site is None:
        raise InvalidRequestError(_NEEDS_SITE, field="site")


async def page(call: Call, asked: PacksAsked) -> stored.PacksFound:
    """Packs by external id."""
    chosen = stored.PackFilter(
        asked.pack,
        asked.search,
        asked.site,
        asked.region,
        asked.model,
        descending=asked.order == "descending",
    )
    scanned_max = call.engine.settings.packs_scanned_max
    async with call.snapshot() as transaction:
        found = await stored.page(transaction, chosen, asked.cursor, asked.limit, scanned_max)
    return replace(found, rows=[_public(row) for row in found.rows])


async def get(call: Call, pack_id: UUID) -> Row:
    """The pack with its tenures and latest values. Raises NotFoundError."""
    async with call.snapshot() as transaction:
        row = await stored.get(transaction, pack_id)
        tenures = await stored.tenures(transaction, row["pack_id"])
        latest = await _latest(call, transaction, row["pack_id"], tenures)
    return _public(row) | {"tenures": [_tenure(tenure) for tenure in tenures], "latest": latest}


async def latest(call: Call, pack_id: UUID) -> Row:
    """The latest value of each measure. Raises NotFoundError."""
    async with call.snapshot() as transaction:
        row = await stored.get(transaction, pack_id)
        tenures = await stored.tenures(transaction, row["pack_id"])
        found = await _latest(call, transaction, row["pack_id"], tenures)
    return {"pack": row["pack"], "latest": found}


async def _latest(call: Call, transaction: Transaction, number: int, tenures: list[Row]) -> Row:
    found: Row = {}
    ts_ms, thousandths = await call.engine.runner.latest_of_packs(np.array([number], np.int32))
    for index, (measure, at_ms, value) in enumerate(
        zip(MEASURES, ts_ms[:, 0].tolist(), thousandths[:, 0].tolist(), strict=True)
    ):
        if at_ms == NEVER_MS:
            continue
        known: tuple[float, int] | None = (value / THOUSANDTHS_PER_UNIT, at_ms)
        if not any(_within(at_ms, tenure) for tenure in tenures):
            known = await stored.latest_held(transaction, number, index)
        if known is not None:
            found[measure.name] = {"value": known[0], "ts": rfc3339(from_ms(known[1])), "unit": measure.unit}
    return found


def _within(ts_ms: int, tenure: Row) -> bool:
    moment = from_ms(ts_ms)
    starts, ends = _bound(tenure["held_from"]), _bound(tenure["held_to"])
    return (starts is None or moment >= starts) and (ends is None or moment < ends)


def _bound(text: str) -> datetime | None:
    return None if text.endswith("infinity") else datetime.fromisoformat(text)


def _tenure(row: Row) -> Row:
    starts, ends = _bound(row["held_from"]), _bound(row["held_to"])
    return {
        "from": None if starts is None else rfc3339(starts),
        "to": None if ends is None else rfc3339(ends),
        "site": row["site"],
        "model": row["model"],
    }


def _public(row: Row) -> Row:
    return {name: row[name] for name in _PUBLIC}


async def change(call: Call, pack_id: UUID, version: int, changes: Row) -> Row:
    """The pack, put right. Raises NotFoundError, PreconditionFailedError, ConflictError, InvalidRequestError."""
    if "site" in changes:
        _require_site(call.actor, changes["site"])
    async with call.transaction() as transaction:
        return _public(await stored.update(transaction, pack_id, version, changes))


async def move(
    call: Call,
    pack_id: UUID,
    starts: datetime,
    changes: Row,
) -> Row:
    """The pack in its new tenure.

    Raises NotFoundError, ConflictError when it begins outside of the tenant's last one, InvalidRequestError
    when it lies in the future: what a pack is now must be its last tenure.
    """
    if "site" in changes:
        _require_site(call.actor, changes["site"])
    settings = call.engine.settings
    if to_ms(starts) > call.engine.clock.now_ms() + settings.future_s_max * MILLISECONDS_PER_SECOND:
        raise InvalidRequestError(
            "a move lies in the past, or is now", field="from", limit=settings.future_s_max
        )
    async with call.transaction() as transaction:
        return _public(await stored.move(transaction, pack_id, starts, changes))


async def register(call: Call, body: bytes, *, dry_run: bool) -> Registration:
    """Register packs from CSV, all or none. External ids that are taken count as existing and stay as they are."""
    read = read_rows(body, NewPack, frozenset(), call.engine.settings.csv_rows_max)
    problems = list(read.problems)
    seen: dict[str, int] = {}
    new: list[stored.NewPack] = []
    for number, row in read.rows:
        if row.pack in seen:
            problem = f"the pack stands in row {seen[row.pack]} too"
            problems.append(RowProblem(row=number, field="pack", problem=problem))
        else:
            seen[row.pack] = number
            new.append(stored.NewPack(row.pack, row.model, row.site))
    async with call.transaction() as transaction:
        unknown = await stored.unknown_references(transaction, new)
        problems += [
            RowProblem(row=seen[pack.pack], field=field, problem=f"there is no such {field}")
            for pack in new
            for field in ("model", "site")
            if getattr(pack, field) in unknown[field]
        ]
        if call.actor.sites is not None:
            problems += [
                RowProblem(row=seen[pack.pack], field="site", problem=_NEEDS_SITE)
                for pack in new
                if pack.site is None
            ]
        existing = len(await stored.taken(transaction, list(seen)))
        created = len(new) - existing
        if not problems and not dry_run:
            created = len(await stored.register(transaction, new))
    return Registration(
        dry_run=dry_run,
        rows=read.total,
        created=0 if problems else created,
        existing=existing,
        problems=sorted(problems, key=lambda found: found.row),
    )
