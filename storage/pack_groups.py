"""Saved groups of packs, and the packs of any group as an actor sees them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import numpy as np
import psycopg
from psycopg.rows import DictRow

from domain.errors import ConflictError, InvalidRequestError, NotFoundError
from domain.groups import Group, GroupKind
from domain.readings import Int32Array
from storage.cursors import Cursors
from storage.database import int4s
from storage.records import MODELS, SITES, require_version
from storage.transactions import Transaction

_GROUPS = Cursors("groups")

_ALL_MAX: Final = 2**31 - 1


@dataclass(frozen=True, slots=True, eq=False)
class Members:
    """The packs of a group, n of them, by external id: number int32[n]."""

    names: tuple[str, ...]
    number: Int32Array


@dataclass(frozen=True, slots=True)
class GroupLimits:
    """groups_max: of a tenant. packs_max: of a group."""

    groups_max: int
    packs_max: int


async def create(
    transaction: Transaction, name: str, description: str, packs: Sequence[str], limits: GroupLimits
) -> DictRow:
    """The new group. Raises ConflictError (name, number of groups), NotFoundError (pack), InvalidRequestError."""
    await transaction.rows("pack_groups.lock_all")
    found = await transaction.one("pack_groups.count")
    if found is not None and found["count"] >= limits.groups_max:
        raise ConflictError(f"there are {limits.groups_max} groups already", limit=limits.groups_max)
    try:
        row = await transaction.one("pack_groups.insert", {"name": name, "description": description})
    except psycopg.errors.UniqueViolation as error:
        raise ConflictError("the name is taken in groups", field="name") from error
    assert row is not None  # noqa: S101 - INSERT … RETURNING
    await _add(transaction, row["id"], packs, "packs", limits)
    after = await get(transaction, row["id"])
    await transaction.audit("groups.created", "groups", str(row["id"]), None, after | {"added": list(packs)})
    return after


async def get(transaction: Transaction, group_id: UUID) -> DictRow:
    """The group, with the number of its packs that the actor sees. Raises NotFoundError."""
    return await _found(transaction, {"id": group_id})


async def _found(transaction: Transaction, key: dict[str, Any], field: str | None = None) -> DictRow:
    asked = {"id": None, "name": None, "after": None, "limit": 1} | key
    row = await transaction.one("pack_groups.list", asked)
    if row is None:
        raise NotFoundError("there is no such group", field=field)
    return row


async def page(transaction: Transaction, cursor: str | None, limit: int) -> tuple[list[DictRow], str | None]:
    """Groups by name, and the cursor of the next page."""
    asked = {"id": None, "name": None, "after": _GROUPS.decode(cursor), "limit": limit + 1}
    return _GROUPS.page(await transaction.rows("pack_groups.list", asked), limit, "name")


async def packs_page(
    transaction: Transaction, group_id: UUID, cursor: str | None, limit: int
) -> tuple[list[DictRow], str | None]:
    """The packs of a group that the actor sees, by external id. Raises NotFoundError."""
    await get(transaction, group_id)
    cursors = Cursors(f"packs of group {group_id}")
    asked = {"id": group_id, "after": cursors.decode(cursor), "limit": limit + 1}
    return cursors.page(await transaction.rows("pack_groups.members", asked), limit, "pack")


@dataclass(frozen=True, slots=True)
class GroupChange:
    """What an edit changes; None is nothing. Packs that are members already, or are none, are passed over."""

    name: str | None
    description: str | None
    add: Sequence[str]
    remove: Sequence[str]


async def change(
    transaction: Transaction, group_id: UUID, version: int, changes: GroupChange, limits: GroupLimits
) -> DictRow:
    """The changed group.

    Raises NotFoundError (group, pack), PreconditionFailedError, ConflictError (name), InvalidRequestError.
    """
    await _lock(transaction, group_id, version)
    before = await get(transaction, group_id)
    name = before["name"] if changes.name is None else changes.name
    description = before["description"] if changes.description is None else changes.description
    try:
        await transaction.rows(
            "pack_groups.update", {"id": group_id, "name": name, "description": description}
        )
    except psycopg.errors.UniqueViolation as error:
        raise ConflictError("the name is taken in groups", field="name") from error
    removed = await numbers_of(transaction, changes.remove, "remove")
    await transaction.rows("pack_groups.remove", {"id": group_id, "packs": int4s(removed)})
    await _add(transaction, group_id, changes.add, "add", limits)
    after = await get(transaction, group_id)
    edited = after | {"added": list(changes.add), "removed": list(changes.remove)}
    await transaction.audit("groups.changed", "groups", str(group_id), before, edited)
    return after


async def _lock(transaction: Transaction, group_id: UUID, version: int | None) -> None:
    locked = await transaction.one("pack_groups.lock", {"id": group_id})
    if locked is None:
        raise NotFoundError("there is no such group")
    if version is not None:
        require_version(locked["version"], version)


async def _add(
    transaction: Transaction, group_id: UUID, packs: Sequence[str], field: str, limits: GroupLimits
) -> None:
    if not packs:
        return
    number = await numbers_of(transaction, packs, field)
    await transaction.rows("pack_groups.add", {"id": group_id, "packs": int4s(number)})
    size = await transaction.one("pack_groups.size", {"id": group_id})
    if size is not None and size["packs"] > limits.packs_max:
        raise InvalidRequestError(
            f"more than {limits.packs_max} packs in a group", field=field, limit=limits.packs_max
        )


async def delete(transaction: Transaction, group_id: UUID) -> None:
    """Forget the group; its packs stay as they are. Raises NotFoundError."""
    await _lock(transaction, group_id, None)
    before = await get(transaction, group_id)
    await transaction.rows("pack_groups.delete", {"id": group_id})
    await transaction.audit("groups.deleted", "groups", str(group_id), before, None)


async def numbers_of(transaction: Transaction, packs: Sequence[str], field: str) -> Int32Array:
    """The numbers of packs, in their order. Raises NotFoundError, with the place of the first that isn't there."""
    found = await known_packs(transaction, packs)
    for place, name in enumerate(packs):
        if name not in found:
            raise NotFoundError("there is no such pack", field=f"{field}.{place}")
    return np.array([found[name] for name in packs], np.int32)


