"""Whether the engine lives, accepts readings, and what it counts; its documentation, without internet."""

import base64
import hashlib
import re
from typing import Any, Final

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import PlainTextResponse, Response

from api.engine import Engine
from api.metrics import CONTENT_TYPE
from api.operation import schemas
from api.routing import EngineOf, answer
from api.version import VERSION

routes = APIRouter(tags=["operation"])

ASSETS_PATH = "/docs/assets"
HTTP_UNAVAILABLE = 503

NOT_READY: dict[int | str, dict[str, Any]] = {
    HTTP_UNAVAILABLE: {"model": schemas.Readiness, "description": "Readings are not accepted now"}
}


@routes.get("/healthz", response_model=schemas.Health)
async def healthz() -> Response:
    """The process answers."""
    return answer({"status": "alive"})


@routes.get("/readyz", response_model=schemas.Readiness, responses=NOT_READY)
async def readyz(engine: EngineOf) -> Response:
    """Readings are accepted; else 503 with the reason."""
    code, trouble = _trouble(engine)
    content = {
        "status": "ready" if trouble is None else "not ready",
        "code": code,
        "reason": trouble,
        "version": VERSION,
        "disk": {
            "free_bytes": engine.disk.free_bytes,
            "low_bytes": engine.disk.low_bytes,
            "days_until_full": engine.disk.days_until_full,
        },
    }
    if trouble is None:
        return answer(content)
    return answer(content, HTTP_UNAVAILABLE, {"Retry-After": str(engine.settings.retry_after_s)})


def _trouble(engine: Engine) -> tuple[str | None, str | None]:
    """Code and sentence of what keeps readings out, if anything does."""
    engine.clock.now_ms()
    if engine.loading is not None:
        return "kafka_away" if engine.runner.kafka_away else "loading", engine.loading
    if engine.clock.jumped_by_ms is not None:
        return (
            "clock_jumped",
            f"the clock jumped by {engine.clock.jumped_by_ms} ms: confirm it with `bpm clock confirm`",
        )
    trouble = engine.disk.trouble
    return (None, None) if trouble is None else ("disk_low", trouble)


@routes.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses={
        200: {"content": {"text/plain": {"example": 'bpm_readings_total{outcome="accepted"} 12.0\n'}}}
    },
)
async def metrics(engine: EngineOf) -> Response:
    """Counters in Prometheus' text format."""
    return Response(engine.metrics.text(), headers={"Content-Type": CONTENT_TYPE})


@routes.get("/docs", include_in_schema=False)
async def docs() -> Response:
    """The interface's documentation, to try out. Its one inline script is allowed by its hash."""
    page = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="BPM-OS engine",
        swagger_js_url=f"{ASSETS_PATH}/swagger-ui-bundle.js",
        swagger_css_url=f"{ASSETS_PATH}/swagger-ui.css",
        swagger_favicon_url=f"{ASSETS_PATH}/favicon.png",
    )
    scripts = " ".join(map(_allowed, _INLINE_SCRIPT.findall(bytes(page.body))))
    page.headers["Content-Security-Policy"] = (
        f"default-src 'none'; script-src 'self' {scripts}; style-src 'self' 'unsafe-inline'; connect-src 'self';"
        " img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page


_INLINE_SCRIPT: Final = re.compile(rb"<script>(.+?)</script>", re.DOTALL)


def _allowed(script: bytes) -> str:
    """How a policy names an inline script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'"
