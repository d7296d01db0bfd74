"""One broker for all processes of a test run: the first that asks starts it, the last that leaves stops it."""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from tests.kafka.broker import STOP_S_MAX, Cluster

_POLL_S = 0.05

_started: list[Cluster] = []
"""What this process started. It may run on for the others after this process has left it."""


@dataclass(slots=True)
class _Shared:
    """What the processes know of it: its address, its process, and theirs that use it."""

    bootstrap: str = ""
    pid: int = 0
    users: list[int] = field(default_factory=list)


@contextmanager
def _held(folder: Path) -> Iterator[_Shared]:
    """The record, to be changed by one process at a time."""
    path = folder / "shared.json"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        record = _Shared(**json.loads(path.read_text())) if path.exists() else _Shared()
        yield record
        path.write_text(json.dumps(asdict(record)))


@contextmanager
def shared_broker(folder: Path) -> Iterator[str]:
    """The address of the run's broker, which lies in the folder. Raises BrokerStuckError."""
    folder.mkdir(exist_ok=True)
    with _held(folder) as record:
        if not record.users:
            cluster = Cluster(folder)
            cluster.start()
            _started.append(cluster)
            process = cluster.brokers[0].process
            assert process is not None
            record.bootstrap, record.pid = cluster.bootstrap, process.pid
        record.users.append(os.getpid())
    try:
        yield record.bootstrap
    finally:
        with _held(folder) as record:
            record.users.remove(os.getpid())
            if not record.users:
                _stop(record.pid)


def _stop(pid: int) -> None:
    process = psutil.Process(pid)
    process.terminate()
    deadline_s = time.monotonic() + STOP_S_MAX
    # Its parent may be another process of the run, which doesn't look after it any more.
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline_s:
            process.kill()
            return
        time.sleep(_POLL_S)
