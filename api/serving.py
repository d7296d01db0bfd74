"""The web server of an engine."""

import socket
import ssl
from collections.abc import Callable
from typing import Any

import uvicorn

from api.app import create_app
from api.edge import HEADERS, TLS_ALONE
from api.engine import Engine
from api.http_limits import HttpLimits, limited
from api.live.wire import SocketProtocol
from api.settings import Settings
from domain.errors import SettingsRefusedError

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
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=_STOP_S_MAX,
        http=limited(
            HttpLimits(
                settings.connections_max,
                settings.head_bytes_max,
                settings.head_s_max,
                settings.answer_s_max,
                engine.metrics.count_refused,
            )
        ),
        ws=SocketProtocol,
        ws_max_size=settings.live_frame_bytes_max,
        # Compression would cost more than it saves: each socket's state, and frames that differ for each.
        ws_per_message_deflate=False,
        server_header=False,
        headers=[*HEADERS, *([TLS_ALONE] if settings.tls_certificate_file is not None else [])],
        proxy_headers=bool(settings.proxies_trusted),
        forwarded_allow_ips=list(settings.proxies_trusted),
        ssl_certfile=settings.tls_certificate_file,
        ssl_keyfile=settings.tls_key_file,
        ssl_context_factory=None if settings.tls_certificate_file is None else _tls,
        **more,
    )
    return WebServer(config, engine)


def _tls(_: uvicorn.Config, usual: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    context = usual()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def check_transport(settings: Settings) -> None:
    """Raises SettingsRefusedError when TLS is half set, or its files can't be used."""
    certificate, key = settings.tls_certificate_file, settings.tls_key_file
    if (certificate is None) != (key is None):
        raise SettingsRefusedError(
            "set both BPM_TLS_CERTIFICATE_FILE and BPM_TLS_KEY_FILE, or none", field="BPM_TLS_KEY_FILE"
        )
    if certificate is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, lambda: "")
        except OSError as error:
            raise SettingsRefusedError(
                f"the certificate and its key can't be used: {error.strerror or type(error).__name__}",
                field="BPM_TLS_CERTIFICATE_FILE",
            ) from error
