"""Routes of sites."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query, Request
from starlette.responses import Response

from api.routing import (
    Allowed,
    EngineOf,
    IfMatch,
    PageOf,
    RequestId,
    answer,
    etag,
    listed,
    router,
    version_of,
)
from api.sites import schemas
from api.sites.service import SERVICE
from domain.policy import Action
from domain.tenancy import Actor

routes = router("sites")

HTTP_CREATED = 201

Reader = Annotated[Actor, Depends(Allowed(Action.SITE_READ))]
Writer = Annotated[Actor, Depends(Allowed(Action.SITE_WRITE))]


@routes.post("/sites", response_model=schemas.Site, status_code=HTTP_CREATED)
async def create(new: schemas.NewSite, engine: EngineOf, request_id: RequestId, actor: Writer) -> Response:
    """Create a site."""
    row = await SERVICE.create(engine, actor, request_id, new.model_dump())
    return answer(row, HTTP_CREATED, etag(row["version"]))


@routes.get("/sites", response_model=schemas.SitePage)
async def page(
    request: Request,
    engine: EngineOf,
    request_id: RequestId,
    asked: Annotated[PageOf, Query()],
    actor: Reader,
) -> Response:
    """List sites by name."""
    items, after = await SERVICE.page(engine, actor, request_id, asked.cursor, asked.limit)
    return listed(request, items, after)


@routes.get("/sites/{id}", response_model=schemas.Site)
async def get(
    id: UUID,  # noqa: A002 - the path's name
    engine: EngineOf,
    request_id: RequestId,
    actor: Reader,
) -> Response:
    """Read a site."""
    row = await SERVICE.get(engine, actor, request_id, id)
    return answer(row, headers=etag(row["version"]))


@routes.patch("/sites/{id}", response_model=schemas.Site)
async def change(
    id: UUID,  # noqa: A002 - the path's name
    changes: schemas.SiteChange,
    engine: EngineOf,
    request_id: RequestId,
    actor: Writer,
    if_match: IfMatch = None,
) -> Response:
    """Edit a site: send what changes, with If-Match."""
    given = changes.model_dump(exclude_unset=True)
    row = await SERVICE.change(engine, actor, request_id, id, version_of(if_match), given)
    return answer(row, headers=etag(row["version"]))
