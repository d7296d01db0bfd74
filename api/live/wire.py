"""Connections as live streams need them: written to without waiting, and ended also when nobody reads."""

import asyncio
from typing import Final, Protocol

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

EXTENSION: Final = "bpm.wire"
"""The ASGI extension under which an application finds its connection."""

_END_S_MAX: Final = 5.0


class Wire(Protocol):
    """A WebSocket's connection, past ASGI's one coroutine for each message."""

    def push(self, frames: bytes) -> bool:
        """Write whole frames at once; whether the client keeps up. To one that has left nothing is written."""

    async def drained(self) -> None:
        """Return when the client has taken enough of what was written, or has left."""

    def end(self, code: int, reason: str) -> None:
        """Close, and cut the connection after a while when the client doesn't answer."""


class SocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSockets, with a wire in the scope's extensions."""

    def handle_connect(self, event: Request) -> None:
        """Accept a handshake; the application's task begins after this has returned."""
        super().handle_connect(event)
        if not self.close_sent:
            extensions: Scope = self.scope["extensions"]
            extensions[EXTENSION] = self

    def send_receive_event_to_app(self) -> None:
        """Hand a message on. Text that is no UTF-8 ends the socket, without a trace in the log for each."""
        if self.curr_msg_data_type == "text":
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self.frames = []
                self.conn.send_close(1007)
                self.handle_parser_exception()
                return
        super().send_receive_event_to_app()

    def push(self, frames: bytes) -> bool:
        """Write whole frames at once; whether the client keeps up."""
        if self.close_sent or self.transport.is_closing():
            return False
        self.transport.write(frames)
        return self.writable.is_set()

    async def drained(self) -> None:
        """Return when the client has taken enough of what was written, or has left."""
        await self.writable.wait()

    def end(self, code: int, reason: str) -> None:
        """Close, and cut the connection after a while when the client doesn't answer."""
        if self.close_sent or self.transport.is_closing():
            return
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        # `close` would wait for a buffer that a client which doesn't read never empties.
        self.close_timer = self.loop.call_later(_END_S_MAX, self.transport.abort)

    def shutdown(self) -> None:
        """Close because the server stops, which mustn't wait for a client that doesn't read."""
        super().shutdown()
        self.loop.call_later(_END_S_MAX, self.transport.abort)


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP, whose connections can be cut."""

    def shutdown(self) -> None:
        """End after the answer because the server stops, which mustn't wait for a client that doesn't read."""
        super().shutdown()
        self.loop.call_later(_END_S_MAX, self._cut_when_stuck)

    def _cut_when_stuck(self) -> None:
        if self.flow.write_paused:
            self.transport.abort()

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        scope: Scope = self.scope  # type: ignore[assignment]
        scope.setdefault("extensions", {})[EXTENSION] = self.transport


def wire_of(scope: Scope) -> Wire:
    """The wire of a WebSocket."""
    wire: Wire = scope["extensions"][EXTENSION]
    return wire


def cut(scope: Scope) -> None:
    """Cut the connection of a request, whatever is still to be sent."""
    transport: asyncio.Transport = scope["extensions"][EXTENSION]
    transport.abort()
