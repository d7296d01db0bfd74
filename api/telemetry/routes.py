"""Telemetry in, and what became of it."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Header, Query, Request
from starlette.responses import Response

from api.call import Call
from api.routing import Allowed, PageOf, RecordId, answer, listed, read_body, router
from api.telemetry import schemas, service
from domain.policy import Action
from domain.receipts import QuarantineReason, Receipt

routes = router("telemetry")

UNNAMED = schemas.NewImport()

HTTP_OK, HTTP_MULTI_STATUS, HTTP_CREATED = 200, 207, 201


def receipt_json(receipt: Receipt) -> dict[str, Any]:
    """A receipt as it is answered."""
    return {
        "id": receipt.id,
        "status": receipt.status,
        "received": receipt.received,
        "accepted": receipt.accepted,
        "duplicate": receipt.duplicate,
        "quarantined": receipt.quarantined,
        "late": receipt.late,
        "conflicting": receipt.conflicting,
        "items": [
            {
                "index": item.index,
                "outcome": item.outcome,
                "reason": item.reason,
                "field": item.field,
                "limit": item.limit,
            }
            for item in receipt.items
        ],
        "items_omitted": receipt.items_omitted,
        "ignored_keys": list(receipt.ignored_keys),
    }


@routes.post(
    "/telemetry",
    response_model=schemas.Receipt,
    responses={HTTP_MULTI_STATUS: {"model": schemas.Receipt, "description": "Some readings were set aside"}},
    openapi_extra=schemas.telemetry_body(),
)
async def post_telemetry(
    request: Request,
    call: Annotated[Call, Depends(Allowed(Action.TELEMETRY_WRITE))],
    import_id: Annotated[
        UUID | None, Query(alias="import", description="an import's id: any past time")
    ] = None,
    idempotency_key: Annotated[
        str | None, Header(description="the batch's id: a retry gets the first receipt")
    ] = None,
) -> Response:
    """Store readings. The answer is a receipt, given when they are committed: 200 when all of them are stored,
    207 when some were set aside, with the reason for each.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    content = await read_body(request, service.bytes_max_of(call, content_type))
    body = service.Body(content, content_type, idempotency_key, import_id)
    receipt = await service.take_in(call, body)
    return answer(receipt_json(receipt), HTTP_OK if receipt.complete else HTTP_MULTI_STATUS)


@routes.get("/receipts/{id}", response_model=schemas.Receipt)
async def get_receipt(
    record_id: RecordId, call: Annotated[Call, Depends(Allowed(Action.RECEIPT_READ))]
) -> Response:
    """The receipt of a batch that is committed."""
    return answer(receipt_json(await service.get_receipt(call, record_id)))


@routes.post("/imports", response_model=schemas.Import, status_code=HTTP_CREATED)
async def post_import(
    call: Annotated[Call, Depends(Allowed(Action.TELEMETRY_IMPORT))], new: schemas.NewImport = UNNAMED
) -> Response:
    """Begin an import. Send its readings to /v1/telemetry?import={id}."""
    return answer(await service.create_import(call, new.source), HTTP_CREATED)


@routes.get("/imports", response_model=schemas.ImportPage)
async def list_imports(
    request: Request,
    page: Annotated[PageOf, Query()],
    call: Annotated[Call, Depends(Allowed(Action.RECEIPT_READ))],
) -> Response:
    """Imports with the sums of their receipts."""
    items, after = await service.list_imports(call, page.cursor, page.limit)
    return listed(request, items, after)


@routes.get("/imports/{id}", response_model=schemas.Import)
async def get_import(
    record_id: RecordId, call: Annotated[Call, Depends(Allowed(Action.RECEIPT_READ))]
) -> Response:
    """An import with the sums of its receipts."""
    return answer(await service.get_import(call, record_id))


class QuarantinePage(PageOf):
    reason: Annotated[QuarantineReason | None, Query(description="only this reason")] = None


@routes.get("/quarantine", response_model=schemas.QuarantinedPage)
async def list_quarantined(
    request: Request,
    page: Annotated[QuarantinePage, Query()],
    call: Annotated[Call, Depends(Allowed(Action.QUARANTINE_READ))],
) -> Response:
    """Readings set aside, oldest first; equal ones once, with how often they came."""
    items, after = await service.list_quarantined(call, page.reason, page.cursor, page.limit)
    return listed(request, items, after)
