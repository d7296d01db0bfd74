"""Routes of alerts."""

from typing import Annotated

from fastapi import Depends, Query, Request
from starlette.responses import Response

from api.alerts import schemas, service
from api.call import Call
from api.routing import Allowed, RecordId, answer, etag, listed, router
from domain.policy import Action

routes = router("alerts")

Reader = Annotated[Call, Depends(Allowed(Action.ALERT_READ))]
Writer = Annotated[Call, Depends(Allowed(Action.ALERT_WRITE))]


@routes.get("/alerts", response_model=schemas.AlertPage)
async def page(request: Request, asked: Annotated[schemas.AlertsAsked, Query()], call: Reader) -> Response:
    """List alerts, newest first."""
    items, after = await service.page(call, asked)
    return listed(request, items, after)


@routes.get("/alerts/{id}", response_model=schemas.AlertDetail)
async def get(record_id: RecordId, call: Reader) -> Response:
    """Read an alert, and what happened to it."""
    row = await service.get(call, record_id)
    return answer(row, headers=etag(row["version"]))


@routes.post("/alerts/{id}/clear", response_model=schemas.AlertDetail)
async def clear(record_id: RecordId, call: Writer) -> Response:
    """Clear an open alert by hand. A breach that goes on is a new alert with the next reading."""
    row = await service.clear(call, record_id)
    return answer(row, headers=etag(row["version"]))
