"""Starts, watches and stops the embedded server, as a direct child of the engine's process."""

import contextlib
import os
import secrets
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn, Ping

from domain.errors import DatabaseRefusedError
from storage.embedded_postgres import tuning
from storage.embedded_postgres.account import Account, choose_account
from storage.embedded_postgres.binaries import usable_binaries
from storage.embedded_postgres.cluster import (
    admin_secret,
    ensure_cluster,
    ensure_database_and_login,
    refuse_unusable_cluster,
    service_secret,
)
from storage.embedded_postgres.config import (
    ADMIN_LOGIN,
    DATABASE,
    PORT,
    POSTGRES_MAJOR,
    SERVICE_LOGIN,
    Connections,
    EmbeddedConfig,
)
from storage.embedded_postgres.layout import Layout
from storage.embedded_postgres.private_files import hold_lock, kept_password, prepare_data_dir
from storage.embedded_postgres.processes import (
    Record,
    clear_servers,
    is_recorded_server,
    read_record,
    remove_stale_locks,
    servers_on,
    start_of,
    write_record,
)
from storage.embedded_postgres.progress import StallWatch, effort_of
from storage.embedded_postgres.server_log import ServerLog

_POLL_S = 0.02
_EFFORT_EVERY_S = 0.5
_REPORT_EVERY_S = 5.0
_STATUS_LINE = 7
"""Of postmaster.pid. Asking the file instead of the server leaves no trace that would look like progress."""


@dataclass(slots=True)
class _Held:
    """What a started supervisor holds."""

    lock: int
    account: Account
    record: Record
    binaries: Path = Path()
    server: subprocess.Popen[bytes] | None = None


