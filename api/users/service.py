"""Use cases of users."""

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from api.call import Call
from api.engine import Engine
from api.granting import require_may_give
from api.users import schemas
from domain.clock import from_ms
from domain.errors import InvalidRequestError
from domain.users import login_of, subject_of, user_of
from storage import users as stored
from storage.sessions import digest

Row = dict[str, Any]

_INVITATION_BYTES = 32


async def invite(call: Call, new: schemas.NewUser) -> Row:
    """The new user with its invitation.

    Raises ConflictError (login, number of users), NotFoundError (site), ForbiddenError (role), InvalidRequestError.
    """
    await require_may_give(call, new.roles)
    login, secret = login_of(new.login), secrets.token_urlsafe(_INVITATION_BYTES)
    async with call.transaction() as transaction:
        row = await stored.invite(
            transaction,
            login,
            _once(new.roles, "roles"),
            None if new.sites is None else _once(new.sites, "sites"),
            _invitation(call.engine, secret),
            _now(call.engine),
            call.engine.settings.users_max,
        )
    return shown(row) | {"invitation": secret}


async def invite_again(call: Call, user_id: UUID) -> Row:
    """The user with a new invitation. Raises NotFoundError, ConflictError, ForbiddenError."""
    secret = secrets.token_urlsafe(_INVITATION_BYTES)
    async with call.transaction() as transaction:
        await require_may_give(call, (await stored.get(transaction, user_id))["roles"])
        row = await stored.invite_again(transaction, user_id, _invitation(call.engine, secret))
    return shown(row) | {"invitation": secret}


async def get(call: Call, user_id: UUID) -> Row:
    """The user. Raises NotFoundError."""
    async with call.snapshot() as transaction:
        return shown(await stored.get(transaction, user_id))


async def page(call: Call, cursor: str | None, limit: int) -> tuple[list[Row], str | None]:
    """Users by login, and the cursor of the next page."""
    async with call.snapshot() as transaction:
        rows, after = await stored.page(transaction, cursor, limit)
    return [shown(row) for row in rows], after


async def change(call: Call, user_id: UUID, version: int, changes: schemas.UserChange) -> Row:
    """The changed user.

    Raises NotFoundError, PreconditionFailedError, ConflictError, ForbiddenError (role), InvalidRequestError.
    """
    given = changes.model_fields_set
    await require_may_give(call, changes.roles)
    wanted = stored.UserChange(
        login_of(changes.login) if "login" in given else None,
        _once(changes.roles, "roles") if "roles" in given else None,
        "sites" in given,
        None if changes.sites is None else _once(changes.sites, "sites"),
    )
    async with call.transaction() as transaction:
        row = await stored.change(transaction, user_id, version, wanted)
    return await _told(call, row)


async def suspend(call: Call, user_id: UUID) -> Row:
    """The suspended user. Raises NotFoundError, ConflictError."""
    async with call.transaction() as transaction:
        row = await stored.suspend(transaction, user_id)
    return await _told(call, row)


async def resume(call: Call, user_id: UUID) -> Row:
    """The resumed user. Raises NotFoundError, ForbiddenError."""
    async with call.transaction() as transaction:
        await require_may_give(call, (await stored.get(transaction, user_id))["roles"])
        row = await stored.resume(transaction, user_id)
    return await _told(call, row)


async def delete(call: Call, user_id: UUID) -> Row:
    """The deleted user. Raises NotFoundError."""
    purge_at = _now(call.engine) + timedelta(days=call.engine.settings.user_purge_days)
    async with call.transaction() as transaction:
        row = await stored.delete(transaction, user_id, purge_at)
    return await _told(call, row)


async def end_credentials(call: Call, subject: str) -> None:
    """End all credentials that a subject of the tenant has so far."""
    async with call.transaction() as transaction:
        await stored.end_credentials(transaction, subject, user_of(subject))
    await call.engine.identity.revocations.look_now()


def shown(row: Row) -> Row:
    """A user as answers show it."""
    names = (
        "id", "login", "state", "roles", "sites", "invitation_expires_at", "created_at", "purge_at", "version",
    )  # fmt: skip
    return {"subject": subject_of(row["id"])} | {name: row[name] for name in names}


async def _told(call: Call, row: Row) -> Row:
    await call.engine.identity.revocations.look_now()
    return shown(row)


def _once(values: Sequence[str], field: str) -> list[str]:
    if len(set(values)) < len(values):
        raise InvalidRequestError("it stands more than once", field=field)
    return [str(value) for value in values]


def _invitation(engine: Engine, secret: str) -> stored.Invitation:
    return stored.Invitation(digest(secret), _now(engine) + timedelta(hours=engine.settings.invitation_hours))


def _now(engine: Engine) -> datetime:
    return from_ms(engine.clock.now_ms())