async def known_packs(transaction: Transaction, packs: Sequence[str]) -> dict[str, int]:
    """The numbers of those of the packs that the actor sees, in the order given."""
    rows = await transaction.rows("packs.numbers", {"packs": list(packs)}) if packs else []
    return {row["pack"]: row["pack_id"] for row in rows}


async def members_of(transaction: Transaction, name: str) -> Members:
    """The packs of a saved group that the actor sees. Raises NotFoundError for the group."""
    group = await _found(transaction, {"name": name}, "group")
    asked = {"id": group["id"], "after": None, "limit": _ALL_MAX}
    return _members(await transaction.rows("pack_groups.members", asked))


async def state_of(transaction: Transaction, name: str) -> tuple[UUID, int]:
    """The id and version of a saved group: while they are the same, so are its packs. Raises NotFoundError."""
    group = await _found(transaction, {"name": name}, "group")
    return group["id"], group["version"]


async def packs_of(transaction: Transaction, group: Group, packs_max: int) -> Members:
    """The packs of a group that the actor sees, by where and what they are now.

    Raises NotFoundError for the group, InvalidRequestError for more packs than that.
    """
    if group.kind is GroupKind.SAVED:
        found = await members_of(transaction, group.name)
    else:
        site = group.name if group.kind is GroupKind.SITE else None
        model = group.name if group.kind is GroupKind.MODEL else None
        asked = {
            "site_id": await SITES.id_of(transaction, site, "group"),
            "model_id": await MODELS.id_of(transaction, model, "group"),
            "limit": packs_max + 1,
        }
        found = _members(await transaction.rows("packs.of_group", asked))
    if len(found.names) > packs_max:
        raise InvalidRequestError(
            f"the group has more than {packs_max} packs", field="group", limit=packs_max
        )
    return found


def _members(rows: Sequence[DictRow]) -> Members:
    return Members(tuple(row["pack"] for row in rows), np.array([row["pack_id"] for row in rows], np.int32))
