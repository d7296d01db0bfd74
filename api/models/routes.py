"""Routes of models."""

from typing import Annotated

from fastapi import Depends, Query, Request
from starlette.responses import Response

from api.call import Call
from api.errors import may_answer
from api.models import schemas, service
from api.models.service import SERVICE
from api.registration import Registration, answer_registration, csv_body, read_csv_body
from api.routing import Allowed, IfMatch, PageOf, RecordId, answer, etag, listed, router, version_of
from domain.errors import ConflictError
from domain.policy import Action

routes = router("models")

HTTP_CREATED = 201

Reader = Annotated[Call, Depends(Allowed(Action.MODEL_READ))]
Writer = Annotated[Call, Depends(Allowed(Action.MODEL_WRITE))]


@routes.post(
    "/models", response_model=schemas.Model, status_code=HTTP_CREATED, responses=may_answer(ConflictError)
)
async def create(new: schemas.NewModel, call: Writer) -> Response:
    """Create a model of packs."""
    row = await SERVICE.create(call, new.model_dump())
    return answer(row, HTTP_CREATED, etag(row["version"]))


@routes.get("/models", response_model=schemas.ModelPage)
async def page(request: Request, asked: Annotated[PageOf, Query()], call: Reader) -> Response:
    """List models by name."""
    items, after = await SERVICE.page(call, asked.cursor, asked.limit)
    return listed(request, items, after)


@routes.get("/models/{id}", response_model=schemas.Model)
async def get(record_id: RecordId, call: Reader) -> Response:
    """Read a model of packs."""
    row = await SERVICE.get(call, record_id)
    return answer(row, headers=etag(row["version"]))


@routes.patch("/models/{id}", response_model=schemas.Model)
async def change(
    record_id: RecordId, changes: schemas.ModelChange, call: Writer, if_match: IfMatch = None
) -> Response:
    """Edit a model of packs: send what changes, with If-Match."""
    given = changes.model_dump(exclude_unset=True)
    row = await SERVICE.change(call, record_id, version_of(if_match), given)
    return answer(row, headers=etag(row["version"]))


@routes.post(
    "/models/import",
    response_model=Registration,
    openapi_extra=csv_body("name,chemistry,rated_capacity_ah\nNX-90,LFP,90\n"),
)
async def register(
    request: Request,
    call: Writer,
    dry_run: Annotated[bool, Query(description="only say what would be done")] = False,
) -> Response:
    """Register models from CSV with the columns name, chemistry, rated_capacity_ah, voltage_min_v and
    voltage_max_v: all rows or none. Names that are taken stay as they are.
    """
    body = await read_csv_body(request)
    result = await service.register(call, body, dry_run=dry_run)
    return answer_registration(request, result)
