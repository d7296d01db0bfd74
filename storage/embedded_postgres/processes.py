"""Server processes on a data directory: which run, which are ours, and how they are stopped."""

import json
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from domain.errors import DatabaseRefusedError
from storage.embedded_postgres.account import Account
from storage.embedded_postgres.layout import SOCKET_NAME
from storage.embedded_postgres.private_files import write_private

_PROGRAMS = ("postgres", "postmaster")
_CHILDREN_GO_S_MAX = 2.0
_STOP_AT_ONCE_S_MAX = 10.0
_SECOND_LOOK_AFTER_S = 0.3
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Record:
    """What is written down of our server, so that a later process knows it.

    marker: the server's cluster_name, random, made once per data directory and written before the first
    start. It stands in the command line of every server process, so an orphan is known even if the engine
    was killed before it could write down the pid. pid and started are None while no server runs.
    """

    marker: str
    socket_dir: str
    pid: int | None = None
    started: str | None = None


def read_record(path: Path) -> Record | None:
    """The record, or None when there is none or it can't be understood."""
    try:
        return Record(**json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def write_record(path: Path, record: Record, account: Account) -> None:
    """Replace the record."""
    write_private(path, json.dumps(asdict(record)), account)


def start_of(pid: int) -> str | None:
    """When the process started, as text that no step of the wall clock changes; None if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        # The second when it goes between the opening and the reading.
        pass
    try:
        return str(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def is_recorded_server(record: Record) -> bool:
    """True when the recorded server runs: same pid, same start, our marker."""
    if record.pid is None or start_of(record.pid) != record.started:
        return False
    try:
        process = psutil.Process(record.pid)
        return is_ours(process, record.marker) and _is_alive(process)
    except psutil.Error:
        return False


def servers_on(cluster: Path) -> list[psutil.Process]:
    """All living server processes whose working folder is the cluster; PostgreSQL always works from there."""
    if not cluster.exists():
        return []
    found = cluster.stat()
    place = (found.st_dev, found.st_ino)
    return [
        process
        for process in psutil.process_iter(["name"])
        if process.info["name"] in _PROGRAMS and _working_place(process) == place
    ]


def is_ours(process: psutil.Process, marker: str) -> bool:
    """True when the process carries our marker: the server in its arguments, its children in their titles."""
    try:
        return marker in " ".join(process.cmdline())
    except psutil.Error:
        return False


def clear_servers(cluster: Path, marker: str, stop_s_max: float, report: Callable[[str], None]) -> None:
    """Stop what is left of our servers on the cluster; afterwards no process works there.

    A server is asked for a fast shutdown, which keeps it short of a recovery; children that lost their server
    get a moment to go by themselves. What stays is stopped at once, in the end by SIGKILL.
    Raises DatabaseRefusedError for a server that isn't ours.
    """
    for sent, wait_s in (
        (signal.SIGINT, stop_s_max),
        (signal.SIGQUIT, _STOP_AT_ONCE_S_MAX),
        (signal.SIGKILL, _STOP_AT_ONCE_S_MAX),
    ):
        running = servers_on(cluster)
        if not running:
            return
        _refuse_strangers(running, cluster, marker)
        heads = [process for process in running if _is_head(process)]
        if sent != signal.SIGINT:
            report(f"the database did not stop in time, sending {sent.name}")
        for process in heads if sent == signal.SIGINT else running:
            _send(process, sent)
        limit_s = wait_s if heads or sent != signal.SIGINT else _CHILDREN_GO_S_MAX
        wait_gone(running, limit_s)
    stuck = servers_on(cluster)
    if stuck:
        raise DatabaseRefusedError(
            f"the server processes {[process.pid for process in stuck]} on {cluster} don't end, "
            "not even by SIGKILL; the disk may hang"
        )


def remove_stale_locks(cluster: Path, socket_dir: Path) -> None:
    """Remove the lock files of a server that is gone; call it only when no process works on the cluster.

    PostgreSQL would believe them as soon as any process of the same account got the old number.
    """
    for stale in (cluster / "postmaster.pid", socket_dir / SOCKET_NAME, socket_dir / f"{SOCKET_NAME}.lock"):
        stale.unlink(missing_ok=True)


def wait_gone(processes: list[psutil.Process], limit_s: float) -> bool:
    """True as soon as all have ended, False when the limit passes first. A zombie has ended."""
    deadline_s = time.monotonic() + limit_s
    while any(_is_alive(process) for process in processes):
        if time.monotonic() >= deadline_s:
            return False
        time.sleep(_POLL_S)
    return True


def _refuse_strangers(running: list[psutil.Process], cluster: Path, marker: str) -> None:
    strangers = [process for process in running if _is_strange(process, marker)]
    if strangers:
        # A second look: a child of ours that is just writing its title must not pass for a stranger.
        wait_gone(strangers, _SECOND_LOOK_AFTER_S)
        strangers = [process for process in strangers if _is_strange(process, marker)]
    if strangers:
        pid = min((p for p in strangers if _is_head(p)), key=lambda p: p.pid, default=strangers[0]).pid
        raise DatabaseRefusedError(
            f"another PostgreSQL server, process {pid}, which this engine did not start, runs on {cluster}; "
            f"stop it (for example pg_ctl stop -D {cluster}) and start again, or choose another BPM_DATA_DIR",
            pid=pid,
        )


def _is_strange(process: psutil.Process, marker: str) -> bool:
    """True for a living process that shows arguments without our marker. One that is ending shows none."""
    try:
        arguments = " ".join(process.cmdline())
    except psutil.Error:
        return False
    return bool(arguments.strip()) and marker not in arguments and _is_alive(process)


def _is_head(process: psutil.Process) -> bool:
    """The server itself keeps its arguments, its children replace them by a title."""
    try:
        return not process.cmdline()[0].startswith("postgres: ")
    except (psutil.Error, IndexError):
        return False


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _send(process: psutil.Process, sent: signal.Signals) -> None:
    try:
        process.send_signal(sent)
    except psutil.NoSuchProcess:
        return


def _working_place(process: psutil.Process) -> tuple[int, int] | None:
    """Device and number of the working folder; by the kernel's link, which also leads into containers."""
    try:
        link = Path(f"/proc/{process.pid}/cwd")
        found = link.stat() if psutil.LINUX else Path(process.cwd()).stat()
    except (OSError, psutil.Error):
        return None
    return found.st_dev, found.st_ino
