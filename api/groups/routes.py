"""Routes of saved groups."""

from typing import Annotated

from fastapi import Depends, Query, Request
from starlette.responses import Response

from api.call import Call
from api.errors import may_answer
from api.groups import schemas, service
from api.routing import Allowed, IfMatch, PageOf, RecordId, answer, etag, listed, router, version_of
from domain.errors import ConflictError, NotFoundError
from domain.policy import Action

routes = router("groups")

HTTP_CREATED, HTTP_NO_CONTENT = 201, 204

Reader = Annotated[Call, Depends(Allowed(Action.GROUP_READ))]
Writer = Annotated[Call, Depends(Allowed(Action.GROUP_WRITE))]


@routes.post(
    "/groups",
    response_model=schemas.SavedGroup,
    status_code=HTTP_CREATED,
    responses=may_answer(ConflictError, NotFoundError),
)
async def create(new: schemas.NewGroup, call: Writer) -> Response:
    """Save a group of packs under a name. It is asked for as `saved:NAME` where a `group` is taken."""
    row = await service.create(call, new)
    return answer(row, HTTP_CREATED, etag(row["version"]))


@routes.get("/groups", response_model=schemas.GroupPage)
async def page(request: Request, asked: Annotated[PageOf, Query()], call: Reader) -> Response:
    """List saved groups by name."""
    items, after = await service.page(call, asked.cursor, asked.limit)
    return listed(request, items, after)


@routes.get("/groups/{id}", response_model=schemas.SavedGroup)
async def get(record_id: RecordId, call: Reader) -> Response:
    """Read a saved group."""
    row = await service.get(call, record_id)
    return answer(row, headers=etag(row["version"]))


@routes.get("/groups/{id}/packs", response_model=schemas.GroupPackPage)
async def packs(
    request: Request, record_id: RecordId, asked: Annotated[PageOf, Query()], call: Reader
) -> Response:
    """List the packs of a saved group by external id."""
    items, after = await service.packs(call, record_id, asked.cursor, asked.limit)
    return listed(request, items, after)


@routes.patch("/groups/{id}", response_model=schemas.SavedGroup)
async def change(
    record_id: RecordId, changes: schemas.GroupChange, call: Writer, if_match: IfMatch = None
) -> Response:
    """Edit a saved group, with If-Match: its name and description, packs to add and packs to remove."""
    row = await service.change(call, record_id, version_of(if_match), changes)
    return answer(row, headers=etag(row["version"]))


@routes.delete("/groups/{id}", status_code=HTTP_NO_CONTENT)
async def delete(record_id: RecordId, call: Writer) -> Response:
    """Delete a saved group. Its packs stay as they are."""
    await service.delete(call, record_id)
    return Response(status_code=HTTP_NO_CONTENT)
