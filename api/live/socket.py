"""A WebSocket's way: the first frame with its ticket, frames until one side ends, and what the codes say."""

import asyncio
import logging
import uuid
from enum import IntEnum
from typing import TypeVar

from fastapi import WebSocket, WebSocketDisconnect
from pydantic import ValidationError

from api.live.frames import Frame
from api.routing import Strict
from domain.errors import (
    BodyUnreadableError,
    BpmError,
    BusyError,
    ForbiddenError,
    InvalidRequestError,
    UnauthenticatedError,
)
from ingest.bodies.native import decode_strictly

log = logging.getLogger(__name__)

_REASON_BYTES_MAX = 123


class CloseCode(IntEnum):
    """Why a socket was closed by us."""

    UNREADABLE = 4400
    CREDENTIAL_ENDED = 4401
    NOT_ALLOWED = 4403
    TOO_SLOW = 4408
    TOO_MANY = 4429
    UNAVAILABLE = 4503


_CODE_OF = {
    BodyUnreadableError: CloseCode.UNREADABLE,
    InvalidRequestError: CloseCode.UNREADABLE,
    UnauthenticatedError: CloseCode.CREDENTIAL_ENDED,
    ForbiddenError: CloseCode.NOT_ALLOWED,
    BusyError: CloseCode.TOO_MANY,
}

First = TypeVar("First", bound=Strict)


class TooSlowError(Exception):
    """The client didn't take a frame in time."""


class LiveSocket:
    """A socket that was accepted, with limits on waiting."""

    def __init__(self, socket: WebSocket, *, first_s_max: float, send_s_max: float) -> None:
        self._socket = socket
        self._first_s_max = first_s_max
        self._send_s_max = send_s_max
        self.request_id = uuid.uuid4().hex

    async def first(self, shape: type[First]) -> First:
        """The client's first frame. Raises InvalidRequestError, BodyUnreadableError."""
        try:
            async with asyncio.timeout(self._first_s_max):
                message = await self._socket.receive()
        except TimeoutError as error:
            raise InvalidRequestError(
                "no first frame came in time", field="ticket", limit=self._first_s_max
            ) from error
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1006))
        text = message.get("text")
        if text is None:
            raise InvalidRequestError("send JSON in a text frame")
        try:
            return shape.model_validate(decode_strictly(text.encode("utf-8", "surrogatepass")))
        except ValidationError as error:
            (found, *_) = error.errors(include_url=False, include_context=False, include_input=False)
            field = ".".join(str(part) for part in found["loc"])
            raise InvalidRequestError(found["msg"], field=field) from error

    async def send(self, frame: Frame) -> None:
        """Send a frame. Raises TooSlowError."""
        try:
            async with asyncio.timeout(self._send_s_max):
                await self._socket.send_text(frame.text)
        except TimeoutError as error:
            raise TooSlowError from error

    async def until_left(self) -> None:
        """Return when the client has left; what it says meanwhile is not listened to."""
        while (await self._socket.receive())["type"] != "websocket.disconnect":
            pass

    async def close(self, error: BpmError | TooSlowError) -> None:
        """Close with the code of an error, and with its words."""
        if isinstance(error, TooSlowError):
            code, reason = CloseCode.TOO_SLOW, "a frame wasn't taken in time"
        else:
            codes = (code for kind, code in _CODE_OF.items() if isinstance(error, kind))
            code = next(codes, CloseCode.UNAVAILABLE)
            reason = error.detail if error.field is None else f"{error.field}: {error.detail}"
        shortened = reason.encode()[:_REASON_BYTES_MAX].decode("utf-8", "ignore")
        await self._socket.close(code, shortened)
