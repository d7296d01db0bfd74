"""A WebSocket's way: the first frame with its ticket, frames until one side ends, and what the codes say."""

import asyncio
import logging
import uuid
from collections.abc import AsyncGenerator, Coroutine
from enum import IntEnum
from typing import Any, TypeVar

from fastapi import WebSocket, WebSocketDisconnect
from pydantic import ValidationError

from api.errors import DATABASE_ERRORS
from api.live.frames import Frame
from api.live.wire import wire_of
from api.routing import Strict
from domain.errors import (
    BodyUnreadableError,
    BpmError,
    BusyError,
    CredentialChangedError,
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    TenantElsewhereError,
    UnauthenticatedError,
)
from ingest.bodies.native import decode_strictly

log = logging.getLogger(__name__)

_REASON_BYTES_MAX = 123
_LEFT = 1006


class CloseCode(IntEnum):
    """Why a socket was closed by us."""

    UNREADABLE = 4400
    CREDENTIAL_ENDED = 4401
    NOT_ALLOWED = 4403
    TOO_SLOW = 4408
    CREDENTIAL_CHANGED = 4409
    ELSEWHERE = 4421
    TOO_MANY = 4429
    UNAVAILABLE = 4503


_CODE_OF = {
    BodyUnreadableError: CloseCode.UNREADABLE,
    InvalidRequestError: CloseCode.UNREADABLE,
    NotFoundError: CloseCode.UNREADABLE,
    UnauthenticatedError: CloseCode.CREDENTIAL_ENDED,
    CredentialChangedError: CloseCode.CREDENTIAL_CHANGED,
    ForbiddenError: CloseCode.NOT_ALLOWED,
    BusyError: CloseCode.TOO_MANY,
    TenantElsewhereError: CloseCode.ELSEWHERE,
}

First = TypeVar("First", bound=Strict)


class TooSlowError(Exception):
    """The client didn't take a frame in time."""


ENDS = (BpmError, TooSlowError, *DATABASE_ERRORS)
"""What ends a stream with a code."""


class LiveSocket:
    """A socket that was accepted, with limits on waiting."""

    def __init__(self, socket: WebSocket, *, first_s_max: float, send_s_max: float) -> None:
        self._socket = socket
        self._wire = wire_of(socket.scope)
        self._first_s_max = first_s_max
        self._send_s_max = send_s_max
        self.request_id = uuid.uuid4().hex

    def push(self, frames: bytes, /) -> bool:
        """Write whole frames at once; whether the client keeps up."""
        return self._wire.push(frames)

    async def drained(self) -> None:
        """Return when the client has taken enough of what was written, or has left. Raises TooSlowError."""
        try:
            async with asyncio.timeout(self._send_s_max):
                await self._wire.drained()
        except TimeoutError as error:
            raise TooSlowError from error

    async def first(self, shape: type[First]) -> First:
        """The client's first frame. Raises InvalidRequestError, BodyUnreadableError, WebSocketDisconnect."""
        try:
            async with asyncio.timeout(self._first_s_max):
                message = await self._socket.receive()
        except TimeoutError as error:
            raise InvalidRequestError(
                "no first frame came in time", field="ticket", limit=self._first_s_max
            ) from error
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", _LEFT))
        text = message.get("text")
        if text is None:
            raise InvalidRequestError("send JSON in a text frame")
        try:
            return shape.model_validate(decode_strictly(text.encode("utf-8", "surrogatepass")))
        except ValidationError as error:
            (found, *_) = error.errors(include_url=False, include_context=False, include_input=False)
            field = ".".join(str(part) for part in found["loc"])
            raise InvalidRequestError(found["msg"], field=field) from error

    async def send_all(self, frames: AsyncGenerator[Frame]) -> None:
        """Send frames until there are no more, or the client has left or says what it shouldn't.

        Raises TooSlowError, InvalidRequestError, and whatever `frames` raises.
        """
        await until_either(self._send_all(frames), self._until_left())

    async def _send_all(self, frames: AsyncGenerator[Frame]) -> None:
        async for frame in frames:
            if not self.push(frame.message):
                await self.drained()

    async def _until_left(self) -> None:
        if (await self._socket.receive())["type"] != "websocket.disconnect":
            raise InvalidRequestError("nothing is expected after the first frame")

    def close(self, error: Exception) -> None:
        """Close with the code of an error, and with its words."""
        code = next((code for kind, code in _CODE_OF.items() if isinstance(error, kind)), None)
        if isinstance(error, TooSlowError):
            code, reason = CloseCode.TOO_SLOW, "a frame wasn't taken in time"
        elif isinstance(error, BpmError):
            reason = error.detail if error.field is None else f"{error.field}: {error.detail}"
        else:
            log.warning("a live stream ended: %s", type(error).__name__)
            reason = "the database did not answer; come again"
        shortened = reason.encode("utf-8", "replace")[:_REASON_BYTES_MAX].decode("utf-8", "ignore")
        self._wire.end(code or CloseCode.UNAVAILABLE, shortened)


async def until_either(sending: Coroutine[Any, Any, None], leaving: Coroutine[Any, Any, None]) -> None:
    """Wait until the client was sent all or has left; the other is ended. Raises what the one that ended raised."""
    tasks = (asyncio.ensure_future(sending), asyncio.ensure_future(leaving))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        ended = [task for task in tasks if task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in ended:
        task.result()
