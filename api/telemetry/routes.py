"""Telemetry in, and what became of it."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Query, Request
from starlette.responses import Response

from api.call import Call
from api.errors import may_answer
from api.idempotency import IdempotencyKey
from api.routing import Allowed, Name, PageOf, RecordId, answer, listed, router
from api.telemetry import schemas, service
from api.telemetry.bodies import Body, BodyShape, content_type_of, read_content
from domain.errors import BusyError, DiskLowError, NotFoundError
from domain.policy import Action
from domain.receipts import Receipt, ReceiptStatus

routes = router("telemetry")

UNNAMED = schemas.NewImport()

HTTP_OK, HTTP_CREATED, HTTP_ACCEPTED, HTTP_MULTI_STATUS = 200, 201, 202, 207


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


ImportId = Annotated[UUID | None, Query(alias="import", description="an import's id: any past time")]
Sender = Annotated[Call, Depends(Allowed(Action.TELEMETRY_WRITE))]

_SET_ASIDE: dict[int | str, dict[str, Any]] = {
    HTTP_ACCEPTED: {
        "model": schemas.Receipt,
        "description": "The readings are safe, and not committed yet; the receipt is at the Location",
    },
    HTTP_MULTI_STATUS: {"model": schemas.Receipt, "description": "Some readings were set aside"},
    **may_answer(NotFoundError, BusyError, DiskLowError),
}


async def _take_in(
    request: Request,
    call: Call,
    shape: BodyShape,
    import_id: UUID | None,
    idempotency_key: str | None,
    pack: str | None = None,
) -> Response:
    content = await read_content(request, call, shape)
    body = Body(content, content_type_of(request), idempotency_key, import_id, shape, pack)
    receipt = await service.take_in(call, body)
    if receipt.status is ReceiptStatus.PENDING:
        return answer(receipt_json(receipt), HTTP_ACCEPTED, {"Location": f"/v1/receipts/{receipt.id}"})
    return answer(receipt_json(receipt), HTTP_OK if receipt.complete else HTTP_MULTI_STATUS)


@routes.post(
    "/telemetry",
    response_model=schemas.Receipt,
    responses=_SET_ASIDE,
    openapi_extra=schemas.telemetry_body(),
)
async def post_telemetry(
    request: Request, call: Sender, import_id: ImportId = None, idempotency_key: IdempotencyKey = None
) -> Response:
    """Store readings. The answer is a receipt, given when they are committed: 200 when all of them are stored,
    207 when some were set aside, with the reason for each. Where readings go through a topic and its workers take long,
    it is 202 with a pending receipt: nothing is lost any more. Content-Encoding may be gzip or zstd.
    """
    return await _take_in(request, call, BodyShape.NATIVE, import_id, idempotency_key)


@routes.post(
    "/telemetry/thingsboard",
    response_model=schemas.Receipt,
    responses=_SET_ASIDE,
    openapi_extra=schemas.thingsboard_body(),
)
async def post_thingsboard(
    request: Request,
    call: Sender,
    pack: Annotated[Name | None, Query(description="whose values; a device's own pack by default")] = None,
    import_id: ImportId = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Store one pack's readings in ThingsBoard's form. The receipt counts the items of the array."""
    whose = service.pack_of_device(call, pack)
    return await _take_in(request, call, BodyShape.THINGSBOARD, import_id, idempotency_key, whose)


@routes.post(
    "/telemetry/thingsboard/gateway",
    response_model=schemas.Receipt,
    responses=_SET_ASIDE,
    openapi_extra=schemas.gateway_body(),
)
async def post_gateway(
    request: Request, call: Sender, import_id: ImportId = None, idempotency_key: IdempotencyKey = None
) -> Response:
    """Store readings in the form of ThingsBoard's gateway, by the packs' names. The receipt counts the items of all
    packs in the order of the body.
    """
    return await _take_in(request, call, BodyShape.GATEWAY, import_id, idempotency_key)


@routes.get("/receipts/{id}", response_model=schemas.Receipt)
async def get_receipt(
    record_id: RecordId, call: Annotated[Call, Depends(Allowed(Action.RECEIPT_READ))]
) -> Response:
    """The receipt of a batch: committed, pending while it is on its way through a topic, or lost with what that topic
    dropped: then send the same readings again.
    """
    return answer(receipt_json(await service.get_receipt(call, record_id)))


@routes.post("/imports", response_model=schemas.Import, status_code=HTTP_CREATED)
async def post_import(
    call: Annotated[Call, Depends(Allowed(Action.TELEMETRY_IMPORT))], new: schemas.NewImport = UNNAMED
) -> Response:
    """Begin an import. Send its readings to /v1/telemetry?import={id}."""
    return answer(await service.create_import(call, new.source, new.expected), HTTP_CREATED)


@routes.get("/imports", response_model=schemas.ImportPage)
async def list_imports(
    request: Request,
    page: Annotated[PageOf, Query()],
    call: Annotated[Call, Depends(Allowed(Action.RECEIPT_READ))],
) -> Response:
    """Imports with the sums of their receipts, the newest first."""
    items, after = await service.list_imports(call, page.cursor, page.limit)
    return listed(request, items, after)


@routes.get("/imports/{id}", response_model=schemas.Import)
async def get_import(
    record_id: RecordId, call: Annotated[Call, Depends(Allowed(Action.RECEIPT_READ))]
) -> Response:
    """An import with the sums of its receipts."""
    return answer(await service.get_import(call, record_id))
