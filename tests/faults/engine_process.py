"""The engine as its users run it, `bpm up` in a process of its own, to be killed."""

import http.client
import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from api.auth import development_token
from api.settings import Environment, Settings
from domain.tenancy import Role
from storage.embedded_postgres import Connections, connections_of_running
from storage.embedded_postgres.layout import Layout
from storage.embedded_postgres.processes import Record, is_recorded_server, read_record
from tests.preloaded import Preloaded, bpm
from tests.running import free_port

ROOT = Path(__file__).resolve().parents[2]

READY_S_MAX = 120.0
STOP_S_MAX = 30.0
POLL_S = 0.01


class EngineStuckError(Exception):
    """The engine did not get where it should within the limit."""


def until(condition: Callable[[], object], what: str, limit_s: float = READY_S_MAX) -> None:
    """Return as soon as the condition holds. Raises EngineStuckError after the limit."""
    deadline_s = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline_s:
            raise EngineStuckError(f"waited {limit_s:g} s for {what}")
        time.sleep(POLL_S)


class EngineProcess:
    """One installation in a folder, and the process that serves it, if one does.

    packages: the folder of the packages to run, so that other builds can be tried.
    database_url: an outside database; without, the embedded one in the folder.
    """

    def __init__(self, folder: Path, *, packages: Path = ROOT, database_url: str | None = None) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.log = folder / "engine.log"
        self.port = free_port()
        self.failpoint: str | None = None
        self._packages = packages
        self._database_url = database_url
        self._process: Preloaded | None = None
        if database_url is not None:
            self.data_dir.mkdir(exist_ok=True)

    def start(self, failpoint: str | None = None, settings: Mapping[str, str] | None = None) -> None:
        """Start the process, with these environment variables besides; `wait_ready` waits for it."""
        self.failpoint = failpoint
        environment = {name: value for name, value in os.environ.items() if not name.startswith("BPM_")}
        environment |= {
            "BPM_ENV": Environment.DEVELOPMENT,
            "BPM_DATA_DIR": str(self.data_dir),
            "BPM_PORT": str(self.port),
            "BPM_POSTGRES_SHARED_BUFFERS_MB": "64",
        } | dict(settings or {})
        if failpoint is not None:
            environment["BPM_FAILPOINT"] = failpoint
        if self._database_url is not None:
            environment["BPM_DATABASE_URL"] = self._database_url
        with self.log.open("ab") as log:
            self._process = bpm(["up"], environment, log, self._packages)

    def wait_ready(self) -> float:
        """The seconds until it accepted readings. Raises EngineStuckError."""
        began_s = time.monotonic()
        until(self._ready_or_ended, "the engine to accept readings")
        self._require_alive()
        return time.monotonic() - began_s

    def _ready_or_ended(self) -> bool:
        return self.exit_code() is not None or self.readiness()[0] == http.client.OK

    def _require_alive(self) -> None:
        if self.exit_code() is not None:
            raise EngineStuckError(f"the engine ended with {self.exit_code()}:\n{self.end_of_log()}")

    def readiness(self) -> tuple[int | None, Any]:
        """Status and body of /readyz; None when nobody answers."""
        try:
            return self.request("GET", "/readyz")
        except (OSError, http.client.HTTPException):
            return None, None

    def request(
        self, method: str, path: str, body: object = None, token: str | None = None, key: str | None = None
    ) -> tuple[int, Any]:
        """Status and JSON of one request. Raises OSError or HTTPException when it isn't answered."""
        headers = {"Content-Type": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if key is not None:
            headers["Idempotency-Key"] = key
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=READY_S_MAX)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def token(self, tenant: str) -> str:
        """A token for the tenant's administrator; the engine must have been started once."""
        settings = Settings(env=Environment.DEVELOPMENT, data_dir=self.data_dir)
        return development_token(settings, tenant, Role.TENANT_ADMIN, time.time())

    def connections(self) -> Connections:
        """Connections to the embedded server. Raises EngineStuckError when it doesn't run."""
        found = connections_of_running(self.data_dir)
        if found is None:
            raise EngineStuckError("the embedded PostgreSQL doesn't run")
        return found

    def exit_code(self) -> int | None:
        return None if self._process is None else self._process.poll()

    def end_of_log(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]

    def kill(self) -> None:
        """SIGKILL to the engine; its PostgreSQL stays behind."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def wait_killed(self, limit_s: float = READY_S_MAX) -> None:
        """Wait until a failpoint has ended the process. Raises EngineStuckError."""
        until(lambda: self.exit_code() is not None, f"failpoint {self.failpoint}", limit_s)
        if self.exit_code() != -signal.SIGKILL:
            raise EngineStuckError(f"the engine ended with {self.exit_code()}:\n{self.end_of_log()}")

    def kill_postgres(self) -> None:
        """SIGKILL to the embedded server; returns when the engine has put another in its place."""
        killed = self._server()
        if killed is None or killed.pid is None:
            raise EngineStuckError("the embedded PostgreSQL doesn't run")
        os.kill(killed.pid, signal.SIGKILL)
        until(lambda: self._replaced(killed), "a new PostgreSQL")
        self._require_alive()

    def _replaced(self, killed: Record) -> bool:
        found = self._server()
        return self.exit_code() is not None or (found is not None and found != killed)

    def _server(self) -> Record | None:
        record = read_record(Layout.at(self.data_dir).record)
        return record if record is not None and is_recorded_server(record) else None

    def stop(self) -> None:
        """Stop the process by SIGTERM, its PostgreSQL with it. Raises EngineStuckError when that isn't clean."""
        if self._process is None or self.exit_code() is not None:
            raise EngineStuckError(f"there is nothing to stop: the engine ended with {self.exit_code()}")
        self._process.terminate()
        until(lambda: self.exit_code() is not None, "the engine to stop", STOP_S_MAX)
        if self.exit_code() != 0:
            raise EngineStuckError(f"SIGTERM ended the engine with {self.exit_code()}:\n{self.end_of_log()}")
        if self._server() is not None:
            raise EngineStuckError("SIGTERM ended the engine, but its PostgreSQL still runs")

    def clear(self) -> None:
        """End whatever still runs of this installation."""
        self.kill()
        left = self._server()
        if left is not None and left.pid is not None:
            os.kill(left.pid, signal.SIGKILL)
