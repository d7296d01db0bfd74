"""Packs and their tenures."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
from psycopg.rows import DictRow, tuple_row

from domain.clock import to_ms
from domain.errors import ArchivedError, ConflictError, NotFoundError, PackQuotaError
from domain.measures import MEASURES, THOUSANDTHS_PER_UNIT
from domain.readings import Float64Array, Int32Array, Int64Array
from kernels.scaling import thousandths_of
from storage.cursors import Cursors
from storage.database import int4s, query
from storage.records import MODELS, SITES, require_version
from storage.transactions import Transaction

_PACKS = Cursors("packs")

ALWAYS, FOREVER = "-infinity", "infinity"


@dataclass(frozen=True, slots=True)
class NewPack:
    """A pack to register: its external id, and its model and site by name or id."""

    pack: str
    model: str | None = None
    site: str | None = None


async def register(transaction: Transaction, new: Sequence[NewPack]) -> dict[str, UUID]:
    """The ids of the packs that are new; external ids that are taken are passed over.

    Raises NotFoundError for an unknown model or site, PackQuotaError.
    """
    await _require_quota(transaction, {pack.pack for pack in new})
    sites = await SITES.ids_of(transaction, {pack.site for pack in new}, "site")
    models = await MODELS.ids_of(transaction, {pack.model for pack in new}, "model")
    made = await transaction.rows(
        "packs.insert_many",
        {
            "packs": [pack.pack for pack in new],
            "site_ids": [sites[pack.site] for pack in new],
            "model_ids": [models[pack.model] for pack in new],
            "subject": transaction.actor.subject,
            "request_id": transaction.request_id,
            "client_address": transaction.client_address,
        },
    )
    return {row["pack"]: row["id"] for row in made}


async def _require_quota(transaction: Transaction, names: set[str]) -> None:
    """Raises PackQuotaError when those of the packs that are new are more than the tenant may have."""
    quota = await transaction.one("usage.packs_max")
    if quota is None:
        return
    found = await transaction.one("usage.packs")
    assert found is not None  # noqa: S101 - a count
    new = names - await taken(transaction, sorted(names))
    if found["packs"] + len(new) > quota["packs_max"] and new:
        raise PackQuotaError(
            f"the tenant's quota is {quota['packs_max']} packs", field="pack", limit=quota["packs_max"]
        )


async def taken(transaction: Transaction, names: Sequence[str]) -> set[str]:
    """Those of the external ids that are registered already."""
    return {row["pack"] for row in await transaction.rows("packs.taken", {"packs": list(names)})}


async def get(transaction: Transaction, pack_id: UUID) -> DictRow:
    """The pack as it is now. Raises NotFoundError, also for a pack at a site that the actor doesn't see."""
    return await _found(transaction, {"id": pack_id, "pack": None})


async def get_by_name(transaction: Transaction, pack: str) -> DictRow:
    """The pack of an external id. Raises NotFoundError."""
    return await _found(transaction, {"id": None, "pack": pack})


async def _found(transaction: Transaction, key: dict[str, Any]) -> DictRow:
    row = await transaction.one("packs.get", key)
    if row is None:
        raise NotFoundError("there is no such pack")
    return row


@dataclass(frozen=True, slots=True)
class PackFilter:
    """Which packs are asked for, and in which order of their external ids; None asks for all.

    pack: the external id. search: a part of it, in small letters or large. site and model: by name or id, region: by
    name, as the pack is now.
    """

    pack: str | None = None
    search: str | None = None
    site: str | None = None
    region: str | None = None
    model: str | None = None
    descending: bool = False

    @property
    def narrows(self) -> bool:
        """Whether packs that are looked at may be left out."""
        return (self.search, self.site, self.region, self.model) != (None, None, None, None)


@dataclass(frozen=True, slots=True)
class PacksFound:
    """A page of packs. cursor: of the next one. looked_at: packs that were looked at for this one."""

    rows: list[DictRow]
    cursor: str | None
    looked_at: int


