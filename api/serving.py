"""The web server of an engine."""

import socket
from typing import Any

import uvicorn

from api.app import create_app
from api.bootstrap import Engine
from api.live.wire import HttpProtocol, SocketProtocol

_STOP_S_MAX = 10


class WebServer(uvicorn.Server):
    """uvicorn, which ends live streams before it waits for its connections."""

    def __init__(self, config: uvicorn.Config, engine: Engine) -> None:
        super().__init__(config)
        self._engine = engine

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop."""
        self._engine.hub.end_subscriptions()
        await super().shutdown(sockets)


def web_server(engine: Engine, **more: Any) -> WebServer:
    """A server of the engine's application at its settings' address; it doesn't run yet."""
    settings = engine.settings
    config = uvicorn.Config(
        create_app(engine),
        host=settings.host,
        port=settings.port,
        log_level="warning",
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=_STOP_S_MAX,
        http=HttpProtocol,
        ws=SocketProtocol,
        ws_max_size=settings.live_frame_bytes_max,
        # Compression would cost more than it saves: each socket's state, and frames that differ for each.
        ws_per_message_deflate=False,
        **more,
    )
    return WebServer(config, engine)
