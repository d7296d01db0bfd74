"""Users of a tenant as records; each change writes its audit row, which says nothing of the person."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import DictRow

from domain.errors import ConflictError, NotFoundError
from domain.users import UserState, subject_of
from storage.cursors import Cursors
from storage.database import query
from storage.epochs import holder_of_subject, raise_epoch
from storage.records import SITES, require_version
from storage.transactions import Pool, Transaction

_USERS = Cursors("users")

_AUDITED = ("state", "roles", "sites", "version")
"""What an audit row says of a user: it stays when the user is purged."""


@dataclass(frozen=True, slots=True)
class Invitation:
    """The digest of an invitation's secret, and when it ends."""

    digest: bytes
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class UserChange:
    """What an edit changes; None is nothing. `sites` None with `set_sites` is no limit to sites."""

    login: str | None
    roles: Sequence[str] | None
    set_sites: bool
    sites: Sequence[str] | None


async def invite(
    transaction: Transaction,
    login: str,
    roles: Sequence[str],
    sites: Sequence[str] | None,
    invitation: Invitation,
    now: datetime,
    users_max: int,
) -> DictRow:
    """The new user. Raises ConflictError (login, number of users), NotFoundError (site)."""
    await transaction.rows("users.lock_all")
    found = await transaction.one("users.count")
    if found is not None and found["count"] >= users_max:
        raise ConflictError(f"there are {users_max} users already", limit=users_max)
    values = {"login": login, "roles": list(roles), "all_sites": sites is None, "now": now}
    try:
        made = await transaction.one("users.insert", values | _parameters(invitation))
    except psycopg.errors.UniqueViolation as error:
        raise _taken() from error
    assert made is not None  # noqa: S101 - INSERT … RETURNING
    await _set_sites(transaction, made["id"], sites)
    after = await get(transaction, made["id"])
    await transaction.audit("users.invited", "users", str(made["id"]), None, _audited(after))
    return after


async def invite_first(
    transaction: Transaction,
    login: str,
    roles: Sequence[str],
    invitation: Invitation,
    now: datetime,
    users_max: int,
) -> DictRow:
    """The first user of a tenant that holds nothing, invited, or invited again. Raises ConflictError."""
    await transaction.rows("users.lock_all")
    if await transaction.one("users.of_inhabited") is not None:
        raise ConflictError("somebody or something is in the tenant already: its own users invite others")
    try:
        known = await by_login(transaction, login)
    except NotFoundError:
        return await invite(transaction, login, roles, None, invitation, now, users_max)
    return await invite_again(transaction, known["id"], invitation)


async def get(transaction: Transaction, user_id: UUID) -> DictRow:
    """The user. Raises NotFoundError."""
    return await _found(transaction, {"id": user_id})


async def by_login(transaction: Transaction, login: str) -> DictRow:
    """The user of a login. Raises NotFoundError."""
    return await _found(transaction, {"login": login})


async def _found(transaction: Transaction, key: dict[str, Any]) -> DictRow:
    row = await transaction.one("users.list", {"id": None, "login": None, "after": None, "limit": 1} | key)
    if row is None:
        raise NotFoundError("there is no such user")
    return row


async def page(transaction: Transaction, cursor: str | None, limit: int) -> tuple[list[DictRow], str | None]:
    """Users by login, and the cursor of the next page."""
    asked = {"id": None, "login": None, "after": _USERS.decode(cursor), "limit": limit + 1}
    return _USERS.page(await transaction.rows("users.list", asked), limit, "login")


async def change(transaction: Transaction, user_id: UUID, version: int, changes: UserChange) -> DictRow:
    """The changed user, who is signed in no more when roles or sites are others than before.

    Raises NotFoundError (user, site), PreconditionFailedError, ConflictError (login; a deleted user).
    """
    before = await _locked(transaction, user_id)
    require_version(before["version"], version)
    _require_kept(before)
    sites = changes.sites if changes.set_sites else before["sites"]
    values = {
        "id": user_id,
        "login": before["login"] if changes.login is None else changes.login,
        "roles": list(before["roles"] if changes.roles is None else changes.roles),
        "all_sites": sites is None,
    }
    try:
        await transaction.rows("users.update", values)
    except psycopg.errors.UniqueViolation as error:
        raise _taken() from error
    if changes.set_sites:
        await _set_sites(transaction, user_id, sites)
    after = await get(transaction, user_id)
    if any(before[name] != after[name] for name in ("roles", "sites")):
        await raise_epoch(transaction, holder_of_subject(subject_of(user_id)))
    told = _audited(after) | ({"login_changed": True} if before["login"] != after["login"] else {})
    await transaction.audit("users.changed", "users", str(user_id), _audited(before), told)
    return after


