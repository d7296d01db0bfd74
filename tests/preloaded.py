"""Engine processes for tests without the seconds that the imports cost: forked from one that has imported them.

What a process of its own would show beside the engine's work, its start from nothing, is tested by those that are
started so: `tests/api/cli`.
"""

import atexit
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any, Final

_IMPORTED: Final = ("api.bootstrap", "api.serving", "api.worker", "api.cli.main")
_MESSAGE_BYTES: Final = 1 << 20
_POLL_S: Final = 0.005


class Preloaded:
    """A process of the command line that was forked; what is asked of it is as of `subprocess.Popen`."""

    def __init__(self, pid: int, status: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._status = status

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self.returncode is None and select.select([self._status], [], [], 0)[0]:
            self.returncode = int(os.read(self._status, 16))
            os.close(self._status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code. Raises TimeoutExpired."""
        deadline_s = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline_s is not None and time.monotonic() > deadline_s:
                raise subprocess.TimeoutExpired("bpm", timeout or 0)
            time.sleep(_POLL_S)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def bpm(arguments: Sequence[str], environment: Mapping[str, str], log: IO[bytes], tree: Path) -> Preloaded:
    """Start `bpm` with these arguments; what it says goes to `log`. tree: the code that runs."""
    server = _server(tree)
    reading, writing = os.pipe()
    asked = {"arguments": list(arguments), "environment": dict(environment)}
    socket.send_fds(server, [json.dumps(asked).encode()], [log.fileno(), writing])
    os.close(writing)
    return Preloaded(int(server.recv(16)), reading)


@cache
def _server(tree: Path) -> socket.socket:
    """The socket of the process that forks; it ends with this one."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BPM_")}
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__)), str(theirs.fileno())],
        cwd=tree,
        env=environment | {"PYTHONPATH": str(tree)},
        stdin=subprocess.DEVNULL,
        pass_fds=[theirs.fileno()],
        start_new_session=True,
    )
    theirs.close()
    atexit.register(_ended, ours, process)
    return ours


def _ended(server: socket.socket, process: subprocess.Popen[Any]) -> None:
    server.close()
    process.wait()


def _serve(server: socket.socket) -> bool:
    """Fork what is asked for, and tell how each ends, until nobody can ask any more; True in what was forked."""
    for name in _IMPORTED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    running: dict[int, int] = {}
    while True:
        if select.select([server], [], [], _POLL_S if running else None)[0]:
            data, passed, _, _ = socket.recv_fds(server, _MESSAGE_BYTES, 2)
            if not data:
                return False
            log, status = passed
            pid = os.fork()
            if pid == 0:
                server.detach()
                _become(json.loads(data), log)
                return True
            os.close(log)
            running[pid] = status
            server.send(str(pid).encode())
        while running and (ended := os.waitpid(-1, os.WNOHANG))[0]:
            status = running.pop(ended[0])
            os.write(status, str(os.waitstatus_to_exitcode(ended[1])).encode())
            os.close(status)


def _become(asked: dict[str, Any], log: int) -> None:
    """Let this be the process that was asked for."""
    os.setsid()
    for number in (1, 2):
        os.dup2(log, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.argv = ["bpm", *asked["arguments"]]


if __name__ == "__main__":
    # The folder of this file isn't a place to import from.
    del sys.path[0]
    if _serve(socket.socket(fileno=int(sys.argv[1]))):
        # It ends as any process does, with all that is done at an exit.
        importlib.import_module("api.cli.main").main()