class EmbeddedPostgres:
    """The embedded server of one data directory.

    report: takes a line of progress for people.
    """

    def __init__(self, config: EmbeddedConfig, report: Callable[[str], None]) -> None:
        self._config = config
        self._report = report
        self._layout = Layout.at(config.data_dir)
        self._log = ServerLog(self._layout.log)
        self._held: _Held | None = None

    def start(self) -> Connections:
        """Connections to a server that accepts them.

        Makes the cluster at the first start, and replaces a server of ours that a killed engine left behind.
        Raises DatabaseRefusedError when the server can't be started, with what to do.
        """
        _require_main_thread()
        if self._held is not None:
            raise RuntimeError("this supervisor has started already; use restart, or stop it first")
        layout = self._layout
        try:
            account = choose_account(layout.data_dir, layout.cluster, self._config.run_as)
            prepare_data_dir(layout, account)
            held = _Held(hold_lock(layout, account), account, _kept_record(layout))
        except OSError as error:
            raise self._refused_by_system(error) from error
        self._held = held
        try:
            write_record(layout.record, held.record, account)
            refuse_unusable_cluster(layout)
            held.binaries = usable_binaries(layout, account, self._report)
            ensure_cluster(layout, account, held.binaries, self._report, durable=self._config.durable)
            return self._run(held)
        except OSError as error:
            self.stop()
            raise self._refused_by_system(error) from error
        except BaseException:
            self.stop()
            raise

    def exit_code(self) -> int | None:
        """None while the server runs, else how it ended: negative is the signal.

        To be asked every few seconds; it also keeps the log within its size.
        """
        held = self._require_started()
        self._log.bound(held.account)
        return None if held.server is None else held.server.poll()

    def restart(self) -> Connections:
        """Connections to a new server, after the last one died and its children are gone.

        Raises DatabaseRefusedError as start does; the supervisor stays started and may try again.
        """
        _require_main_thread()
        held = self._require_started()
        try:
            return self._run(held)
        except OSError as error:
            raise self._refused_by_system(error) from error

    def stop(self) -> None:
        """Stop the server cleanly, or at once when that takes too long, and free the data directory."""
        held = self._held
        if held is None:
            return
        try:
            self._end_server(held)
            write_record(self._layout.record, replace(held.record, pid=None, started=None), held.account)
            self._remove_outside_socket_dir(Path(held.record.socket_dir))
        finally:
            os.close(held.lock)
            self._held = None

    def _run(self, held: _Held) -> Connections:
        """Clear the place, start the server and wait until it is ready."""
        if servers_on(self._layout.cluster):
            self._report("stopping a PostgreSQL server of ours that was left behind")
        self._end_server(held)
        remove_stale_locks(self._layout.cluster, Path(held.record.socket_dir))
        self._log.bound(held.account)
        descriptor = self._log.open(held.account)
        try:
            log_from_bytes = self._log.size_bytes()
            server = held.account.start(self._command(held), descriptor)
        finally:
            os.close(descriptor)
        held.server = server
        held.record = replace(held.record, pid=server.pid, started=start_of(server.pid))
        try:
            write_record(self._layout.record, held.record, held.account)
            self._wait_ready(server, held.record, log_from_bytes)
            return self._prepare_database(held)
        except BaseException:
            self._end_server(held)
            raise

    def _end_server(self, held: _Held) -> None:
        """Stop what runs on the cluster; only our own is touched, a stranger is refused."""
        try:
            clear_servers(self._layout.cluster, held.record.marker, self._config.stop_s_max, self._report)
        finally:
            if held.server is not None:
                held.server.kill()  # Has ended already, unless it never reached its folder.
                held.server.wait()

    def _remove_outside_socket_dir(self, socket_dir: Path) -> None:
        """A long path's socket lies under the folder of temporary files, where nothing should stay."""
        if socket_dir.parent != self._layout.data_dir:
            with contextlib.suppress(OSError):
                socket_dir.rmdir()

    def _command(self, held: _Held) -> list[str | Path]:
        settings = {
            **tuning.FIXED,
            **({} if self._config.durable else tuning.NOT_DURABLE),
            **tuning.fitted(tuning.measure_machine(self._layout.data_dir), self._config.shared_buffers_mb),
            "cluster_name": held.record.marker,
            "unix_socket_directories": held.record.socket_dir,
            "port": str(PORT),
        }
        arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [held.binaries / "postgres", "-D", self._layout.cluster, *arguments]

    def _wait_ready(self, server: subprocess.Popen[bytes], record: Record, log_from_bytes: int) -> None:
        """Returns when the server accepts connections; has no deadline while it gets on."""
        watch = StallWatch(self._config.start_stall_s_max)
        began_s = reported_s = time.monotonic()
        looked_s = 0.0
        while not self._is_ready(server.pid, record):
            if server.poll() is not None:
                raise self._refused_while_starting(f"it ended with {server.returncode}", log_from_bytes)
            now_s = time.monotonic()
            if now_s - looked_s >= _EFFORT_EVERY_S:
                looked_s = now_s
                effort = effort_of(server.pid, self._log.path)
                if watch.has_stalled(effort, now_s):
                    stalled = f"no progress for {watch.stall_s_max:g} s, at: {effort.doing}"
                    raise self._refused_while_starting(stalled, log_from_bytes)
                if now_s - reported_s >= _REPORT_EVERY_S:
                    reported_s = now_s
                    self._report(f"PostgreSQL is starting since {now_s - began_s:.0f} s: {effort.doing}")
            time.sleep(_POLL_S)

    def _is_ready(self, server_pid: int, record: Record) -> bool:
        try:
            lines = (self._layout.cluster / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except (FileNotFoundError, UnicodeDecodeError):
            return False
        if (
            len(lines) <= _STATUS_LINE
            or lines[0] != str(server_pid)
            or lines[_STATUS_LINE].strip() != "ready"
        ):
            return False
        address = make_conninfo("", host=record.socket_dir, port=PORT, connect_timeout=5)
        return PGconn.ping(address.encode()) == Ping.OK

    def _prepare_database(self, held: _Held) -> Connections:
        connections = _connections(
            held.record.socket_dir,
            kept_password(admin_secret(self._layout), held.account),
            kept_password(service_secret(self._layout), held.account),
        )
        try:
            ensure_database_and_login(
                make_conninfo(connections.admin, dbname="postgres"),
                kept_password(service_secret(self._layout), held.account),
            )
        except psycopg.OperationalError as error:
            raise DatabaseRefusedError(
                f"the server of {self._layout.cluster} runs but refuses {ADMIN_LOGIN} with the password in "
                f"{admin_secret(self._layout)}, or can't make its database: {error}"
            ) from error
        return connections

    def _require_started(self) -> _Held:
        if self._held is None:
            raise RuntimeError("this supervisor has not been started")
        return self._held

    def _refused_while_starting(self, what: str, log_from_bytes: int) -> DatabaseRefusedError:
        return DatabaseRefusedError(
            f"PostgreSQL can't be started in {self._layout.data_dir}: {what}; the end of {self._log.path}:\n"
            f"{self._log.tail(log_from_bytes)}"
        )

    def _refused_by_system(self, error: OSError) -> DatabaseRefusedError:
        return DatabaseRefusedError(
            f"PostgreSQL {POSTGRES_MAJOR} can't be started in {self._layout.data_dir}: {error}; "
            "check the rights and the space there, or choose another BPM_DATA_DIR"
        )


def connections_of_running(data_dir: Path) -> Connections | None:
    """Connections to the server that a running engine has started on the directory, or None.

    Raises DatabaseRefusedError when the caller may not read the directory.
    """
    layout = Layout.at(data_dir)
    try:
        record = read_record(layout.record)
        if record is None or not is_recorded_server(record):
            return None
        return _connections(
            record.socket_dir,
            admin_secret(layout).read_text(encoding="utf-8"),
            service_secret(layout).read_text(encoding="utf-8"),
        )
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise DatabaseRefusedError(
            f"{layout.data_dir} may not be read by this user; run the command as root or as its owner"
        ) from error


def _connections(socket_dir: str, admin_password: str, service_password: str) -> Connections:
    def conninfo(user: str, password: str) -> str:
        return make_conninfo("", host=socket_dir, port=PORT, dbname=DATABASE, user=user, password=password)

    return Connections(conninfo(ADMIN_LOGIN, admin_password), conninfo(SERVICE_LOGIN, service_password))


def _kept_record(layout: Layout) -> Record:
    """The record with the marker of this data directory, made once, and the socket as it is now."""
    known = read_record(layout.record)
    marker = f"bpm-{secrets.token_hex(16)}" if known is None else known.marker
    return Record(marker, str(layout.socket_dir))


def _require_main_thread() -> None:
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("the database is started from the main thread only")
