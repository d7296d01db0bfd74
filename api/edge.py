"""What every request passes first and every answer last: an id, time limits, headers, and who may ask from where."""

import asyncio
import re
import time
import uuid
from typing import Final

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.engine import Engine
from api.errors import POLICY_OF_DATA, on_bpm_error, problem
from api.routing import ACTOR
from domain.errors import RateLimitedError, UnavailableError
from domain.security import KIND_OF_STATUS, SecurityKind

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,100}")
_CORS_KEPT_S: Final = 600
HTTP_INTERNAL, HTTP_UNAVAILABLE = 500, 503

HEADERS: Final = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
"""Of every answer, whatever gave it: the web server itself writes them."""

TLS_ALONE: Final = ("Strict-Transport-Security", "max-age=31536000")
"""Of every answer that goes by TLS of our own."""

_OF_CREDENTIALS: Final = "/v1/"
"""All else is open to whoever reaches the port."""

_POLICY: Final = (b"content-security-policy", POLICY_OF_DATA.encode())
_NOT_KEPT: Final = (b"cache-control", b"no-store")
_KEEPING: Final = frozenset({b"cache-control", b"etag"})


def middleware_of(engine: Engine) -> tuple[Middleware, ...]:
    """The middleware of an engine's application, the outermost first."""
    settings = engine.settings
    chosen = [Middleware(RequestObserver, engine=engine)]
    if settings.hosts_allowed:
        chosen.append(
            Middleware(TrustedHostMiddleware, allowed_hosts=settings.hosts_allowed, www_redirect=False)
        )
    if settings.cors_origins:
        cors = Middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=("GET", "POST", "PUT", "PATCH", "DELETE"),
            allow_headers=(
                "Authorization",
                "Content-Type",
                "Content-Encoding",
                "Idempotency-Key",
                "If-Match",
                "If-None-Match",
                "Last-Event-ID",
                "X-Request-Id",
            ),
            expose_headers=(
                "ETag",
                "Next-Cursor",
                "RateLimit",
                "RateLimit-Policy",
                "Retry-After",
                "X-Request-Id",
            ),
            allow_credentials=False,
            max_age=_CORS_KEPT_S,
        )
        chosen.append(cors)
    return tuple(chosen)


class RequestObserver:
    """Gives every request an id, which its answer names, measures it, and ends it when no answer begins in time."""

    def __init__(self, app: ASGIApp, engine: Engine) -> None:
        self._app = app
        self._engine = engine
        self._request_s_max = engine.settings.request_s_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"x-request-id", b"")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex.encode()
        scope["request_id"] = request_id.decode()
        began_s = time.perf_counter()
        status: int | None = None

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers: list[tuple[bytes, bytes]] = [*message["headers"], (b"x-request-id", request_id)]
                named = dict(headers)
                if _POLICY[0] not in named:
                    headers.append(_POLICY)
                if _KEEPING.isdisjoint(named):
                    headers.append(_NOT_KEPT)
                message["headers"] = headers
                # From here on it is the client that may be slow: its connection has a limit of its own.
                deadline.reschedule(None)
            await send(message)

        try:
            async with asyncio.timeout(self._request_s_max) as deadline:
                await self._let_in(scope, receive, send_on)
        except TimeoutError:
            if not deadline.expired():
                raise
            status = HTTP_UNAVAILABLE
            self._engine.metrics.count_refused("request_s_max")
            await self._refuse(scope, receive, send, request_id)
        finally:
            route = scope.get("route")
            path = route.path if isinstance(route, APIRoute) else "none"
            kind = KIND_OF_STATUS.get(status or HTTP_INTERNAL)
            if kind is not None:
                self._engine.security.note(kind, scope.get(ACTOR), _address(scope), path)
            if kind is SecurityKind.BAD_CREDENTIAL:
                self._engine.note_stranger(scope["path"], _authorization(scope), _address(scope))
            took_s = time.perf_counter() - began_s
            self._engine.metrics.observe(scope["method"], path, status or HTTP_INTERNAL, took_s)

    async def _let_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith(_OF_CREDENTIALS):
            try:
                self._engine.require_welcome(scope["path"], _authorization(scope), _address(scope))
            except RateLimitedError as error:
                answer = await on_bpm_error(Request(scope), error)
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, request_id: bytes) -> None:
        """Say that it took too long. What was begun may still be done: a retry with its key tells."""
        headers = {
            "Retry-After": str(self._engine.settings.retry_after_s),
            "X-Request-Id": request_id.decode(),
            "Connection": "close",
        }
        kind = UnavailableError("the answer took too long; what was asked may be done all the same")
        answer = problem(
            Request(scope),
            HTTP_UNAVAILABLE,
            kind.code,
            kind.title,
            kind.detail,
            headers,
            limit=self._request_s_max,
        )
        await answer(scope, receive, send)


def _authorization(scope: Scope) -> str | None:
    given: bytes | None = dict(scope["headers"]).get(b"authorization")
    return None if given is None else given.decode("latin-1")


def _address(scope: Scope) -> str | None:
    client = scope["client"]
    return client[0] if client else None
