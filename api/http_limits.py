"""HTTP connections with limits before there is a request: how many, how large its head may be, how slow."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.errors import MEDIA_TYPE
from api.live.wire import HttpProtocol

_TOO_LARGE: Final = (
    "431 Request Header Fields Too Large",
    "head_too_large",
    "The head of the request is over a limit",
)
_TOO_SLOW: Final = ("408 Request Timeout", "request_timeout", "The request did not come in time")
_TOO_MANY: Final = ("503 Service Unavailable", "busy", "There are too many connections")
_AROUND_BYTES: Final = 4
"""Of a header: colon, blank and the end of its line."""
_UNREADABLE: Final = ("400 Bad Request", "unreadable", "This is not HTTP")


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """connections_max: of the process. head: a request's line and headers. refused: told a limit's name each time.

    answer_s_max: for how long a client may take nothing of what is written for it.
    """

    connections_max: int
    head_bytes_max: int
    head_s_max: float
    answer_s_max: float
    refused: Callable[[str], None]


class HeadTooLargeError(Exception):
    """Ends the parser; the connection knows why."""


class LimitedHttpProtocol(HttpProtocol):
    """uvicorn's HTTP, which ends what waits without a request and what asks too much before there is one."""

    limits: ClassVar[HttpLimits]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        """Begin, or refuse."""
        super().connection_made(transport)
        self._in_head = True
        self._head_bytes = 0
        self._why: tuple[str, str, str] = _UNREADABLE
        self._late: asyncio.TimerHandle | None = None
        self._not_taken: asyncio.TimerHandle | None = None
        if len(self.connections) > self.limits.connections_max:
            self._refuse(_TOO_MANY, "connections_max")
        else:
            self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stop_waiting()
        self._taken()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._in_head:
            # A header that never ends reaches no callback before its end.
            self._head_bytes += len(data)
            if self._head_bytes > self.limits.head_bytes_max:
                self._refuse(_TOO_LARGE, "head_bytes_max")
            elif self._late is None and not self.transport.is_closing():
                self._wait_for_head()

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._in_head = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Go on to the application."""
        self._stop_waiting()
        self._in_head = False
        size = len(self.url) + sum(len(name) + len(value) + _AROUND_BYTES for name, value in self.headers)
        if size > self.limits.head_bytes_max:
            self._why = _TOO_LARGE
            self.limits.refused("head_bytes_max")
            raise HeadTooLargeError
        super().on_headers_complete()

    def pause_writing(self) -> None:
        """Hold the application up: the client is slow."""
        super().pause_writing()
        self._not_taken = self.loop.call_later(self.limits.answer_s_max, self._cut)

    def resume_writing(self) -> None:
        """Go on: the client has taken most of what was written."""
        self._taken()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's own words are not ours
        """Say that it can't be read, or what is too large, and end."""
        self._answer(self._why)

    def _wait_for_head(self) -> None:
        self._late = self.loop.call_later(self.limits.head_s_max, self._refuse, _TOO_SLOW, "head_s_max")

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _taken(self) -> None:
        if self._not_taken is not None:
            self._not_taken.cancel()
            self._not_taken = None

    def _cut(self) -> None:
        self.limits.refused("answer_s_max")
        self.transport.abort()

    def _refuse(self, why: tuple[str, str, str], limit: str) -> None:
        if not self.transport.is_closing():
            self.limits.refused(limit)
            self._answer(why)

    def _answer(self, why: tuple[str, str, str]) -> None:
        status, code, title = why
        body = orjson.dumps(
            {
                "type": f"urn:bpm:problem:{code}",
                "title": title,
                "status": int(status[:3]),
                "detail": title,
                "code": code,
                "request_id": "",
            }
        )
        told = [
            *self.server_state.default_headers,
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            (b"connection", b"close"),
            *([(b"retry-after", b"1")] if why is _TOO_MANY else []),
        ]
        head = b"".join(b"%b: %b\r\n" % header for header in told)
        self.transport.write(b"HTTP/1.1 " + status.encode() + b"\r\n" + head + b"\r\n" + body)
        self.transport.close()


def limited(limits: HttpLimits) -> type[HttpToolsProtocol]:
    """The protocol with its limits: uvicorn makes one for each connection, from the class alone."""
    return type("BoundHttpProtocol", (LimitedHttpProtocol,), {"limits": limits})
