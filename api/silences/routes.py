"""Routes of silences."""

from typing import Annotated

from fastapi import Depends, Query, Request
from starlette.responses import Response

from api.call import Call
from api.errors import may_answer
from api.routing import Allowed, PageOf, RecordId, answer, listed, router
from api.silences import schemas, service
from domain.errors import NotFoundError
from domain.policy import Action

routes = router("silences")

HTTP_CREATED, HTTP_NO_CONTENT = 201, 204

Reader = Annotated[Call, Depends(Allowed(Action.SILENCE_READ))]
Writer = Annotated[Call, Depends(Allowed(Action.SILENCE_WRITE))]


@routes.post(
    "/silences",
    response_model=schemas.Silence,
    status_code=HTTP_CREATED,
    responses=may_answer(NotFoundError),
)
async def create(new: schemas.NewSilence, call: Writer) -> Response:
    """Mute alerts, or say that maintenance explains them. Rules go on running, and what they find is stored."""
    return answer(await service.create(call, new), HTTP_CREATED)


@routes.get("/silences", response_model=schemas.SilencePage)
async def page(request: Request, asked: Annotated[PageOf, Query()], call: Reader) -> Response:
    """List silences, oldest first."""
    items, after = await service.page(call, asked.cursor, asked.limit)
    return listed(request, items, after)


@routes.get("/silences/{id}", response_model=schemas.Silence)
async def get(record_id: RecordId, call: Reader) -> Response:
    """Read a silence, also one that was ended."""
    return answer(await service.get(call, record_id))


@routes.delete("/silences/{id}", status_code=HTTP_NO_CONTENT)
async def end(record_id: RecordId, call: Writer) -> Response:
    """End a silence. Alerts that it hid stay muted."""
    await service.end(call, record_id)
    return Response(status_code=HTTP_NO_CONTENT)
