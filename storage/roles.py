"""Roles that tenants make of actions."""

from typing import Any
from uuid import UUID

from psycopg.rows import DictRow

from domain.errors import ConflictError
from storage.records import Records
from storage.transactions import Transaction

ROLES = Records("roles", columns=("description", "actions"))


async def create(transaction: Transaction, values: dict[str, Any], roles_max: int) -> DictRow:
    """The new role. Raises ConflictError (name, number of roles)."""
    await transaction.rows("roles.lock_all")
    found = await transaction.one("roles.count")
    if found is not None and found["count"] >= roles_max:
        raise ConflictError(f"there are {roles_max} roles already", limit=roles_max)
    return await ROLES.insert(transaction, values)


async def delete(transaction: Transaction, role_id: UUID) -> None:
    """Forget the role; credentials that name it lose what it granted. Raises NotFoundError."""
    await ROLES.delete(transaction, role_id)
