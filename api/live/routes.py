"""Routes of live streams."""

import contextlib
import json
from collections.abc import AsyncGenerator, Callable
from typing import Annotated, Final, TypeVar

from fastapi import Depends, Header, Query, Request, WebSocket, WebSocketDisconnect
from starlette.responses import Response

from api.call import Call
from api.engine import Engine
from api.errors import may_answer
from api.live import schemas, service
from api.live.frames import Frame
from api.live.socket import ENDS, LiveSocket
from api.live.stream import MEDIA_TYPE, EventStream, begin
from api.live.watch import Standing
from api.routing import Allowed, AllowedInFrame, answer, router
from domain.errors import (
    BodyUnreadableError,
    BpmError,
    BusyError,
    ForbiddenError,
    InvalidRequestError,
    RateLimitedError,
    UnauthenticatedError,
)
from domain.policy import Action
from domain.security import SecurityKind, prefix_of
from domain.tenancy import Actor

routes = router("live")

Frames = AsyncGenerator[Frame]
Asked = TypeVar("Asked", schemas.Subscribe, schemas.Watch)

HTTP_OK, HTTP_CREATED, HTTP_FORBIDDEN, HTTP_BUSY = 200, 201, 403, 429

Listener = Annotated[Call, Depends(Allowed(Action.ALERT_READ))]


@routes.post("/tickets", status_code=HTTP_CREATED, response_model=schemas.Ticket)
async def ticket(request: Request, call: Annotated[Call, Depends(Allowed(Action.TICKET_WRITE))]) -> Response:
    """Get a ticket with which one socket can be opened, once and soon. The socket ends with the access token."""
    claims = await call.engine.claims_of(request.headers.get("authorization"))
    return answer(await service.make_ticket(call, claims), HTTP_CREATED)


@routes.get(
    "/alerts/stream",
    status_code=HTTP_OK,
    response_class=EventStream,
    responses={
        HTTP_OK: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}, "example": schemas.EVENTS}}},
        **may_answer(BusyError),
    },
)
async def alert_stream(
    request: Request,
    asked: Annotated[schemas.StreamAsked, Query()],
    call: Listener,
    last_event_id: Annotated[str | None, Header(max_length=2000, description="id of the last event")] = None,
) -> Response:
    """Alerts as Server-Sent Events: the open ones, then what happens; or what came after the last event."""
    engine = call.engine
    claims = await engine.claims_of(request.headers.get("authorization"))
    wanted = schemas.AlertFilter(
        sites=asked.site, severities=asked.severity, rules=asked.rule, packs=asked.pack
    )
    held = contextlib.AsyncExitStack()
    held.enter_context(engine.seats.taken(call.actor.tenant_id))
    standing = held.enter_context(engine.watch.watching(claims, call.actor))
    subscribed = service.subscription(engine, standing, wanted, call.request_id)
    frames = subscribed.frames(asked.cursor if last_event_id is None else last_event_id)
    return await begin(frames, held, engine.settings.live_send_s_max)


@routes.websocket("/alerts/live")
async def alerts_live(
    socket: WebSocket, allowed: Annotated[AllowedInFrame, Depends(AllowedInFrame(Action.ALERT_READ))]
) -> None:
    """Alerts over a WebSocket, after a first frame with a ticket."""
    engine: Engine = socket.app.state.engine

    def frames(live: LiveSocket, standing: Standing, asked: schemas.Subscribe) -> Frames:
        subscribed = service.subscription(engine, standing, asked.filter, live.request_id, live)
        return subscribed.frames(asked.cursor)

    await _serve(socket, engine, allowed, schemas.Subscribe, frames)