async def page(
    transaction: Transaction, chosen: PackFilter, cursor: str | None, limit: int, scanned_max: int
) -> PacksFound:
    """Packs in the order of their external ids.

    At most `scanned_max` packs are looked at: then the page may be short though there are more behind its cursor.
    """
    narrows = chosen.narrows or transaction.actor.sites is not None
    scanned = max(scanned_max, limit + 1) if narrows else limit + 1
    given = {
        "after": _PACKS.decode(cursor),
        "pack": chosen.pack,
        "search": chosen.search,
        "site": chosen.site,
        "region": chosen.region,
        "model": chosen.model,
        "scanned": scanned,
        "limit": limit + 1,
    }
    has_after = given["after"] is not None
    found = await _rows(transaction, page_query("page", chosen, has_after=has_after), given)
    rows, after = _PACKS.page(found, limit, "pack")
    if after is not None or not narrows:
        return PacksFound(rows, after, rows[-1]["place"] if rows else 0)
    (end,) = await _rows(transaction, page_query("page_end", chosen, has_after=has_after), given)
    looked_at = end["looked_at"]
    return PacksFound(rows, _PACKS.encode(end["pack"]) if looked_at == scanned else None, looked_at)


def page_query(name: str, chosen: PackFilter, *, has_after: bool) -> bytes:
    """A query that looks through external ids in an order, perhaps from a cursor on.

    A comparison stands in the text only where there is one, so that the index answers it in each case.
    """
    direction, beyond, furthest = (b"DESC", b"<", b"min") if chosen.descending else (b"ASC", b">", b"max")
    after = b" AND external_id " + beyond + b" %(after)s" if has_after else b""
    own = b" AND external_id = %(pack)s" if chosen.pack is not None else b""
    text = query(f"packs.{name}").replace(b"{after}", after + own).replace(b"{direction}", direction)
    return text.replace(b"{furthest}", furthest)


async def _rows(transaction: Transaction, text: bytes, given: dict[str, Any]) -> list[DictRow]:
    sites = None if transaction.actor.sites is None else sorted(transaction.actor.sites)
    known = {"tenant_id": transaction.actor.tenant_id, "sites": sites}
    return await (await transaction.connection.execute(text, known | given)).fetchall()


async def update(transaction: Transaction, pack_id: UUID, version: int, changes: dict[str, Any]) -> DictRow:
    """The pack with another external id, or with the model or site of its last tenure put right.

    Raises NotFoundError, PreconditionFailedError, ConflictError (external id taken).
    """
    before = await _locked(transaction, pack_id)
    require_version(before["version"], version)
    site_id, model_id = await _references(transaction, changes, before)
    last = (await tenures(transaction, before["pack_id"]))[-1]
    await transaction.rows(
        "packs.describe_tenure",
        {
            "pack_id": before["pack_id"],
            "held_from": last["held_from"],
            "site_id": site_id,
            "model_id": model_id,
        },
    )
    try:
        await transaction.rows(
            "packs.rename", {"pack_id": before["pack_id"], "pack": changes.get("pack", before["pack"])}
        )
    except psycopg.errors.UniqueViolation as error:
        raise ConflictError("a pack of this external id is registered already", field="pack") from error
    await transaction.rows("records.registry_changed")
    if (site_id, model_id) != (before["site_id"], before["model_id"]):
        await transaction.rows("packs.note_days", {"pack_id": before["pack_id"]})
    after = await get(transaction, pack_id)
    await transaction.audit("packs.changed", "packs", str(pack_id), before, after)
    return after


async def _locked(transaction: Transaction, pack_id: UUID) -> DictRow:
    # Looked at before it is locked: a pack that the actor doesn't see would take longer than one that isn't there.
    await get(transaction, pack_id)
    await transaction.rows("packs.lock", {"id": pack_id})
    return await get(transaction, pack_id)


async def _references(
    transaction: Transaction, changes: dict[str, Any], before: DictRow
) -> tuple[UUID | None, UUID | None]:
    """The site and the model that changes name, None for none; what they don't name is as it was before."""
    site_id, model_id = before["site_id"], before["model_id"]
    if "site" in changes:
        site_id = await SITES.id_of(transaction, changes["site"], "site")
    if "model" in changes:
        model_id = await MODELS.id_of(transaction, changes["model"], "model")
    return site_id, model_id


async def tenures(transaction: Transaction, number: int) -> list[DictRow]:
    """The tenant's tenures of a pack number, oldest first; unbounded ends are the texts of infinity."""
    return await transaction.rows("packs.tenures", {"pack_id": number})


