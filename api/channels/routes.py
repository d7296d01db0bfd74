"""Routes of channels."""

from typing import Annotated

from fastapi import Depends, Query, Request
from starlette.responses import Response

from api.call import Call
from api.channels import schemas, service
from api.deliveries.schemas import Delivery
from api.errors import may_answer
from api.routing import Allowed, IfMatch, PageOf, RecordId, answer, etag, listed, router, version_of
from domain.errors import ConflictError, NotFoundError
from domain.policy import Action

routes = router("channels")

HTTP_CREATED, HTTP_ACCEPTED, HTTP_NO_CONTENT = 201, 202, 204

_SHOWN_ONCE = {"Cache-Control": "no-store"}

Reader = Annotated[Call, Depends(Allowed(Action.CHANNEL_READ))]
Writer = Annotated[Call, Depends(Allowed(Action.CHANNEL_WRITE))]


@routes.post(
    "/channels",
    response_model=schemas.ChannelWithSecret,
    status_code=HTTP_CREATED,
    responses=may_answer(ConflictError, NotFoundError),
)
async def create(new: schemas.NewChannel, call: Writer) -> Response:
    """Make a channel that takes alerts out of the building. A webhook's secret is in this answer, and in no other."""
    row = await service.create(call, new)
    return answer(row, HTTP_CREATED, etag(row["version"]) | _SHOWN_ONCE)


@routes.get("/channels", response_model=schemas.ChannelPage)
async def page(request: Request, asked: Annotated[PageOf, Query()], call: Reader) -> Response:
    """List channels by name."""
    items, after = await service.page(call, asked.cursor, asked.limit)
    return listed(request, items, after)


@routes.get("/channels/{id}", response_model=schemas.Channel)
async def get(record_id: RecordId, call: Reader) -> Response:
    """Read a channel."""
    row = await service.get(call, record_id)
    return answer(row, headers=etag(row["version"]))


@routes.patch("/channels/{id}", response_model=schemas.Channel)
async def change(
    record_id: RecordId, changes: schemas.ChannelChange, call: Writer, if_match: IfMatch = None
) -> Response:
    """Edit a channel: send what changes, with If-Match. One that is switched on begins with the next event."""
    row = await service.change(call, record_id, version_of(if_match), changes)
    return answer(row, headers=etag(row["version"]))


@routes.delete("/channels/{id}", status_code=HTTP_NO_CONTENT)
async def delete(record_id: RecordId, call: Writer) -> Response:
    """Delete a channel. What waits in it is given up, and its deliveries stay readable for a while."""
    await service.delete(call, record_id)
    return Response(status_code=HTTP_NO_CONTENT)


@routes.post(
    "/channels/{id}/rotate", response_model=schemas.ChannelWithSecret, responses=may_answer(ConflictError)
)
async def rotate(record_id: RecordId, call: Writer) -> Response:
    """Give a webhook another secret, which is in this answer only. The one before signs too for a while."""
    row = await service.rotate(call, record_id)
    return answer(row, headers=etag(row["version"]) | _SHOWN_ONCE)


@routes.post(
    "/channels/{id}/test",
    response_model=Delivery,
    status_code=HTTP_ACCEPTED,
    responses=may_answer(ConflictError),
)
async def test(record_id: RecordId, call: Writer) -> Response:
    """Send a message that tries a channel; the delivery that is answered says what became of it."""
    row = await service.test(call, record_id)
    return answer(row, HTTP_ACCEPTED, {"Location": f"/v1/deliveries/{row['id']}"})


@routes.post("/channels/{id}/replay", response_model=schemas.Replayed)
async def replay(
    record_id: RecordId, asked: Annotated[schemas.ReplayAsked, Query()], call: Writer
) -> Response:
    """Queue a channel's deliveries of a span once more, oldest first, each under its id."""
    return answer(await service.replay(call, record_id, asked))
