"""The answer that is a stream of Server-Sent Events."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.live.frames import Frame
from api.live.socket import ENDS, until_either
from api.live.wire import cut

log = logging.getLogger(__name__)

MEDIA_TYPE = "text/event-stream"

_FIRST_S_MAX: Final = 0.5
_NOTHING: Final = b":\n\n"
"""A comment, which clients pass over."""


class EventStream(Response):
    """Frames as events, until they end or the client leaves.

    first: the first one, which may still be waited for. held: what is let go of at the end.
    send_s_max: a client that takes no event within is cut off.
    """

    media_type = MEDIA_TYPE

    def __init__(
        self,
        first: asyncio.Future[Frame],
        frames: AsyncGenerator[Frame],
        held: AsyncExitStack,
        send_s_max: float,
    ) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._first = first
        self._frames = frames
        self._held = held
        self._send_s_max = send_s_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        async with self._held:
            try:
                await until_either(self._send_all(send), _until_left(receive))
            except TimeoutError:
                # A closed connection would keep what the client doesn't read.
                cut(scope)

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            if not self._first.done():
                # So that the client knows that it is connected, however long nothing happens.
                await self._send(send, _NOTHING)
            await self._send(send, (await self._first).event)
            async for frame in self._frames:
                await self._send(send, frame.event)
        except ENDS as error:
            log.info("an event stream ended: %s", type(error).__name__)
        await self._send(send, b"", more=False)

    async def _send(self, send: Send, body: bytes, *, more: bool = True) -> None:
        async with asyncio.timeout(self._send_s_max):
            await send({"type": "http.response.body", "body": body, "more_body": more})


async def _until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def begin(frames: AsyncGenerator[Frame], held: AsyncExitStack, send_s_max: float) -> EventStream:
    """The answer, once the first frame is there or lets one wait.

    What is wrong with a cursor, or with the store, can be said only before the answer begins; who goes on with a cursor
    may have no frame for long, and must know meanwhile that it is connected.
    """
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_exit(held)
        held.push_async_callback(frames.aclose)
        first = asyncio.ensure_future(anext(frames))
        held.push_async_callback(_given_up, first)
        await asyncio.wait({first}, timeout=_FIRST_S_MAX)
        if first.done():
            first.result()
        stream = EventStream(first, frames, held, send_s_max)
        stack.pop_all()
        return stream


async def _given_up(first: asyncio.Future[Frame]) -> None:
    """Nobody waits for the first frame any more."""
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
