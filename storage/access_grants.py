"""What tenants let operators of the installation do in them for a time; each change writes its audit row."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg.rows import DictRow, dict_row

from domain.errors import ConflictError, NotFoundError
from domain.operators import Doer
from storage.connections import connect
from storage.cursors import Cursors, moment_in, no_cursor
from storage.database import query
from storage.epochs import holder_of_grant, raise_epoch
from storage.platform_log import Done, note
from storage.transactions import Transaction

_GRANTS = Cursors("access grants")
RESOURCE = "access_grants"

_FIRST: Final[dict[str, Any]] = {"before": None, "before_id": None}

_AUDITED = ("subject", "roles", "reason", "ends_at", "revoked_at")


@dataclass(frozen=True, slots=True)
class NewGrant:
    """Who may act in the tenant (None: every operator), as what, why and until when."""

    subject: str | None
    roles: Sequence[str]
    reason: str
    ends_at: datetime


async def give(transaction: Transaction, new: NewGrant, now: datetime, open_max: int) -> DictRow:
    """The new grant. Raises ConflictError when too many are open."""
    await transaction.rows("access_grants.lock_all")
    found = await transaction.one("access_grants.count_open", {"now": now})
    if found is not None and found["count"] >= open_max:
        raise ConflictError(f"there are {open_max} open access grants already", limit=open_max)
    values = {
        "subject": new.subject,
        "roles": list(new.roles),
        "reason": new.reason,
        "ends_at": new.ends_at,
        "granted_by": transaction.actor.subject,
        "now": now,
    }
    row = await transaction.one("access_grants.insert", values)
    assert row is not None  # noqa: S101 - INSERT … RETURNING
    await transaction.audit("access_grants.given", RESOURCE, str(row["id"]), None, _audited(row))
    return row


async def get(transaction: Transaction, grant_id: UUID) -> DictRow:
    """The grant. Raises NotFoundError."""
    row = await transaction.one("access_grants.list", _FIRST | {"id": grant_id, "limit": 1})
    if row is None:
        raise _absent()
    return row


async def page(transaction: Transaction, cursor: str | None, limit: int) -> tuple[list[DictRow], str | None]:
    """Grants, the newest first, and the cursor of the next page."""
    asked = _after(cursor) | {"id": None, "limit": limit + 1}
    rows = await transaction.rows("access_grants.list", asked)
    if len(rows) <= limit:
        return rows, None
    last = rows[limit - 1]
    return rows[:limit], _GRANTS.encode(f"{last['granted_at'].isoformat()} {last['id']}")


async def revoke(transaction: Transaction, grant_id: UUID, now: datetime) -> DictRow:
    """The grant, by which nobody acts any more; one that has ended is left as it is. Raises NotFoundError."""
    await transaction.rows("access_grants.lock", {"id": grant_id})
    before = await get(transaction, grant_id)
    if before["revoked_at"] is not None or before["ends_at"] <= now:
        return before
    given = {"id": grant_id, "now": now, "revoked_by": transaction.actor.subject}
    await transaction.rows("access_grants.revoke", given)
    await raise_epoch(transaction, holder_of_grant(grant_id))
    after = await get(transaction, grant_id)
    await transaction.audit(
        "access_grants.revoked", RESOURCE, str(grant_id), _audited(before), _audited(after)
    )
    return after


async def note_use(
    transaction: Transaction, grant_id: UUID, method: str, path: str, more: dict[str, Any]
) -> None:
    """Let the tenant's audit log say that an operator has asked for something by the grant.

    more: the body of a request, or the first frame of a socket.
    """
    asked = {"method": method, "path": path} | more
    await transaction.audit("access_grants.used", RESOURCE, str(grant_id), None, asked)


def open_for(conninfo: str, subject: str, now: datetime, limit: int) -> list[DictRow]:
    """The grants of all tenants by which an operator may act now, those that end first before others."""
    asked = {"subject": subject, "now": now, "id": None, "limit": limit}
    with connect(conninfo, row_factory=dict_row) as connection:
        return connection.execute(query("access_grants.open_for"), asked).fetchall()


def open_one(conninfo: str, grant_id: UUID, subject: str, now: datetime) -> DictRow:
    """The grant by which an operator may act now.

    Raises NotFoundError, the same for one that there isn't, that is for others, or that has ended.
    """
    asked = {"subject": subject, "now": now, "id": grant_id, "limit": 1}
    with connect(conninfo, row_factory=dict_row) as connection:
        row = connection.execute(query("access_grants.open_for"), asked).fetchone()
    if row is None:
        raise _absent()
    return row


def note_token(conninfo: str, grant: DictRow, by: Doer) -> None:
    """Let the tenant's audit log and the platform's say that an operator gets a token by a grant."""
    done = Done("access_grants.token_issued", RESOURCE, str(grant["id"]), {"tenant": grant["tenant"]})
    with connect(conninfo, row_factory=dict_row) as connection:
        note(connection, by, done, tenant_id=grant["tenant_id"])


def end_all(connection: psycopg.Connection[DictRow], tenant_id: int, by: Doer) -> None:
    """End all grants of a tenant, in the connection's transaction: nobody of it could revoke one from now on."""
    given = {"tenant": tenant_id, "by": by.subject}
    for row in connection.execute(query("access_grants.end_all"), given).fetchall():
        done = Done(
            "access_grants.revoked", RESOURCE, str(row["id"]), {"revoked_at": row["revoked_at"].isoformat()}
        )
        note(connection, by, done, tenant_id=tenant_id)


def _after(cursor: str | None) -> dict[str, Any]:
    """Behind which grant a page begins. Raises InvalidRequestError."""
    key = _GRANTS.decode(cursor)
    if key is None:
        return _FIRST
    given_at, _, grant_id = key.partition(" ")
    try:
        return {"before": moment_in(given_at), "before_id": UUID(grant_id)}
    except ValueError as error:
        raise no_cursor() from error


def _absent() -> NotFoundError:
    return NotFoundError("there is no such access grant")


def _audited(grant: DictRow) -> DictRow:
    return {name: grant[name] for name in _AUDITED}
