"""A running API for tests: the real application on a real database, over a real socket."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg

from api.auth import development_platform_token, development_token
from api.bootstrap import make_engine
from api.database_access import DatabaseAccess
from api.engine import Engine
from api.serving import web_server
from api.settings import Environment, Settings
from api.timer import Timer
from domain.tenancy import Role
from storage.database import INGEST_ROLE
from storage.tenants import create as create_tenant
from tests.described import assert_described

READY_S_MAX = 30.0
WAIT_S_MAX = 20.0


def until(asked: Callable[[], Any]) -> Any:
    """What is asked, once it is true."""
    deadline_s = time.monotonic() + WAIT_S_MAX
    while not (found := asked()):
        assert time.monotonic() < deadline_s, "it did not come true in time"
        time.sleep(0.05)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True)
class RunningApi:
    """A served engine: `url`, and ways to make tenants, tokens and clients."""

    url: str
    engine: Engine
    access: DatabaseAccess

    def tenant(self, name: str, *, register_unknown_packs: bool = True) -> str:
        """The name of a tenant that exists from now on."""
        conninfo = self.access.as_role(INGEST_ROLE, self.engine.settings)
        create_tenant(conninfo, name, register_unknown_packs=register_unknown_packs)
        return name

    def make_older(self, tenant: str, seconds: float) -> None:
        """Let a tenant have been made so long ago: older tokens aren't its."""
        with psycopg.connect(self.access.admin, options="-c search_path=bpm") as connection:
            connection.execute(
                "UPDATE tenants SET created_at = now() - make_interval(secs => %s) WHERE name = %s",
                (seconds, tenant),
            )
        self.engine.forget_tenant(tenant)

    def token(self, tenant: str, role: Role | str = Role.TENANT_ADMIN, **claims: Any) -> str:
        """A development token; `sites`, `regions` and `pack` limit it."""
        return development_token(self.engine.settings, tenant, role, time.time(), **claims)

    def client(self, tenant: str, role: Role | str = Role.TENANT_ADMIN, **claims: Any) -> httpx.Client:
        """A client of a tenant's user; close it, or use it in a with."""
        return self.client_of(self.token(tenant, role, **claims))

    def operator_client(self) -> httpx.Client:
        """A client of an operator of the installation; close it, or use it in a with."""
        return self.client_of(development_platform_token(self.engine.settings, time.time()))

    def client_of(self, token: str) -> httpx.Client:
        """A client with an access token; close it, or use it in a with."""
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.Client(
            base_url=self.url,
            headers=headers,
            trust_env=False,
            timeout=60,
            event_hooks={"response": [assert_described]},
        )


@contextmanager
def running_api(
    access: DatabaseAccess,
    data_dir: Path,
    ready_s_max: float = READY_S_MAX,
    timer: Timer | None = None,
    **settings: Any,
) -> Iterator[RunningApi]:
    """The application on a prepared database, served from a thread until the end."""
    port = free_port()
    # Tests are strangers often, from one address.
    settings.setdefault("stranger_requests_per_s_max", 1e6)
    given = Settings(env=Environment.DEVELOPMENT, port=port, data_dir=data_dir, **settings)
    engine = make_engine(given, access, timer)
    server = web_server(engine)
    thread = threading.Thread(target=server.run, name="api", daemon=True)
    thread.start()
    try:
        deadline_s = time.monotonic() + ready_s_max
        while not server.started or engine.loading is not None:
            if time.monotonic() > deadline_s or not thread.is_alive():
                raise TimeoutError(f"the API was not ready: {engine.loading}")
            time.sleep(0.01)
        yield RunningApi(f"http://127.0.0.1:{port}", engine, access)
    finally:
        server.should_exit = True
        thread.join(READY_S_MAX)