async def move(transaction: Transaction, pack_id: UUID, starts: datetime, changes: dict[str, Any]) -> DictRow:
    """The pack in a new tenure from `starts` on, which ends the last one. changes: site, model, by name.

    Raises NotFoundError, ConflictError when `starts` lies before the last tenure of the tenant, or behind it:
    then another tenant holds the pack. Raises ArchivedError when windows would change whose readings aren't kept.
    """
    before = await _locked(transaction, pack_id)
    last = (await tenures(transaction, before["pack_id"]))[-1]
    if last["held_from"] != ALWAYS and starts <= datetime.fromisoformat(last["held_from"]):
        raise ConflictError("the last tenure begins later", field="from", limit=last["held_from"])
    if last["held_to"] != FOREVER and starts >= datetime.fromisoformat(last["held_to"]):
        raise ConflictError("another tenant holds the pack then", field="from", limit=last["held_to"])
    site_id, model_id = await _references(transaction, changes, last)
    key = {"pack_id": before["pack_id"], "held_from": last["held_from"]}
    await transaction.rows("packs.end_tenure", key | {"held_to": starts})
    made = await transaction.one(
        "packs.insert_tenure",
        {
            "pack_id": before["pack_id"],
            "held_from": starts,
            "held_to": last["held_to"],
            "site_id": site_id,
            "model_id": model_id,
        },
    )
    assert made is not None  # noqa: S101 - INSERT … RETURNING
    await transaction.rows("packs.touch", {"pack_id": before["pack_id"]})
    await transaction.rows("records.registry_changed")
    # From here on no group commits readings that were judged by the tenures as they were, and no day is archived.
    archived = await transaction.one("packs.archived_since", {"pack_id": before["pack_id"], "starts": starts})
    if archived is not None:
        raise ArchivedError(
            "the pack has windows in archived days, which can't be counted again for another site or model",
            field="from",
            limit=archived["archived_before"].isoformat(),
        )
    note = {"pack_id": before["pack_id"], "held_from": starts, "tenure_no": made["tenure_no"]}
    await transaction.rows("packs.note_move", note)
    after = await get(transaction, pack_id)
    await transaction.audit("packs.moved", "packs", str(pack_id), before, after)
    return after


async def latest_held(transaction: Transaction, number: int, measure: int) -> tuple[float, int] | None:
    """The latest value of a measure among the tenant's own readings, and its time in milliseconds.

    For packs that changed hands, whose latest value of all may be another tenant's.
    """
    text = query("packs.latest_held").replace(b"{measure}", MEASURES[measure].name.encode())
    parameters = {"tenant_id": transaction.actor.tenant_id, "pack_id": number}
    row = await (await transaction.connection.execute(text, parameters)).fetchone()
    return None if row is None else (round(float(row["value"]), 3), to_ms(row["ts"]))


async def tenures_of_packs(
    transaction: Transaction, number: Int32Array
) -> tuple[Int32Array, Int64Array, Int64Array]:
    """The tenant's tenures of packs: places among those given, from and to in milliseconds, of each."""
    place, from_ms, to_ms_ = await transaction.columns("packs.tenures_of_packs", {"packs": int4s(number)})
    if place is None:
        return np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.int64)
    return place, from_ms, to_ms_


async def latest_held_of(
    transaction: Transaction, number: Int32Array, measure: int
) -> tuple[Int32Array, Int64Array, Float64Array]:
    """The latest value of a measure among the tenant's own readings of packs that have any.

    Places among the packs given, times in milliseconds, and values, of each.
    """
    text = query("packs.latest_held_of").replace(b"{measure}", MEASURES[measure].name.encode())
    parameters = {"tenant_id": transaction.actor.tenant_id, "packs": int4s(number)}
    async with transaction.connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(text, parameters, binary=True, prepare=False)
        place, ts_ms, value = await cursor.fetchone() or (None, None, None)
    if place is None:
        return np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.float64)
    return place, ts_ms, thousandths_of(value[None, :])[0] / THOUSANDTHS_PER_UNIT


async def unknown_references(transaction: Transaction, new: Sequence[NewPack]) -> dict[str, set[str]]:
    """The names of models and of sites that new packs refer to, and that don't exist."""
    models = {pack.model for pack in new if pack.model is not None}
    sites = {pack.site for pack in new if pack.site is not None}
    return {
        "model": models - await MODELS.known(transaction, models),
        "site": sites - await SITES.known(transaction, sites),
    }
