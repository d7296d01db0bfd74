"""Routes of models."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query, Request
from starlette.responses import Response

from api.models import schemas, service
from api.models.service import SERVICE
from api.registration import CSV_BODY, Registration, answer_registration, read_csv_body
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
from domain.policy import Action
from domain.tenancy import Actor

routes = router("models")

HTTP_CREATED = 201

Reader = Annotated[Actor, Depends(Allowed(Action.MODEL_READ))]
Writer = Annotated[Actor, Depends(Allowed(Action.MODEL_WRITE))]


@routes.post("/models", response_model=schemas.Model, status_code=HTTP_CREATED)
async def create(new: schemas.NewModel, engine: EngineOf, request_id: RequestId, actor: Writer) -> Response:
    """Create a model of packs."""
    row = await SERVICE.create(engine, actor, request_id, new.model_dump())
    return answer(row, HTTP_CREATED, etag(row["version"]))


@routes.get("/models", response_model=schemas.ModelPage)
async def page(
    request: Request,
    engine: EngineOf,
    request_id: RequestId,
    asked: Annotated[PageOf, Query()],
    actor: Reader,
) -> Response:
    """List models by name."""
    items, after = await SERVICE.page(engine, actor, request_id, asked.cursor, asked.limit)
    return listed(request, items, after)


@routes.get("/models/{id}", response_model=schemas.Model)
async def get(
    id: UUID,  # noqa: A002 - the path's name
    engine: EngineOf,
    request_id: RequestId,
    actor: Reader,
) -> Response:
    """Read a model of packs."""
    row = await SERVICE.get(engine, actor, request_id, id)
    return answer(row, headers=etag(row["version"]))


@routes.patch("/models/{id}", response_model=schemas.Model)
async def change(
    id: UUID,  # noqa: A002 - the path's name
    changes: schemas.ModelChange,
    engine: EngineOf,
    request_id: RequestId,
    actor: Writer,
    if_match: IfMatch = None,
) -> Response:
    """Edit a model of packs: send what changes, with If-Match."""
    given = changes.model_dump(exclude_unset=True)
    row = await SERVICE.change(engine, actor, request_id, id, version_of(if_match), given)
    return answer(row, headers=etag(row["version"]))


@routes.post("/models/import", response_model=Registration, openapi_extra=CSV_BODY)
async def register(
    request: Request,
    engine: EngineOf,
    request_id: RequestId,
    actor: Writer,
    dry_run: Annotated[bool, Query(description="only say what would be done")] = False,
) -> Response:
    """Register models from CSV with the columns name, chemistry, rated_capacity_ah, voltage_min_v and
    voltage_max_v: all rows or none. Names that are taken stay as they are.
    """
    body = await read_csv_body(request)
    result = await service.register(engine, actor, request_id, body, dry_run=dry_run)
    return answer_registration(result)
