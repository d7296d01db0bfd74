"""Routes of access grants."""

from typing import Annotated

from fastapi import Depends, Query, Request
from starlette.responses import Response

from api.access_grants import schemas, service
from api.call import Call
from api.errors import may_answer
from api.routing import Allowed, PageOf, RecordId, answer, listed, router
from domain.errors import ConflictError
from domain.policy import Action

routes = router("access_grants")

HTTP_CREATED = 201

Reader = Annotated[Call, Depends(Allowed(Action.ACCESS_GRANT_READ))]
Writer = Annotated[Call, Depends(Allowed(Action.ACCESS_GRANT_WRITE))]


@routes.post(
    "/access-grants",
    response_model=schemas.AccessGrant,
    status_code=HTTP_CREATED,
    responses=may_answer(ConflictError),
)
async def give(new: schemas.NewAccessGrant, call: Writer) -> Response:
    """Let operators of the installation act in the tenant for a time: with roles that the own credential holds.

    Each request that they make by it is in the audit log, as `access_grants.used`.
    """
    return answer(await service.give(call, new), HTTP_CREATED)


@routes.get("/access-grants", response_model=schemas.AccessGrantPage)
async def page(request: Request, asked: Annotated[PageOf, Query()], call: Reader) -> Response:
    """List access grants, the newest first, ended ones too."""
    items, after = await service.page(call, asked.cursor, asked.limit)
    return listed(request, items, after)


@routes.get("/access-grants/{id}", response_model=schemas.AccessGrant)
async def get(record_id: RecordId, call: Reader) -> Response:
    """Read an access grant."""
    return answer(await service.get(call, record_id))


@routes.post("/access-grants/{id}/revoke", response_model=schemas.AccessGrant)
async def revoke(record_id: RecordId, call: Writer) -> Response:
    """End an access grant now: tokens and live connections by it end within seconds."""
    return answer(await service.revoke(call, record_id))
