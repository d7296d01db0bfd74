"""Routes of deliveries."""

from typing import Annotated

from fastapi import Depends, Query, Request
from starlette.responses import Response

from api.call import Call
from api.deliveries import schemas, service
from api.errors import may_answer
from api.routing import Allowed, RecordId, answer, listed, router
from domain.errors import ConflictError
from domain.policy import Action

routes = router("deliveries")

HTTP_ACCEPTED = 202

Reader = Annotated[Call, Depends(Allowed(Action.CHANNEL_READ))]
Writer = Annotated[Call, Depends(Allowed(Action.CHANNEL_WRITE))]


@routes.get("/deliveries", response_model=schemas.DeliveryPage)
async def page(
    request: Request, asked: Annotated[schemas.DeliveriesAsked, Query()], call: Reader
) -> Response:
    """List deliveries through channels, newest first."""
    items, after = await service.page(call, asked)
    return listed(request, items, after)


@routes.get("/deliveries/{id}", response_model=schemas.DeliveryDetail)
async def get(record_id: RecordId, call: Reader) -> Response:
    """Read a delivery, with what it tells."""
    return answer(await service.get(call, record_id))


@routes.post(
    "/deliveries/{id}/replay",
    response_model=schemas.Delivery,
    status_code=HTTP_ACCEPTED,
    responses=may_answer(ConflictError),
)
async def replay(record_id: RecordId, call: Writer) -> Response:
    """Queue a delivery once more, under its id; one that waits is let alone."""
    return answer(await service.replay(call, record_id), HTTP_ACCEPTED)
