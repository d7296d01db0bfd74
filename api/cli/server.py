"""Runs the engine in the foreground: the embedded server beside it, when that is used."""

import asyncio
import logging
import signal
import time
from typing import NoReturn

import uvicorn

from api import logs
from api.auth import make_verifier
from api.bootstrap import make_engine
from api.cli.context import BEGAN_S, SERVICE_LOGIN, Exit, console, embedded
from api.cli.demo import DEMO_TENANT, simulated_fleet
from api.cli.ports import require_port
from api.cli.topics import migrate_topics
from api.database_access import DatabaseAccess, prepare_database
from api.engine import Engine
from api.serving import check_transport, web_server
from api.settings import Environment, Settings
from domain.errors import DatabaseRefusedError, SettingsRefusedError
from storage.database import INGEST_ROLE
from storage.embedded_postgres import EmbeddedPostgres
from storage.tenants import create as create_tenant

log = logging.getLogger(__name__)

_WATCH_S = 0.2
_RESTART_WAIT_S_MAX = 30.0


def serve(settings: Settings, *, demo: bool = False, make_topics: bool = False) -> int:
    """Serve until told to stop; returns the exit code. Raises BpmError when it can't be started.

    demo: with a tenant of simulated packs, which is refused in production. make_topics: make Kafka's topics where they
    are missing.
    """
    signal.signal(signal.SIGTERM, _end)
    logs.configure()
    if demo and settings.env is Environment.PRODUCTION:
        raise SettingsRefusedError("a demonstration is for development", field="BPM_ENV")
    # Before a database is made, and minutes are spent.
    require_port(settings)
    check_transport(settings)
    if settings.env is Environment.PRODUCTION:
        make_verifier(settings, time.time)  # refuses wrong settings before anything is started
    else:
        console.print("[yellow]Development:[/] tokens come from a key of this machine. Not for production.")
    if settings.database_url is not None:
        access = DatabaseAccess(settings.database_url.get_secret_value())
        return _serve_on(settings, access, None, None, demo=demo, make_topics=make_topics)
    server = embedded(settings)
    connections = server.start()
    try:
        access = DatabaseAccess(connections.admin, connections.service)
        return _serve_on(settings, access, SERVICE_LOGIN, server, demo=demo, make_topics=make_topics)
    finally:
        server.stop()


def _end(*_: object) -> NoReturn:
    """Ends by way of every `finally`: Python's own reaction to SIGTERM would leave the database running.

    The web server raises the signal again once it has shut down.
    """
    raise SystemExit(Exit.DONE)


def _serve_on(
    settings: Settings,
    access: DatabaseAccess,
    service_login: str | None,
    server: EmbeddedPostgres | None,
    *,
    demo: bool,
    make_topics: bool,
) -> int:
    for name in prepare_database(access, service_login):
        console.print(f"migrated: {name}")
    if demo:
        create_tenant(access.as_role(INGEST_ROLE, settings), DEMO_TENANT, register_unknown_packs=False)
    if make_topics and settings.kafka is not None:
        ended = migrate_topics(settings, access)
        if ended is Exit.REFUSED:
            return ended
    engine = make_engine(settings, access)
    web = web_server(engine)
    # uvicorn's choice of loop, which `asyncio.run` alone would pass over.
    with asyncio.Runner(loop_factory=web.config.get_loop_factory()) as runner:
        return runner.run(_serve(web, engine, server, demo=demo))


async def _serve(web: uvicorn.Server, engine: Engine, server: EmbeddedPostgres | None, *, demo: bool) -> int:
    tasks = [asyncio.create_task(_announce(web, engine, demo=demo))]
    if server is not None:
        tasks.append(asyncio.create_task(_watch(web, server, engine)))
    try:
        await web.serve()
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for result in ended:
        if isinstance(result, Exception):
            raise result
    return 0 if web.started else 1


async def _announce(web: uvicorn.Server, engine: Engine, *, demo: bool) -> None:
    """Say when it is ready, with `demo` once the simulated fleet is live; and keep that fleet going."""
    while not web.started or engine.loading is not None:  # noqa: ASYNC110 - the writer is no coroutine
        await asyncio.sleep(0.05)
    if demo:
        async with simulated_fleet():
            _say_ready(engine)
            console.print(
                f"The tenant {DEMO_TENANT} has a simulated fleet; one of its packs is about to overheat."
            )
            await asyncio.Event().wait()
    _say_ready(engine)


def _say_ready(engine: Engine) -> None:
    address = f"http://{engine.settings.host}:{engine.settings.port}"
    console.print(
        f"[green]Ready[/] after {time.monotonic() - BEGAN_S:.1f} s: {address} (documentation: {address}/docs)"
    )


async def _watch(web: uvicorn.Server, server: EmbeddedPostgres, engine: Engine) -> None:
    """Start the embedded server again when it dies; give up, and stop serving, when that goes on failing.

    While the disk is full it isn't given up: the server starts as soon as there is room.
    """
    failing_since_s: float | None = None
    while True:
        await asyncio.sleep(_WATCH_S)
        ended = server.exit_code()
        if ended is None:
            failing_since_s = None
            continue
        failing_since_s = failing_since_s or time.monotonic()
        log.error("the embedded PostgreSQL ended with %s; it is started again", ended)
        try:
            # In the main thread, because the child must not depend on a thread that ends.
            server.restart()
        except DatabaseRefusedError:
            full = engine.disk.is_low
            if not full and time.monotonic() - failing_since_s > _RESTART_WAIT_S_MAX:
                web.should_exit = True
                raise
