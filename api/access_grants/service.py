"""Use cases of access grants."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from api.access_grants import schemas
from api.call import Call
from api.engine import Engine
from api.granting import require_may_give
from domain.clock import from_ms
from domain.errors import InvalidRequestError
from storage import access_grants as stored

Row = dict[str, Any]


async def give(call: Call, new: schemas.NewAccessGrant) -> Row:
    """The new grant.

    Raises InvalidRequestError (hours, roles), ForbiddenError (a role beyond the actor's), ConflictError (too many).
    """
    settings, now = call.engine.settings, _now(call.engine)
    if new.hours > settings.access_grant_hours_max:
        raise InvalidRequestError(
            f"at most {settings.access_grant_hours_max:g} hours at once",
            field="hours",
            limit=settings.access_grant_hours_max,
        )
    await require_may_give(call, new.roles)
    wanted = stored.NewGrant(new.subject, sorted({*new.roles}), new.reason, now + timedelta(hours=new.hours))
    async with call.transaction() as transaction:
        row = await stored.give(transaction, wanted, now, settings.access_grants_max)
    return _shown(row, now)


async def get(call: Call, grant_id: UUID) -> Row:
    """The grant. Raises NotFoundError."""
    async with call.snapshot() as transaction:
        return _shown(await stored.get(transaction, grant_id), _now(call.engine))


async def page(call: Call, cursor: str | None, limit: int) -> tuple[list[Row], str | None]:
    """Grants, the newest first, and the cursor of the next page."""
    async with call.snapshot() as transaction:
        rows, after = await stored.page(transaction, cursor, limit)
    now = _now(call.engine)
    return [_shown(row, now) for row in rows], after


async def revoke(call: Call, grant_id: UUID) -> Row:
    """The grant, by which nobody acts any more. Raises NotFoundError."""
    now = _now(call.engine)
    async with call.transaction() as transaction:
        row = await stored.revoke(transaction, grant_id, now)
    await call.engine.identity.revocations.look_now()
    return _shown(row, now)


def _shown(row: Row, now: datetime) -> Row:
    is_open = row["revoked_at"] is None and row["ends_at"] > now
    return row | {"is_open": is_open}


def _now(engine: Engine) -> datetime:
    return from_ms(engine.clock.now_ms())
