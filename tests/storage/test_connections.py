"""A server that stands still, with its connections open: nobody waits for it for good."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import psutil
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from api.database_access import DatabaseAccess
from api.settings import Settings
from storage import connections, retention
from storage.connections import connect, connect_async
from storage.database import APP_ROLE, INGEST_ROLE, RETENTION_ROLE
from storage.following import follow_alerts
from storage.transactions import open_pool
from tests.running import until
from tests.storage.test_readings_retention import KEPT, NOW, filled

SILENT_S = 0.5
CONNECT_S = 2
"""The least that psycopg takes."""
NOTICED_S_MAX = 15.0
WAITING_MAX = 5_000
"""More than wait for any server."""
SLEEPING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'SELECT pg_sleep%'"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "SILENT_S_MAX", SILENT_S)
    monkeypatch.setattr(connections, "CONNECT_S_MAX", CONNECT_S)


@pytest.fixture
def server(own_database: DatabaseAccess) -> Iterator["Server"]:
    """That of the database; it goes on after the test."""
    with psycopg.connect(own_database.admin) as connection:
        # It ends with its connection.
        postmaster = psutil.Process(connection.info.backend_pid).parent()
    if postmaster is None or postmaster.pid == 1:
        pytest.skip("needs a server whose processes can be told")
    server = Server(postmaster)
    yield server
    server.resume()


class Server:
    """All processes of a PostgreSQL server."""

    def __init__(self, postmaster: psutil.Process) -> None:
        self._postmaster = postmaster

    def pause(self) -> None:
        """Let it stand still, with its connections open."""
        self._postmaster.suspend()
        for process in self._postmaster.children():
            process.suspend()

    def pause_door(self) -> None:
        """Let it take no new connection, while those that there are go on."""
        self._postmaster.suspend()

    def resume(self) -> None:
        """Let it go on."""
        for process in (*self._postmaster.children(), self._postmaster):
            with suppress(psutil.NoSuchProcess):
                process.resume()


def as_role(access: DatabaseAccess, role: str) -> str:
    return access.as_role(role, Settings())


def raised(asked: Callable[[], Any]) -> BaseException | None:
    """What it ends with, by a thread that isn't waited for longer than it may take."""
    ended: list[BaseException | None] = []

    def run() -> None:
        try:
            asked()
        except BaseException as error:  # noqa: BLE001 - it is told
            ended.append(error)
        else:
            ended.append(None)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(NOTICED_S_MAX)
    assert not thread.is_alive(), "it still waits"
    return ended[0]


def test_retention_gives_up_a_server_that_stands_still_and_archives_once_it_goes_on(
    own_database: DatabaseAccess, server: Server
) -> None:
    stored, _, _ = filled(own_database)
    conninfo = as_role(own_database, RETENTION_ROLE)
    error = raised(lambda: retention.archive(conninfo, KEPT, NOW, server.pause))
    assert isinstance(error, psycopg.OperationalError)
    server.resume()
    # Whether it was committed, as it went on, nobody was told.
    until(lambda: retention.archive(conninfo, KEPT, NOW) or retention.archived_before(conninfo))
    assert retention.archived_before(conninfo) == KEPT
    assert stored.value("SELECT archived_before FROM retention_classes") == KEPT


def test_a_new_connection_is_given_up_too(own_database: DatabaseAccess, server: Server) -> None:
    server.pause()
    error = raised(lambda: retention.archived_before(as_role(own_database, RETENTION_ROLE)))
    assert isinstance(error, psycopg.errors.ConnectionTimeout)


@pytest.mark.parametrize("role", [APP_ROLE, INGEST_ROLE, RETENTION_ROLE])
def test_every_role_notices_who_has_vanished(own_database: DatabaseAccess, role: str) -> None:
    given = conninfo_to_dict(as_role(own_database, role))
    assert (given["connect_timeout"], given["keepalives_idle"], given["tcp_user_timeout"]) == (
        "10",
        "10",
        "30000",
    )
    with connect(as_role(own_database, role)) as connection:
        (kept,) = connection.execute("SELECT current_setting('idle_session_timeout')").fetchall()
    assert kept == ("0",)


def test_administrators_connections_have_the_same_limits_and_keep_their_own(
    own_database: DatabaseAccess,
) -> None:
    given = conninfo_to_dict(own_database.admin)
    assert (given["connect_timeout"], given["keepalives_interval"]) == ("10", "10")
    own = DatabaseAccess("dbname=bpm connect_timeout=3 keepalives_idle=60")
    assert conninfo_to_dict(own.admin)["connect_timeout"] == "3"
    assert conninfo_to_dict(own.admin)["keepalives_idle"] == "60"


