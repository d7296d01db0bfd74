"""Routes of packs."""

import asyncio
from typing import Annotated

from fastapi import Depends, Query, Request
from starlette.responses import Response

from api.call import Call
from api.errors import may_answer
from api.packs import latest as latest_values
from api.packs import latest_encode, schemas, service
from api.registration import Registration, answer_registration, csv_body, read_csv_body
from api.routing import (
    ARROW,
    CSV,
    JSON,
    NDJSON,
    Allowed,
    IfMatch,
    RecordId,
    answer,
    chosen_format,
    etag,
    listed,
    router,
    version_of,
)
from domain.errors import ConflictError, NotFoundError
from domain.policy import Action

routes = router("packs")

HTTP_CREATED = 201

_ENCODERS = {
    JSON: latest_encode.json_body,
    NDJSON: latest_encode.ndjson_body,
    CSV: latest_encode.csv_body,
    ARROW: latest_encode.arrow_body,
}

Reader = Annotated[Call, Depends(Allowed(Action.PACK_READ))]
Writer = Annotated[Call, Depends(Allowed(Action.PACK_WRITE))]


@routes.post(
    "/packs",
    response_model=schemas.Pack,
    status_code=HTTP_CREATED,
    responses=may_answer(ConflictError, NotFoundError),
)
async def create(new: schemas.NewPack, call: Writer) -> Response:
    """Register a pack."""
    row = await service.create(call, new)
    return answer(row, HTTP_CREATED, etag(row["version"]))


@routes.post(
    "/packs/import",
    response_model=Registration,
    responses=may_answer(ConflictError),
    openapi_extra=csv_body("pack,model,site\nNX-1,NX-90,Bern\nNX-2,NX-90,\n"),
)
async def register(
    request: Request,
    call: Writer,
    dry_run: Annotated[bool, Query(description="only say what would be done")] = False,
) -> Response:
    """Register packs from CSV with the columns pack, model and site: all rows or none. Packs that are
    registered already stay as they are.
    """
    body = await read_csv_body(request)
    return answer_registration(request, await service.register(call, body, dry_run=dry_run))


@routes.get("/packs", response_model=schemas.PackPage)
async def page(request: Request, asked: Annotated[schemas.PacksAsked, Query()], call: Reader) -> Response:
    """List packs by external id, all or those that match. A search looks at so many packs for one page: it may be
    short, or empty, and go on behind its cursor.
    """
    found = await service.page(call, asked)
    return listed(request, found.rows, found.cursor, told={"looked_at": found.looked_at})


@routes.get("/packs/{id}", response_model=schemas.PackDetail)
async def get(record_id: RecordId, call: Reader) -> Response:
    """Read a pack with its tenures and the latest value of each measure."""
    row = await service.get(call, record_id)
    return answer(row, headers=etag(row["version"]))


@routes.get("/packs/{id}/latest", response_model=schemas.Latest)
async def latest(
    record_id: RecordId, call: Annotated[Call, Depends(Allowed(Action.TELEMETRY_READ))]
) -> Response:
    """The latest value of each measure by event time."""
    return answer(await service.latest(call, record_id))


@routes.post(
    "/packs/latest",
    response_model=schemas.LatestOfPacks,
    responses={
        200: {
            "content": {
                NDJSON: {"schema": {"type": "string"}, "example": schemas.LATEST_LINE},
                CSV: {"schema": {"type": "string"}, "example": schemas.LATEST_CSV},
                ARROW: {"schema": {"type": "string", "format": "binary"}},
            },
            "headers": {
                "Unknown-Packs": {
                    "description": "how many of the packs asked for there are none of",
                    "schema": {"type": "integer"},
                }
            },
        },
        **may_answer(NotFoundError),
    },
)
async def latest_of_packs(
    request: Request,
    asked: schemas.LatestAsked,
    call: Annotated[Call, Depends(Allowed(Action.TELEMETRY_READ))],
) -> Response:
    """The latest value of each measure, of many packs at once. Packs that there are none of are named, and refuse
    nothing.
    """
    chosen = chosen_format(request, JSON, NDJSON, CSV, ARROW)
    if asked.group is not None:
        found = await latest_values.of_group(call, asked.group)
    else:
        found = await latest_values.of_packs(call, asked.packs or [])
    body = await asyncio.to_thread(_ENCODERS[chosen], found)
    return Response(body, headers={"Unknown-Packs": str(len(found.unknown))}, media_type=chosen)


@routes.patch("/packs/{id}", response_model=schemas.Pack)
async def change(
    record_id: RecordId, changes: schemas.PackChange, call: Writer, if_match: IfMatch = None
) -> Response:
    """Put a pack right: its external id, or the model or site of its last tenure. Send what changes, with If-Match."""
    given = changes.model_dump(exclude_unset=True)
    row = await service.change(call, record_id, version_of(if_match), given)
    return answer(row, headers=etag(row["version"]))


@routes.post(
    "/packs/{id}/tenures",
    response_model=schemas.Pack,
    status_code=HTTP_CREATED,
    responses=may_answer(ConflictError),
)
async def move(record_id: RecordId, tenure: schemas.NewTenure, call: Writer) -> Response:
    """Move a pack to another site, or count it as another model, from a time on."""
    given = tenure.model_dump(exclude_unset=True, exclude={"starts"})
    row = await service.move(call, record_id, tenure.starts, given)
    return answer(row, HTTP_CREATED, etag(row["version"]))
