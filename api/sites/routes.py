"""Routes of sites."""

from typing import Annotated

from fastapi import Depends, Query, Request
from starlette.responses import Response

from api.call import Call
from api.errors import may_answer
from api.routing import Allowed, IfMatch, PageOf, RecordId, answer, etag, listed, router, version_of
from api.sites import schemas
from api.sites.service import SERVICE
from domain.errors import ConflictError
from domain.policy import Action

routes = router("sites")

HTTP_CREATED = 201

Reader = Annotated[Call, Depends(Allowed(Action.SITE_READ))]
Writer = Annotated[Call, Depends(Allowed(Action.SITE_WRITE))]


@routes.post(
    "/sites", response_model=schemas.Site, status_code=HTTP_CREATED, responses=may_answer(ConflictError)
)
async def create(new: schemas.NewSite, call: Writer) -> Response:
    """Create a site."""
    row = await SERVICE.create(call, new.model_dump())
    return answer(row, HTTP_CREATED, etag(row["version"]))


@routes.get("/sites", response_model=schemas.SitePage)
async def page(request: Request, asked: Annotated[PageOf, Query()], call: Reader) -> Response:
    """List sites by name."""
    items, after = await SERVICE.page(call, asked.cursor, asked.limit)
    return listed(request, items, after)


@routes.get("/sites/{id}", response_model=schemas.Site)
async def get(record_id: RecordId, call: Reader) -> Response:
    """Read a site."""
    row = await SERVICE.get(call, record_id)
    return answer(row, headers=etag(row["version"]))


@routes.patch("/sites/{id}", response_model=schemas.Site)
async def change(
    record_id: RecordId, changes: schemas.SiteChange, call: Writer, if_match: IfMatch = None
) -> Response:
    """Edit a site: send what changes, with If-Match."""
    given = changes.model_dump(exclude_unset=True)
    row = await SERVICE.change(call, record_id, version_of(if_match), given)
    return answer(row, headers=etag(row["version"]))
