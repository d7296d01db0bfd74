"""Use cases of saved groups."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from api.call import Call
from api.groups import schemas
from domain.errors import InvalidRequestError
from storage import pack_groups as stored

Row = dict[str, Any]


async def create(call: Call, new: schemas.NewGroup) -> Row:
    """The new group. Raises ConflictError (name, number of groups), NotFoundError (pack), InvalidRequestError."""
    limits = _limits(call)
    packs = _once(new.packs, "packs", limits)
    async with call.transaction() as transaction:
        return await stored.create(transaction, new.name, new.description, packs, limits)


async def get(call: Call, group_id: UUID) -> Row:
    """The group. Raises NotFoundError."""
    async with call.snapshot() as transaction:
        return await stored.get(transaction, group_id)


async def page(call: Call, cursor: str | None, limit: int) -> tuple[list[Row], str | None]:
    """Groups by name, and the cursor of the next page."""
    async with call.snapshot() as transaction:
        return await stored.page(transaction, cursor, limit)


async def packs(call: Call, group_id: UUID, cursor: str | None, limit: int) -> tuple[list[Row], str | None]:
    """The packs of a group by external id, and the cursor of the next page. Raises NotFoundError."""
    async with call.snapshot() as transaction:
        rows, after = await stored.packs_page(transaction, group_id, cursor, limit)
    return [{"id": row["id"], "pack": row["pack"]} for row in rows], after


async def change(call: Call, group_id: UUID, version: int, changes: schemas.GroupChange) -> Row:
    """The changed group. Raises NotFoundError, PreconditionFailedError, ConflictError, InvalidRequestError."""
    given, limits = changes.model_fields_set, _limits(call)
    wanted = stored.GroupChange(
        changes.name if "name" in given else None,
        changes.description if "description" in given else None,
        _once(changes.add, "add", limits),
        _once(changes.remove, "remove", limits),
    )
    async with call.transaction() as transaction:
        return await stored.change(transaction, group_id, version, wanted, limits)


async def delete(call: Call, group_id: UUID) -> None:
    """Forget the group. Raises NotFoundError."""
    async with call.transaction() as transaction:
        await stored.delete(transaction, group_id)


def _limits(call: Call) -> stored.GroupLimits:
    return stored.GroupLimits(call.engine.settings.groups_max, call.engine.settings.group_packs_max)


def _once(packs: Sequence[str], field: str, limits: stored.GroupLimits) -> list[str]:
    if len(packs) > limits.packs_max:
        raise InvalidRequestError(
            f"more than {limits.packs_max} packs in a group", field=field, limit=limits.packs_max
        )
    if len(set(packs)) < len(packs):
        raise InvalidRequestError("a pack stands more than once", field=field)
    return list(packs)
