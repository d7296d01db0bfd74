"""Routes of packs."""

from typing import Annotated

from fastapi import Depends, Query, Request
from starlette.responses import Response

from api.call import Call
from api.packs import schemas, service
from api.registration import CSV_BODY, Registration, answer_registration, read_csv_body
from api.routing import Allowed, IfMatch, PageOf, RecordId, answer, etag, listed, router, version_of
from domain.policy import Action

routes = router("packs")

HTTP_CREATED = 201

Reader = Annotated[Call, Depends(Allowed(Action.PACK_READ))]
Writer = Annotated[Call, Depends(Allowed(Action.PACK_WRITE))]


@routes.post("/packs", response_model=schemas.Pack, status_code=HTTP_CREATED)
async def create(new: schemas.NewPack, call: Writer) -> Response:
    """Register a pack."""
    row = await service.create(call, new)
    return answer(row, HTTP_CREATED, etag(row["version"]))


@routes.post("/packs/import", response_model=Registration, openapi_extra=CSV_BODY)
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
async def page(request: Request, asked: Annotated[PageOf, Query()], call: Reader) -> Response:
    """List packs by external id."""
    items, after = await service.page(call, asked.cursor, asked.limit)
    return listed(request, items, after)


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


@routes.patch("/packs/{id}", response_model=schemas.Pack)
async def change(
    record_id: RecordId, changes: schemas.PackChange, call: Writer, if_match: IfMatch = None
) -> Response:
    """Put a pack right: its external id, or the model or site of its last tenure. Send what changes, with If-Match."""
    given = changes.model_dump(exclude_unset=True)
    row = await service.change(call, record_id, version_of(if_match), given)
    return answer(row, headers=etag(row["version"]))


@routes.post("/packs/{id}/tenures", response_model=schemas.Pack, status_code=HTTP_CREATED)
async def move(record_id: RecordId, tenure: schemas.NewTenure, call: Writer) -> Response:
    """Move a pack to another site, or count it as another model, from a time on."""
    row = await service.move(call, record_id, tenure.starts, tenure.site, tenure.model)
    return answer(row, HTTP_CREATED, etag(row["version"]))
