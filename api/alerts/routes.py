"""Routes of alerts."""

from typing import Annotated

from fastapi import Depends, Query, Request
from starlette.responses import Response

from api import flat, series
from api.alerts import schemas, service
from api.call import Call
from api.errors import may_answer
from api.idempotency import IdempotencyKey
from api.routing import (
    ARROW,
    CSV,
    JSON,
    Allowed,
    RecordId,
    answer,
    chosen_format,
    etag,
    listed,
    router,
)
from domain.alerts import AlertActionKind
from domain.errors import ConflictError
from domain.policy import Action

routes = router("alerts")

Reader = Annotated[Call, Depends(Allowed(Action.ALERT_READ))]
Writer = Annotated[Call, Depends(Allowed(Action.ALERT_WRITE))]


@routes.get("/alerts", response_model=schemas.AlertPage)
async def page(request: Request, asked: Annotated[schemas.AlertsAsked, Query()], call: Reader) -> Response:
    """List alerts, newest first. Where much is filtered out a page may be short, and go on behind its cursor."""
    items, after = await service.page(call, asked)
    return listed(request, items, after)


@routes.get("/alerts/history", response_model=schemas.HistoryPage)
async def history(
    request: Request, asked: Annotated[schemas.HistoryAsked, Query()], call: Reader
) -> Response:
    """List what happened to alerts in a span, by rules and by people. A page may be short, and go on."""
    items, after = await service.history(call, asked)
    return listed(request, items, after)


@routes.get(
    "/alerts/statistics",
    response_model=schemas.Statistics,
    responses=flat.responses(schemas.STATISTICS_COLUMNS),
)
async def statistics(
    request: Request, asked: Annotated[schemas.StatisticsAsked, Query()], call: Reader
) -> Response:
    """Count the alerts raised in a span, and how long they took to be acknowledged and to clear."""
    chosen = chosen_format(request, JSON, CSV, ARROW)
    found = await service.statistics(call, asked)
    if chosen == JSON:
        return answer(found)
    sums = [found["total"] | {"is_total": True}, *(group | {"is_total": False} for group in found["groups"])]
    columns = flat.columns_of([found | one for one in sums], schemas.STATISTICS_COLUMNS)
    return series.answer([series.Table("by", asked.by, columns)], chosen)


@routes.get("/alerts/{id}", response_model=schemas.AlertDetail)
async def get(record_id: RecordId, call: Reader) -> Response:
    """Read an alert, and what happened to it."""
    row = await service.get(call, record_id)
    return answer(row, headers=etag(row["version"]))


@routes.post("/alerts/{id}/acknowledge", response_model=schemas.AlertDetail)
async def acknowledge(record_id: RecordId, call: Writer, idempotency_key: IdempotencyKey = None) -> Response:
    """Say that somebody has seen an alert. The first acknowledgement counts, later ones change nothing."""
    row = await service.act(call, record_id, AlertActionKind.ACKNOWLEDGED, idempotency_key)
    return answer(row, headers=etag(row["version"]))


@routes.post("/alerts/{id}/assign", response_model=schemas.AlertDetail)
async def assign(
    record_id: RecordId, asked: schemas.Assignment, call: Writer, idempotency_key: IdempotencyKey = None
) -> Response:
    """Say who is to see to an alert; null takes it away from whom it was given."""
    row = await service.act(
        call, record_id, AlertActionKind.ASSIGNED, idempotency_key, assignee=asked.assignee
    )
    return answer(row, headers=etag(row["version"]))


@routes.post("/alerts/{id}/comments", status_code=201, response_model=schemas.AlertDetail)
async def comment(
    record_id: RecordId, asked: schemas.Comment, call: Writer, idempotency_key: IdempotencyKey = None
) -> Response:
    """Add a comment to an alert. Send an Idempotency-Key to have a comment that is sent again stand once."""
    row = await service.act(
        call, record_id, AlertActionKind.COMMENTED, idempotency_key, comment=asked.comment
    )
    return answer(row, 201, etag(row["version"]))


@routes.post("/alerts/{id}/clear", response_model=schemas.AlertDetail, responses=may_answer(ConflictError))
async def clear(record_id: RecordId, call: Writer) -> Response:
    """Clear an open alert by hand. A breach that goes on is a new alert with the next reading.

    One about missing data can't be cleared while the pack is silent: mute it instead.
    """
    row = await service.clear(call, record_id)
    return answer(row, headers=etag(row["version"]))
