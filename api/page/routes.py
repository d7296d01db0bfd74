"""The page at `/`: its files, what it must know before anybody has signed in, and the development sign-in."""

import gzip
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from starlette.datastructures import MutableHeaders
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.page import schemas
from api.page.sign_in import Asked
from api.routing import EngineOf, StrictRoute, answer
from domain.measures import MEASURES
from domain.receipts import QuarantineReason
from domain.tenancy import Role

FOLDER: Final = Path(__file__).parent / "files"
FILES_PATH: Final = "/page/files"
PLOTLY_VERSION: Final = version("plotly")
PLOTLY_PATH: Final = f"/page/plotly-{PLOTLY_VERSION}.min.js"

_EMPTY_STYLE: Final = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
_PLOTLY_MAP_STYLE: Final = "'sha256-ji27qzEtxXZW+7dun6UwjHXJ18e6WAin1VvNtkzIE/o='"
_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        # Plotly fills an empty style element by rules, which the hash of the empty text allows, and writes style
        # attributes: without them its title, legend and shapes vanish, and nothing says so. The other hash is of
        # the style sheet of its maps, which it adds though the page has none; it changes with Plotly's version.
        f"style-src 'self' {_EMPTY_STYLE} {_PLOTLY_MAP_STYLE}",
        "style-src-attr 'unsafe-inline'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
HEADERS: Final = {"Content-Security-Policy": _POLICY}
"""Beside those of every answer."""
_ASK_AGAIN: Final = {"Cache-Control": "no-cache"}
_KEEP: Final = {"Cache-Control": "public, max-age=31536000, immutable"}
_NEVER_KEEP: Final = {"Cache-Control": "no-store"}

routes = APIRouter(include_in_schema=False)
_strict = APIRouter(route_class=StrictRoute, include_in_schema=False)


class PageFiles:
    """The page's own files, each with the headers of the page."""

    def __init__(self) -> None:
        self._files: ASGIApp = StaticFiles(directory=FOLDER)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS | _ASK_AGAIN)
            await send(message)

        await self._files(scope, receive, send_with_headers)


@routes.get("/")
async def index() -> Response:
    """The page."""
    return FileResponse(FOLDER / "index.html", headers=HEADERS | _ASK_AGAIN)


@cache
def _plotly_packed() -> bytes:
    """plotly.js from the installed package, packed once: 1.4 MB instead of 4.8."""
    script = files("plotly").joinpath("package_data", "plotly.min.js").read_bytes()
    return gzip.compress(script, 6, mtime=0)


@routes.get(PLOTLY_PATH)
def plotly() -> Response:
    """plotly.js. Its address names its version, so that it is fetched once."""
    headers = HEADERS | _KEEP | {"Content-Encoding": "gzip"}
    return Response(_plotly_packed(), headers=headers, media_type="text/javascript")


def asked_of(request: Request) -> Asked:
    """Where the request came from."""
    client = None if request.client is None else request.client.host
    return Asked(client, request.url.hostname)


AskedOf = Annotated[Asked, Depends(asked_of)]


@routes.get("/page/context")
async def context(engine: EngineOf, asked: AskedOf) -> Response:
    """What the page must know before anybody has signed in; of tenants nothing but in development."""
    sign_in = None
    if engine.sign_in.offered(asked):
        sign_in = {"tenants": await engine.sign_in.tenants(), "roles": list(Role)}
    told = {
        "development_sign_in": sign_in,
        "plotly": PLOTLY_PATH,
        "quarantine_reasons": list(QuarantineReason),
        "measures": [
            {"name": measure.name, "unit": measure.unit, "description": measure.description}
            for measure in MEASURES
        ],
    }
    return answer(told, headers=HEADERS | _NEVER_KEEP)


@_strict.post("/page/development-token")
async def development_token(engine: EngineOf, asked: AskedOf, wanted: schemas.WantedToken) -> Response:
    """A development token for a tenant and a role; 404 in production, and for other machines."""
    token = await engine.sign_in.token(asked, wanted.tenant, wanted.role)
    return answer({"token": token}, headers=HEADERS | _NEVER_KEEP)


routes.include_router(_strict)