@routes.websocket("/telemetry/live")
async def telemetry_live(
    socket: WebSocket, allowed: Annotated[AllowedInFrame, Depends(AllowedInFrame(Action.TELEMETRY_READ))]
) -> None:
    """Latest values of packs over a WebSocket, after a first frame with a ticket."""
    engine: Engine = socket.app.state.engine

    def frames(live: LiveSocket, standing: Standing, asked: schemas.Watch) -> Frames:
        return service.watch(engine, standing, asked, live.request_id).frames()

    await _serve(socket, engine, allowed, schemas.Watch, frames)


async def _serve(
    socket: WebSocket,
    engine: Engine,
    allowed: AllowedInFrame,
    shape: type[Asked],
    frames_of: Callable[[LiveSocket, Standing, Asked], Frames],
) -> None:
    address = _address(socket)
    refusal = _refusal(socket, engine, address)
    if refusal is not None:
        await socket.send_denial_response(refusal)
        return
    actor: Actor | None = None
    settings = engine.settings
    with contextlib.ExitStack() as place:
        place.enter_context(engine.seats.waiting(prefix_of(address)))
        await socket.accept()
        live = LiveSocket(
            socket, first_s_max=settings.live_first_frame_s_max, send_s_max=settings.live_send_s_max
        )
        try:
            asked = await _first(socket, engine, live, shape)
            claims = await service.claims_of_ticket(engine, asked.ticket)
            actor = await engine.actor_of_claims(claims)
            place.close()
            allowed.check(actor)
            # As text: what a client sends may hold characters that the database takes in no other form.
            frame = json.dumps(asked.model_dump(mode="json", exclude={"ticket"}, exclude_unset=True))
            await engine.looks.note(actor, "GET", socket.url.path, live.request_id, address, frame)
            with engine.seats.taken(actor.tenant_id), engine.watch.watching(claims, actor) as standing:
                async with contextlib.aclosing(frames_of(live, standing, asked)) as frames:
                    await live.send_all(frames)
        except WebSocketDisconnect:
            pass
        except ENDS as error:
            _note(socket, engine, error, actor)
            live.close(error)


def _refusal(socket: WebSocket, engine: Engine, address: str | None) -> Response | None:
    """What a handshake is answered that opens no socket; it is noted."""
    error: BpmError
    if not service.is_welcome(engine, socket.headers):
        error = ForbiddenError("the origin isn't allowed")
    elif engine.strangers.came_too_often(address):
        error = engine.strangers.refusal()
    elif engine.seats.strangers_wait(prefix_of(address)):
        error = BusyError("too many sockets wait for their first frame", retry_after_s=1)
    else:
        return None
    _note(socket, engine, error, None)
    if isinstance(error, ForbiddenError):
        return Response(status_code=HTTP_FORBIDDEN)
    return Response(status_code=HTTP_BUSY, headers={"Retry-After": "1"})


async def _first(socket: WebSocket, engine: Engine, live: LiveSocket, shape: type[Asked]) -> Asked:
    """A client's first frame; without one it is a stranger's socket. Raises what `LiveSocket.first` does."""
    try:
        return await live.first(shape)
    except (WebSocketDisconnect, InvalidRequestError, BodyUnreadableError):
        _note(socket, engine, UnauthenticatedError("no first frame came that has a ticket"), None)
        raise


def _address(socket: WebSocket) -> str | None:
    return None if socket.client is None else socket.client.host


_NOTED: Final = {
    UnauthenticatedError: SecurityKind.BAD_CREDENTIAL,
    ForbiddenError: SecurityKind.DENIED,
    BusyError: SecurityKind.RATE_LIMITED,
    RateLimitedError: SecurityKind.RATE_LIMITED,
}


def _note(socket: WebSocket, engine: Engine, error: Exception, actor: Actor | None) -> None:
    """Note what a socket was refused for, as it is with other requests."""
    for kind, noted in _NOTED.items():
        if isinstance(error, kind):
            address = _address(socket)
            engine.security.note(noted, actor, address, socket.url.path)
            if noted is SecurityKind.BAD_CREDENTIAL and actor is None:
                engine.strangers.note(address)
