"""Routes of roles, and of questions about what they let one do."""

from typing import Annotated

from fastapi import Depends, Query, Request
from starlette.responses import Response

from api.call import Call
from api.errors import may_answer
from api.roles import schemas, service
from api.routing import Allowed, IfMatch, PageOf, RecordId, answer, etag, listed, router, version_of
from domain.errors import ConflictError
from domain.policy import Action

routes = router("roles")

HTTP_CREATED, HTTP_NO_CONTENT = 201, 204

Reader = Annotated[Call, Depends(Allowed(Action.ROLE_READ))]
Writer = Annotated[Call, Depends(Allowed(Action.ROLE_WRITE))]


@routes.post(
    "/roles",
    response_model=schemas.CustomRole,
    status_code=HTTP_CREATED,
    responses=may_answer(ConflictError),
)
async def create(new: schemas.NewRole, call: Writer) -> Response:
    """Make a role of actions. Credentials name it beside the built-in ones; you can't grant what you may not do."""
    row = await service.create(call, new)
    return answer(row, HTTP_CREATED, etag(row["version"]))


@routes.get("/roles", response_model=schemas.CustomRolePage)
async def page(request: Request, asked: Annotated[PageOf, Query()], call: Reader) -> Response:
    """List the tenant's own roles by name."""
    items, after = await service.page(call, asked.cursor, asked.limit)
    return listed(request, items, after)


@routes.get("/roles/explain", response_model=schemas.Explained)
async def explain(asked: Annotated[schemas.Question, Query()], call: Reader) -> Response:
    """Say whether a credential of some roles and limits may do an action, and why not."""
    return answer(await service.explain(call, asked))


@routes.get("/roles/{id}", response_model=schemas.CustomRole)
async def get(record_id: RecordId, call: Reader) -> Response:
    """Read a role of the tenant's own."""
    row = await service.get(call, record_id)
    return answer(row, headers=etag(row["version"]))


@routes.patch("/roles/{id}", response_model=schemas.CustomRole)
async def change(
    record_id: RecordId, changes: schemas.RoleChange, call: Writer, if_match: IfMatch = None
) -> Response:
    """Edit a role, with If-Match. Who holds it has what it grants then within `BPM_TENANT_CACHE_S`."""
    row = await service.change(call, record_id, version_of(if_match), changes)
    return answer(row, headers=etag(row["version"]))


@routes.delete("/roles/{id}", status_code=HTTP_NO_CONTENT)
async def delete(record_id: RecordId, call: Writer) -> Response:
    """Delete a role. Who holds it loses what it granted, and keeps what other roles grant."""
    await service.delete(call, record_id)
    return Response(status_code=HTTP_NO_CONTENT)


@routes.get("/me/explain", response_model=schemas.Explained)
async def explain_own(
    asked: Annotated[schemas.OwnQuestion, Query()],
    call: Annotated[Call, Depends(Allowed(Action.OWN_PERMISSIONS_READ))],
) -> Response:
    """Say whether this credential may do an action, to something at a site or to a pack, and why not."""
    return answer(await service.explain_own(call, asked))
