"""Routes of quarantine."""

from enum import StrEnum
from typing import Annotated

from fastapi import Depends, Query, Request
from starlette.responses import Response, StreamingResponse

from api.call import Call
from api.errors import may_answer
from api.quarantine import schemas, service
from api.quarantine.redrive import redrive
from api.routing import CSV, JSON, NDJSON, Allowed, RecordId, answer, chosen_format, listed, router
from domain.errors import BusyError, DiskLowError, InFlightError
from domain.policy import Action

routes = router("quarantine")

HTTP_OK, HTTP_NO_CONTENT, HTTP_MULTI_STATUS = 200, 204, 207

Reader = Annotated[Call, Depends(Allowed(Action.QUARANTINE_READ))]
Writer = Annotated[Call, Depends(Allowed(Action.QUARANTINE_WRITE))]


class Format(StrEnum):
    """Formats of an export by their short names."""

    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"


_MEDIA_TYPES = {Format.JSON: JSON, Format.NDJSON: NDJSON, Format.CSV: CSV}


class Listed(schemas.Asked):
    format: Annotated[Format | None, Query(description="instead of Accept")] = None


@routes.get(
    "/quarantine",
    response_model=schemas.QuarantinedPage,
    responses={
        HTTP_OK: {"content": {kind: {"schema": {"type": "string"}} for kind in (NDJSON, CSV)}},
    },
)
async def page(request: Request, asked: Annotated[Listed, Query()], call: Reader) -> Response:
    """Readings set aside, oldest first; equal ones once, with how often they came. As NDJSON or CSV it is an export:
    all of them, unless `limit` or `cursor` ask for a page.
    """
    kind = chosen_format(request, JSON, NDJSON, CSV) if asked.format is None else _MEDIA_TYPES[asked.format]
    if kind != JSON and asked.limit is None and asked.cursor is None:
        return StreamingResponse(await service.export(call, asked, kind), media_type=kind)
    items, after = await service.page(call, asked)
    return listed(request, items, after, kind)


@routes.get("/quarantine/{id}", response_model=schemas.Quarantined)
async def get(item_id: RecordId, call: Reader) -> Response:
    """An item of quarantine."""
    return answer(await service.get(call, item_id))


@routes.post(
    "/quarantine/redrive",
    response_model=schemas.Redriven,
    responses={
        HTTP_MULTI_STATUS: {"model": schemas.Redriven, "description": "Some items stay"},
        **may_answer(InFlightError, BusyError, DiskLowError),
    },
)
async def post_redrive(asked: schemas.Redrive, call: Writer) -> Response:
    """Judge items again, after what was wrong has been put right. Whether they are late is judged by when they first
    came. Those that go in leave quarantine; the others stay as they are. A dry run can't tell duplicates and conflicts.
    """
    found = await redrive(call, asked)
    return answer(found, HTTP_MULTI_STATUS if found["items"] else HTTP_OK)


@routes.delete("/quarantine/{id}", status_code=HTTP_NO_CONTENT)
async def discard(item_id: RecordId, call: Writer) -> Response:
    """Let go of an item for good; the audit log keeps it."""
    await service.discard(call, item_id)
    return Response(status_code=HTTP_NO_CONTENT)
