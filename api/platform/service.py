"""Use cases of operators: what the commands do too, by the same code."""

import secrets
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID

from api.call import PlatformCall
from api.engine import Engine
from api.identity.issuing import Bearer
from api.platform import schemas
from api.ranges import require_range
from api.usage import service as usage_service
from domain.clock import from_ms, rfc3339
from domain.errors import ConflictError, NotFoundError
from domain.tenancy import Actor, Role
from domain.usage import Quotas
from domain.users import login_of
from storage import access_grants, platform_log, tenants, usage, users
from storage.sessions import digest
from storage.transactions import Transactions

Row = dict[str, Any]

_INVITATION_BYTES: Final = 32
_GRANTS_MAX: Final = 1000


async def page(call: PlatformCall, cursor: str | None, limit: int) -> tuple[list[Row], str | None]:
    """Tenants by name, and the cursor of the next page."""
    return await call.engine.platform.do(lambda conninfo: tenants.page(conninfo, cursor, limit))


async def get(call: PlatformCall, name: str) -> Row:
    """The tenant as a customer. Raises NotFoundError."""
    return await call.engine.platform.do(lambda conninfo: tenants.get(conninfo, name))


async def create(call: PlatformCall, new: schemas.NewTenant) -> Row:
    """The new tenant. Raises ConflictError when the name is taken, InvalidRequestError (retention_class)."""
    make = partial(
        tenants.create,
        name=new.name,
        register_unknown_packs=new.register_unknown_packs,
        retention_class=new.retention_class,
        by=call.doer,
    )
    if not await call.engine.platform.do(make):
        raise ConflictError("the name is taken in tenants", field="name")
    return await get(call, new.name)


async def suspend(call: PlatformCall, name: str, reason: str) -> Row:
    """The suspended tenant. Raises NotFoundError, ConflictError when it is being deleted or isn't here."""
    await call.engine.platform.do(partial(tenants.suspend, name=name, reason=reason, by=call.doer))
    return await _after(call, name)


async def resume(call: PlatformCall, name: str) -> Row:
    """The resumed tenant. Raises NotFoundError, ConflictError when it is being deleted."""
    await call.engine.platform.do(partial(tenants.resume, name=name, by=call.doer))
    return await _after(call, name)


async def delete(call: PlatformCall, name: str, grace_days: float | None) -> Row:
    """The tenant, which may be erased after its grace. Raises NotFoundError, ConflictError while it is moved."""
    days = call.engine.settings.tenant_grace_days if grace_days is None else grace_days
    await call.engine.platform.do(partial(tenants.delete, name=name, grace_days=days, by=call.doer))
    return await _after(call, name)


async def undelete(call: PlatformCall, name: str) -> Row:
    """The tenant as before its deletion. Raises NotFoundError, ConflictError when it is being erased."""
    await call.engine.platform.do(partial(tenants.undelete, name=name, by=call.doer))
    return await _after(call, name)


async def set_quotas(call: PlatformCall, name: str, wanted: schemas.TenantQuotas) -> Row:
    """The tenant with these quotas. Raises NotFoundError."""
    quotas = Quotas(**wanted.model_dump())
    change = partial(tenants.set_quotas, name=name, change=lambda _: quotas, by=call.doer)
    await call.engine.platform.do(change)
    return await _after(call, name)


async def _after(call: PlatformCall, name: str) -> Row:
    call.engine.forget_tenant(name)
    return await get(call, name)


async def used(
    call: PlatformCall, name: str, asked: schemas.TenantUsageAsked
) -> tuple[list[Row], str | None]:
    """Periods of a tenant in order, and the cursor of the next page. Raises NotFoundError, InvalidRequestError."""
    wanted = usage_service.wanted_of(asked)
    rows, after = await call.engine.platform.do(partial(usage.page_of, name=name, wanted=wanted))
    return [usage_service.shown(row) for row in rows], after


async def invite_administrator(call: PlatformCall, name: str, login: str) -> Row:
    """The first administrator of a tenant that holds nothing yet, with an invitation.

    Raises NotFoundError, InvalidRequestError (login), ConflictError when somebody or something is in the tenant
    already: else an operator could let itself in.
    """
    engine, known_as = call.engine, login_of(login)
    secret = secrets.token_urlsafe(_INVITATION_BYTES)
    now = _now(engine)
    invitation = users.Invitation(digest(secret), now + timedelta(hours=engine.settings.invitation_hours))
    tenant = await engine.registry.tenant(name)
    if tenant is None:
        raise NotFoundError(f"there is no tenant {name}", field="tenant")
    tenant.place.require_settled(name, engine.settings.retry_after_s)
    actor = Actor(call.operator.subject, tenant.tenant_id, name, frozenset())
    # As the role that writes the platform's log, so that both logs say it or none.
    across = Transactions(engine.directory)
    async with across.begin(actor, call.request_id, client_address=call.client_address) as transaction:
        row = await users.invite_first(
            transaction, known_as, [Role.TENANT_ADMIN], invitation, now, engine.settings.users_max
        )
        done = platform_log.Done("tenants.administrator_invited", "tenants", name, {"user": str(row["id"])})
        await platform_log.note_within(transaction, call.doer, done)
    return {
        "login": row["login"],
        "invitation": secret,
        "invitation_expires_at": row["invitation_expires_at"],
    }


async def given_access(call: PlatformCall) -> Row:
    """The operator, and the grants by which it may act now."""
    subject, now = call.operator.subject, _now(call.engine)
    rows = await call.engine.platform.do(
        partial(access_grants.open_for, subject=subject, now=now, limit=_GRANTS_MAX)
    )
    shown = [{name: value for name, value in row.items() if name != "tenant_id"} for row in rows]
    return {"subject": subject, "grants": shown}


async def token_by_grant(call: PlatformCall, grant_id: UUID, authorization: str | None) -> Row:
    """An access token of a grant's tenant, which ends with the grant at the latest.

    Raises NotFoundError, the same for a grant that there isn't, that is for others, or that has ended; what says why
    the tenant isn't served.
    """
    engine, subject = call.engine, call.operator.subject
    find = partial(access_grants.open_one, grant_id=grant_id, subject=subject, now=_now(engine))
    grant = await engine.platform.do(find)
    await engine.require_settled(grant["tenant"])
    await engine.platform.do(partial(access_grants.note_token, grant=grant, by=call.doer))
    claims = await engine.claims_of(authorization)
    bearer = Bearer(
        tenant=grant["tenant"],
        subject=subject,
        roles=grant["roles"],
        sites=None,
        epoch=claims.epoch or 0,
        session=claims.session,
        ends_at_s=int(grant["ends_at"].timestamp()),
        grant=grant_id,
    )
    token, life_s = engine.identity.issuer.issue(bearer)
    return {
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": life_s,
        "tenant": grant["tenant"],
    }


async def log(call: PlatformCall, asked: schemas.LogAsked) -> tuple[list[Row], str | None]:
    """Entries of the platform's log, the newest first, and the cursor of the next page. Raises InvalidRequestError."""
    require_range(asked.starts, asked.ends)
    wanted = platform_log.Wanted(**asked.model_dump(exclude={"limit", "cursor"}))
    rows, after = await call.engine.platform.do(
        partial(platform_log.page, wanted=wanted, cursor=asked.cursor, limit=asked.limit)
    )
    shown = [{name: row[name] for name in row if name != "id"} | {"at": rfc3339(row["at"])} for row in rows]
    return shown, after


def _now(engine: Engine) -> datetime:
    return from_ms(engine.clock.now_ms())