async def invite_again(transaction: Transaction, user_id: UUID, invitation: Invitation) -> DictRow:
    """The user with a new invitation; the one before ends. Raises NotFoundError, ConflictError."""
    before = await _locked(transaction, user_id)
    if before["state"] not in (UserState.INVITED, UserState.ACTIVE):
        raise ConflictError(f"the user is {before['state']}: resume it first", field="state")
    await transaction.rows("users.invite", {"id": user_id} | _parameters(invitation))
    after = await get(transaction, user_id)
    await transaction.audit("users.invited_again", "users", str(user_id), _audited(before), _audited(after))
    return after


async def suspend(transaction: Transaction, user_id: UUID) -> DictRow:
    """The user, who can't sign in any more, and whose credentials end. Raises NotFoundError, ConflictError."""
    before = await _locked(transaction, user_id)
    _require_kept(before)
    return await _move(transaction, before, UserState.SUSPENDED, "users.suspended")


async def resume(transaction: Transaction, user_id: UUID) -> DictRow:
    """The user as before it was suspended or deleted. Raises NotFoundError."""
    before = await _locked(transaction, user_id)
    if before["state"] in (UserState.ACTIVE, UserState.INVITED):
        return before
    state = UserState.ACTIVE if before["has_password"] else UserState.INVITED
    return await _move(transaction, before, state, "users.resumed")


async def delete(transaction: Transaction, user_id: UUID, purge_at: datetime) -> DictRow:
    """The user, whose credentials end, and of whom only the id is left from `purge_at` on. Raises NotFoundError."""
    before = await _locked(transaction, user_id)
    return await _move(transaction, before, UserState.DELETED, "users.deleted", purge_at)


async def end_credentials(transaction: Transaction, subject: str, user_id: UUID | None) -> None:
    """End all credentials that a subject has so far; user_id: of the user that it is, None for another."""
    if user_id is not None:
        await transaction.rows("users.lock", {"id": user_id})
        await transaction.rows("users.end_sessions", {"id": user_id})
    await raise_epoch(transaction, holder_of_subject(subject))
    await transaction.audit("credentials.revoked", "subjects", subject, None, None)


async def purge(pool: Pool, now: datetime, limit: int) -> int:
    """Forget users who were deleted long enough ago, at most so many; how many they were."""
    async with pool.connection() as connection, connection.transaction():
        return (await connection.execute(query("users.purge"), {"now": now, "limit": limit})).rowcount


async def _move(
    transaction: Transaction, before: DictRow, state: UserState, action: str, purge_at: datetime | None = None
) -> DictRow:
    """Bring a user into a state; nothing changes when it is there already."""
    if before["state"] == state:
        return before
    user_id: UUID = before["id"]
    await transaction.rows("users.set_state", {"id": user_id, "state": state, "purge_at": purge_at})
    await transaction.rows("users.end_sessions", {"id": user_id})
    await raise_epoch(transaction, holder_of_subject(subject_of(user_id)))
    after = await get(transaction, user_id)
    await transaction.audit(action, "users", str(user_id), _audited(before), _audited(after))
    return after


async def _locked(transaction: Transaction, user_id: UUID) -> DictRow:
    await transaction.rows("users.lock", {"id": user_id})
    return await get(transaction, user_id)


async def _set_sites(transaction: Transaction, user_id: UUID, sites: Sequence[str] | None) -> None:
    found = await SITES.ids_of(transaction, set(sites or ()), "sites")
    ids = [site_id for site_id in found.values() if site_id is not None]
    await transaction.rows("users.set_sites", {"id": user_id, "site_ids": ids})


def _require_kept(user: DictRow) -> None:
    if user["state"] == UserState.DELETED:
        raise ConflictError("the user is deleted: resume it first", field="state")


def _taken() -> ConflictError:
    return ConflictError("the login is taken in users", field="login")


def _audited(user: DictRow) -> DictRow:
    return {name: user[name] for name in _AUDITED}


def _parameters(invitation: Invitation) -> dict[str, Any]:
    return {"digest": invitation.digest, "expires_at": invitation.expires_at}
