"""The address that an engine listens on."""

import errno
import socket

from api.settings import Settings
from domain.errors import SettingsRefusedError


def require_port(settings: Settings) -> None:
    """Raises SettingsRefusedError, with what to do, when nobody could listen at the settings' address now."""
    where = f"{settings.host}:{settings.port}"
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                remedy = f"find by whom with `ss -ltnp sport = :{settings.port}`, or set another BPM_PORT"
                said = f"{where} is taken; {remedy}"
            else:
                said = f"{where} can't be listened on ({error.strerror}); set another BPM_PORT or BPM_HOST"
            raise SettingsRefusedError(said, field="BPM_PORT") from error
