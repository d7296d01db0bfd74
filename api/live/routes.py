"""Routes of live streams."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Annotated

from fastapi import Depends, Header, Query, Request, WebSocket, WebSocketDisconnect
from starlette.responses import Response, StreamingResponse

from api.bootstrap import Engine
from api.call import Call
from api.live import schemas, service
from api.live.frames import Frame
from api.live.socket import LiveSocket, TooSlowError
from api.routing import Allowed, AllowedInFrame, answer, router
from domain.errors import BpmError
from domain.policy import Action

routes = router("live")

HTTP_CREATED = 201
EVENT_STREAM = "text/event-stream"

Listener = Annotated[Call, Depends(Allowed(Action.ALERT_READ))]


@routes.post("/tickets", status_code=HTTP_CREATED, response_model=schemas.Ticket)
async def ticket(request: Request, call: Annotated[Call, Depends(Allowed(Action.TICKET_WRITE))]) -> Response:
    """Get a ticket with which one socket can be opened, once and soon. The socket ends with the access token."""
    claims = call.engine.claims_of(request.headers.get("authorization"))
    return answer(await service.make_ticket(call, claims), HTTP_CREATED)


@routes.get(
    "/alerts/stream",
    response_class=StreamingResponse,
    responses={200: {"content": {EVENT_STREAM: {"schema": {"type": "string"}}}}},
)
async def alert_stream(
    request: Request,
    asked: Annotated[schemas.StreamAsked, Query()],
    call: Listener,
    last_event_id: Annotated[str | None, Header(max_length=2000, description="id of the last event")] = None,
) -> Response:
    """Alerts as Server-Sent Events: the open ones, then what happens; or what came after the last event."""
    engine = call.engine
    claims = engine.claims_of(request.headers.get("authorization"))
    wanted = schemas.AlertFilter(
        sites=asked.site, severities=asked.severity, rules=asked.rule, packs=asked.pack
    )
    subscribed = service.subscription(engine, call.actor, claims.expires_at_s, wanted, call.request_id)
    frames = subscribed.frames(asked.cursor if last_event_id is None else last_event_id)
    stack = contextlib.AsyncExitStack()
    stack.enter_context(engine.seats.taken(call.actor.tenant_id))
    stack.push_async_callback(frames.aclose)
    try:
        # The first frame comes before the answer begins, so that what is wrong with the cursor can be said by it.
        first = await anext(frames)
    except BaseException:
        await stack.aclose()
        raise
    return StreamingResponse(_events(first, frames, stack), media_type=EVENT_STREAM)


async def _events(
    first: Frame, frames: AsyncGenerator[Frame], stack: contextlib.AsyncExitStack
) -> AsyncIterator[str]:
    async with stack:
        yield first.event
        with contextlib.suppress(BpmError):
            async for frame in frames:
                yield frame.event


@routes.websocket("/alerts/live")
async def alerts_live(
    socket: WebSocket, allowed: Annotated[AllowedInFrame, Depends(AllowedInFrame(Action.ALERT_READ))]
) -> None:
    """Alerts over a WebSocket, after a first frame with a ticket."""
    engine: Engine = socket.app.state.engine
    await socket.accept()
    live = LiveSocket(
        socket, first_s_max=engine.settings.live_first_frame_s_max, send_s_max=engine.settings.live_send_s_max
    )
    try:
        asked = await live.first(schemas.Subscribe)
        claims = await service.claims_of_ticket(engine, asked.ticket)
        actor = await engine.actor_of_claims(claims)
        allowed.check(actor)
        subscribed = service.subscription(engine, actor, claims.expires_at_s, asked.filter, live.request_id)
        with engine.seats.taken(actor.tenant_id):
            await _push(live, subscribed.frames(asked.cursor))
    except (BpmError, TooSlowError) as error:
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            await live.close(error)
    except WebSocketDisconnect:
        pass


async def _push(live: LiveSocket, frames: AsyncGenerator[Frame]) -> None:
    """Send frames until there are no more, or the client has left."""

    async def send_all() -> None:
        async with contextlib.aclosing(frames):
            async for frame in frames:
                await live.send(frame)

    sending, leaving = asyncio.create_task(send_all()), asyncio.create_task(live.until_left())
    try:
        await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
        if not sending.done():
            sending.cancel()
        results = await asyncio.gather(sending, leaving, return_exceptions=True)
    if isinstance(results[0], Exception) and not isinstance(results[0], WebSocketDisconnect):
        raise results[0]