def test_a_statement_that_takes_its_time_is_waited_for(own_database: DatabaseAccess) -> None:
    slow = f"SELECT pg_sleep({4 * SILENT_S}), 7"

    async def asynchronous() -> Any:
        async with await connect_async(own_database.admin) as connection:
            return await (await connection.execute(slow)).fetchone()

    with connect(own_database.admin) as connection:
        assert connection.execute(slow).fetchone() == ("", 7)
        # What comes in many pieces comes whole, and so does what is sent.
        connection.execute("CREATE TEMP TABLE numbers (n int8)")
        with connection.cursor().copy("COPY numbers FROM STDIN") as copy:
            for number in range(100_000):
                copy.write_row((number,))
        assert connection.execute("SELECT count(*), sum(n) FROM numbers").fetchone() == (
            100_000,
            4_999_950_000,
        )
        with connection.cursor().copy("COPY (SELECT n FROM numbers) TO STDOUT") as copy:
            assert sum(1 for _ in copy.rows()) == 100_000
    assert asyncio.run(asynchronous()) == ("", 7)


def test_server_at_whose_door_too_many_wait_stands_still(
    own_database: DatabaseAccess, server: Server
) -> None:
    with connect(own_database.admin, autocommit=True) as connection, ExitStack() as waiting:
        info = connection.info
        if not info.host.startswith("/"):
            pytest.skip("needs a server at a socket of the machine's own")
        server.pause()
        with suppress(BlockingIOError):
            for _ in range(WAITING_MAX):
                one = waiting.enter_context(socket.socket(socket.AF_UNIX))
                one.setblocking(False)
                one.connect(f"{info.host}/.s.PGSQL.{info.port}")
        try:
            error = raised(lambda: connection.execute("SELECT 1"))
        finally:
            # Whoever still waits has the connection.
            server.resume()
    assert isinstance(error, psycopg.OperationalError)
    assert "stands still" in str(error)


def test_statement_that_is_given_up_while_its_server_is_asked_is_cancelled(
    own_database: DatabaseAccess, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "CONNECT_S_MAX", 60)
    asked = asyncio.Event()
    asking = connections._asking

    def told(connection: Any) -> str:
        asked.set()
        return asking(connection)

    monkeypatch.setattr(connections, "_asking", told)

    async def whole() -> None:
        async def sleeping() -> None:
            async with await connect_async(own_database.admin) as connection:
                server.pause_door()
                await connection.execute("SELECT pg_sleep(600)")

        task = asyncio.create_task(sleeping())
        async with asyncio.timeout(NOTICED_S_MAX):
            await asked.wait()
        # So that it has begun to ask.
        await asyncio.sleep(0)
        task.cancel()
        server.resume()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(whole())
    with psycopg.connect(own_database.admin, autocommit=True) as connection:
        until(lambda: connection.execute(SLEEPING).fetchone() == (0,))


def test_listening_gives_up_a_server_that_stands_still_and_hears_it_again(
    own_database: DatabaseAccess, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    looked: list[float] = []

    async def whole() -> None:
        async def look(connection: Any) -> None:
            await connection.execute("SELECT 1")
            looked.append(time.monotonic())

        conninfo = as_role(own_database, INGEST_ROLE)
        task = asyncio.create_task(follow_alerts(conninfo, 0.2, "it can't be looked", look))
        while len(looked) < 2:  # noqa: ASYNC110 - a list tells nobody
            await asyncio.sleep(0.05)
        server.pause()
        async with asyncio.timeout(NOTICED_S_MAX):
            while "it can't be looked now" not in caplog.text:  # noqa: ASYNC110 - a log tells nobody
                await asyncio.sleep(0.05)
        server.resume()
        before = len(looked)
        async with asyncio.timeout(NOTICED_S_MAX):
            while len(looked) == before:  # noqa: ASYNC110 - a list tells nobody
                await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(whole())


def test_notifications_are_waited_for_no_longer_than_asked(own_database: DatabaseAccess) -> None:
    async def whole() -> float:
        async with await connect_async(own_database.admin, autocommit=True) as connection:
            await connection.execute("LISTEN nothing")
            began_s = time.monotonic()
            async for _ in connection.notifies(timeout=3 * SILENT_S):
                raise AssertionError("nobody notifies")
            return time.monotonic() - began_s

    assert 3 * SILENT_S <= asyncio.run(whole()) < 6 * SILENT_S


def test_requests_connections_are_given_up_too(own_database: DatabaseAccess, server: Server) -> None:
    async def whole() -> None:
        pool = open_pool(as_role(own_database, APP_ROLE), connections_max=1, wait_s_max=10)
        await pool.open()
        async with pool.connection() as connection:
            server.pause()
            with pytest.raises(psycopg.OperationalError, match="stands still"):
                async with asyncio.timeout(NOTICED_S_MAX):
                    await connection.execute("SELECT 1")
        server.resume()
        async with pool.connection() as connection:
            assert await (await connection.execute("SELECT 1 AS one")).fetchone() == {"one": 1}
        await pool.close()

    asyncio.run(whole())
