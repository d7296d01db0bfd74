"""Routes of operators of the installation."""

from typing import Annotated, Final

from fastapi import Depends, Query, Request
from starlette.responses import Response

from api.call import PlatformCall
from api.errors import may_answer
from api.platform import schemas, service
from api.routing import AllowedOnPlatform, PageOf, RecordId, answer, listed, router
from domain.errors import ConflictError, NotFoundError
from domain.policy import PlatformAction

routes = router("platform")

HTTP_CREATED = 201

_SHOWN_ONCE: Final = {"Cache-Control": "no-store"}

Reader = Annotated[PlatformCall, Depends(AllowedOnPlatform(PlatformAction.TENANT_READ))]
Writer = Annotated[PlatformCall, Depends(AllowedOnPlatform(PlatformAction.TENANT_WRITE))]


@routes.get("/platform/tenants", response_model=schemas.PlatformTenantPage)
async def page(request: Request, asked: Annotated[PageOf, Query()], call: Reader) -> Response:
    """List tenants by name, as customers: nothing of what they hold but the number of packs."""
    items, after = await service.page(call, asked.cursor, asked.limit)
    return listed(request, items, after)


@routes.post(
    "/platform/tenants",
    response_model=schemas.PlatformTenant,
    status_code=HTTP_CREATED,
    responses=may_answer(ConflictError),
)
async def create(new: schemas.NewTenant, call: Writer) -> Response:
    """Make a tenant. Its first administrator is invited by a call of its own."""
    return answer(await service.create(call, new), HTTP_CREATED)


@routes.get(
    "/platform/tenants/{tenant}",
    response_model=schemas.PlatformTenant,
    responses=may_answer(NotFoundError),
)
async def get(tenant: schemas.TenantName, call: Reader) -> Response:
    """Read a tenant as a customer."""
    return answer(await service.get(call, tenant))


@routes.delete(
    "/platform/tenants/{tenant}",
    response_model=schemas.PlatformTenant,
    responses=may_answer(NotFoundError, ConflictError),
)
async def delete(
    tenant: schemas.TenantName, asked: Annotated[schemas.DeletionAsked, Query()], call: Writer
) -> Response:
    """Let a tenant be erased after a grace, until which nothing of it is served. `bpm tenant erase` erases it then."""
    return answer(await service.delete(call, tenant, asked.grace_days))


@routes.post(
    "/platform/tenants/{tenant}/undelete",
    response_model=schemas.PlatformTenant,
    responses=may_answer(NotFoundError, ConflictError),
)
async def undelete(tenant: schemas.TenantName, call: Writer) -> Response:
    """Take back the deletion of a tenant that isn't erased yet: it is active or suspended, as before."""
    return answer(await service.undelete(call, tenant))


@routes.post(
    "/platform/tenants/{tenant}/suspend",
    response_model=schemas.PlatformTenant,
    responses=may_answer(NotFoundError, ConflictError),
)
async def suspend(tenant: schemas.TenantName, why: schemas.Suspension, call: Writer) -> Response:
    """Refuse all requests and readings of a tenant, and end its live connections. What it has is kept."""
    return answer(await service.suspend(call, tenant, why.reason))


@routes.post(
    "/platform/tenants/{tenant}/resume",
    response_model=schemas.PlatformTenant,
    responses=may_answer(NotFoundError, ConflictError),
)
async def resume(tenant: schemas.TenantName, call: Writer) -> Response:
    """Serve a suspended tenant again."""
    return answer(await service.resume(call, tenant))


@routes.put(
    "/platform/tenants/{tenant}/quotas",
    response_model=schemas.PlatformTenant,
    responses=may_answer(NotFoundError),
)
async def set_quotas(tenant: schemas.TenantName, wanted: schemas.TenantQuotas, call: Writer) -> Response:
    """Set what a tenant may use at most. Other processes take it up within BPM_TENANT_CACHE_S."""
    return answer(await service.set_quotas(call, tenant, wanted))


@routes.get(
    "/platform/tenants/{tenant}/usage",
    response_model=schemas.TenantUsagePage,
    responses=may_answer(NotFoundError),
)
async def usage(
    request: Request,
    tenant: schemas.TenantName,
    asked: Annotated[schemas.TenantUsageAsked, Query()],
    call: Reader,
) -> Response:
    """What a tenant used on each day or in each month: counts alone."""
    items, after = await service.used(call, tenant, asked)
    return listed(request, items, after)


@routes.post(
    "/platform/tenants/{tenant}/administrator",
    response_model=schemas.InvitedAdministrator,
    status_code=HTTP_CREATED,
    responses=may_answer(NotFoundError, ConflictError),
)
async def invite_administrator(
    tenant: schemas.TenantName, new: schemas.Administrator, call: Writer
) -> Response:
    """Invite a tenant's first administrator, while nobody and nothing is in the tenant yet. Again, when it was lost."""
    return answer(await service.invite_administrator(call, tenant, new.login), HTTP_CREATED, _SHOWN_ONCE)


@routes.get("/platform/grants", response_model=schemas.GivenAccesses)
async def given_access(
    call: Annotated[PlatformCall, Depends(AllowedOnPlatform(PlatformAction.GRANT_READ))],
) -> Response:
    """Say who you are, and which tenants let you act in them now."""
    return answer(await service.given_access(call))


@routes.post(
    "/platform/grants/{id}/token",
    response_model=schemas.TenantToken,
    status_code=HTTP_CREATED,
    responses=may_answer(NotFoundError),
)
async def token(
    request: Request,
    record_id: RecordId,
    call: Annotated[PlatformCall, Depends(AllowedOnPlatform(PlatformAction.GRANT_USE))],
) -> Response:
    """Get an access token of a tenant that lets you act in it. It ends with the grant, or with you, at the latest."""
    given = await service.token_by_grant(call, record_id, request.headers.get("authorization"))
    return answer(given, HTTP_CREATED, _SHOWN_ONCE)


@routes.get("/platform/log", response_model=schemas.LogEntryPage)
async def log(
    request: Request,
    asked: Annotated[schemas.LogAsked, Query()],
    call: Annotated[PlatformCall, Depends(AllowedOnPlatform(PlatformAction.LOG_READ))],
) -> Response:
    """List what was done to tenants and operators, by whom, the newest first."""
    items, after = await service.log(call, asked)
    return listed(request, items, after)
