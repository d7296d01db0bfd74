"""The engine as it is run: `bpm up` in a process of its own, with its embedded PostgreSQL."""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil
from psycopg import conninfo as connection_text

from api.auth import development_token
from api.settings import Environment, Settings
from domain.tenancy import Role
from storage.database import INGEST_ROLE, conninfo_as
from storage.embedded_postgres import Connections, connections_of_running
from storage.tenants import create as create_tenant

READY_S_MAX = 120.0
STOP_S_MAX = 90.0
_POLL_S = 0.005


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(slots=True)
class ServedEngine:
    """A running engine. `kill` and `start` let it crash and come back on the same data."""

    data_dir: Path
    environment: dict[str, str]
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None
    _log: IO[bytes] | None = None

    def start(self) -> None:
        """Start it and return when it accepts readings. Raises TimeoutError, RuntimeError when it ends."""
        self._log = (self.data_dir.parent / "engine.log").open("ab")
        settings = {
            "BPM_ENV": "development",
            "BPM_DATA_DIR": str(self.data_dir),
            "BPM_PORT": str(self.port),
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("BPM_")}
        self._process = subprocess.Popen(
            [str(Path(sys.executable).with_name("bpm")), "up"],
            env=inherited | settings | self.environment,
            stdout=self._log,
            stderr=self._log,
        )
        deadline_s = time.monotonic() + READY_S_MAX
        while not self.is_ready():
            if self._process.poll() is not None:
                raise RuntimeError(f"the engine ended: {self.log_text()[-2000:]}")
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"the engine was not ready within {READY_S_MAX} s: {self.log_text()}")
            time.sleep(_POLL_S)

    def is_ready(self) -> bool:
        """Whether it accepts readings."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def kill(self) -> None:
        """SIGKILL the engine, and leave its PostgreSQL to the next start."""
        process = self._running()
        process.send_signal(signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        """Stop both cleanly."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(STOP_S_MAX)
        if self._log is not None:
            self._log.close()

    @property
    def process_id(self) -> int:
        """The engine's own process."""
        return self._running().pid

    def log_text(self) -> str:
        """What it has printed so far."""
        return (self.data_dir.parent / "engine.log").read_text(encoding="utf-8", errors="replace")

    def processor_s(self) -> dict[str, float]:
        """Processor seconds used so far by the engine and by all processes of its PostgreSQL."""
        engine = psutil.Process(self._running().pid)
        used = {"engine": sum(engine.cpu_times()[:2]), "PostgreSQL": 0.0}
        for child in engine.children(recursive=True):
            used["PostgreSQL"] += sum(child.cpu_times()[:2])
        return used

    def connections(self) -> Connections:
        """How to reach its database."""
        found = connections_of_running(self.data_dir)
        if found is None:
            raise RuntimeError("the embedded PostgreSQL does not run")
        return found

    def writer_conninfo(self) -> str:
        """A connection that writes readings directly, as the role that the engine writes with."""
        return conninfo_as(self.connections().admin, INGEST_ROLE, application="benchmark")

    def admin_conninfo(self) -> str:
        """The administrator's connection, in the engine's schema."""
        return connection_text.make_conninfo(
            self.connections().admin, options="-c search_path=bpm -c timezone=UTC"
        )

    def tenant_token(self, tenant: str) -> str:
        """A token of a tenant that exists from now on and lets packs register themselves."""
        create_tenant(self.writer_conninfo(), tenant, register_unknown_packs=True)
        settings = Settings(env=Environment.DEVELOPMENT, data_dir=self.data_dir, port=self.port)
        return development_token(settings, tenant, Role.TENANT_ADMIN, time.time())

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the engine was not started")
        return self._process


@contextmanager
def served_engine(environment: dict[str, str] | None = None) -> Iterator[ServedEngine]:
    """An engine on an empty data folder, which is removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="bpm-benchmark-"))
    # The embedded server runs as another account when started by root, and must get to its folder.
    folder.chmod(0o755)
    engine = ServedEngine(folder / "data", environment or {})
    engine.data_dir.mkdir()
    try:
        engine.start()
        yield engine
    finally:
        engine.stop()
        shutil.rmtree(folder)
