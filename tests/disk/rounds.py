"""A small disk that is filled while readings come in, and what is stored afterwards."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from tests.faults.engine_process import EngineProcess, until
from tests.steady_load import TENANT, Reading, SteadyLoad, contradictions, make_tenant, stored

DISK_MB = 640
LOW_MB = 160
_MB = 1 << 20
_PAGE_BYTES = 4096
_LEFT_MB = 120
"""Below the mark, and enough for what is on its way."""

_REFUSALS_MIN = 4
_BATCHES_MIN = 20
_FULL_S = 3.0


class DiskWrongError(Exception):
    """What happened on a full disk isn't what should."""


class Fill(StrEnum):
    """To where the disk is filled."""

    BELOW_MARK = "below the mark"
    LAST_BYTE = "to the last byte"
    NO_MARK = "to the last byte, with the mark off"

    @property
    def low_mb(self) -> int:
        """The mark of the engine that is filled so."""
        return 0 if self is Fill.NO_MARK else LOW_MB

    @property
    def refusal(self) -> int:
        """The status that readings are refused with: PostgreSQL's own trouble is told as 503."""
        return 503 if self is Fill.NO_MARK else 507


@dataclass(slots=True)
class Result:
    """What was done and seen. refused_s, resumed_s: until readings were refused, and accepted again."""

    done: Counter[Fill] = field(default_factory=Counter)
    answers: Counter[int] = field(default_factory=Counter)
    acknowledged: int = 0
    server_restarts: int = 0
    refused_s: list[float] = field(default_factory=list)
    resumed_s: list[float] = field(default_factory=list)


class MountRefusedError(Exception):
    """This machine doesn't let us mount a disk."""


@contextmanager
def small_disk(size_mb: int = DISK_MB) -> Iterator[Path]:
    """A disk of this size for a while. Raises MountRefusedError."""
    folder = Path(tempfile.mkdtemp(prefix="bpm-disk-"))
    folder.chmod(0o755)
    options = f"size={size_mb}m,mode=755"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "bpm-test", str(folder)], capture_output=True, text=True
    )
    if done.returncode != 0:
        folder.rmdir()
        raise MountRefusedError(done.stderr.strip() or f"mount ended with {done.returncode}")
    try:
        yield folder
    finally:
        # What was just killed may hold it for a moment.
        for _ in range(100):
            if subprocess.run(["umount", str(folder)], capture_output=True).returncode == 0:
                break
            time.sleep(0.1)
        folder.rmdir()


class SmallInstallation:
    """An engine on the small disk, and the readings that were sent to it so far."""

    def __init__(self, folder: Path, low_mb: int = LOW_MB) -> None:
        self.folder = folder
        self.engine = EngineProcess(folder)
        self.engine.start(settings={"BPM_DISK_LOW_BYTES": str(low_mb * _MB)})
        self.engine.wait_ready()
        make_tenant(self.engine.connections())
        self._acknowledged: list[Reading] = []
        self._attempted: list[Reading] = []

    def fill_once(self, fill: Fill, number: int, result: Result) -> None:
        """Fill the disk while readings come in, make room again, and compare. Raises DiskWrongError."""
        load = SteadyLoad(self.engine.port, self.engine.token(TENANT), f"P-{number}")
        filler = self.folder / "filler"
        server_pid = self._server_pid()
        try:
            _progress(load)
            began_s = time.monotonic()
            _take(filler, _LEFT_MB * _MB if fill is Fill.BELOW_MARK else 0)
            until(
                lambda: load.answers()[fill.refusal] >= _REFUSALS_MIN,
                f"readings to be refused by {fill.refusal}",
            )
            result.refused_s.append(time.monotonic() - began_s)
            self._reads_go_on(fill)
            if fill is not Fill.BELOW_MARK:
                time.sleep(_FULL_S)
            filler.unlink()
            began_s = time.monotonic()
            _progress(load)
            result.resumed_s.append(time.monotonic() - began_s)
        finally:
            filler.unlink(missing_ok=True)
            load.stop()
        result.server_restarts += server_pid != self._server_pid()
        self._compare(load, fill, server_pid, result)

    def _server_pid(self) -> str:
        return (self.engine.data_dir / "postgres" / "postmaster.pid").read_text().splitlines()[0]

    def _reads_go_on(self, fill: Fill) -> None:
        if fill is Fill.NO_MARK:
            return
        status, ready = self.engine.request("GET", "/readyz")
        if status != 503 or ready["disk"]["free_bytes"] >= ready["disk"]["low_bytes"]:
            raise DiskWrongError(f"/readyz says {status} {ready}")
        if fill is Fill.BELOW_MARK:
            # To the last byte PostgreSQL may be starting again.
            status, answer = self.engine.request("GET", "/v1/packs", token=self.engine.token(TENANT))
            if status != 200 or ready["code"] != "disk_low":
                raise DiskWrongError(f"a read was answered {status} {answer}, /readyz {ready}")

    def _compare(self, load: SteadyLoad, fill: Fill, server_pid: str, result: Result) -> None:
        self._acknowledged += load.acknowledged()
        self._attempted += load.attempted()
        wrong = contradictions(self._acknowledged, stored(self.engine.connections()), self._attempted)
        wrong += load.wrong()
        if fill is Fill.BELOW_MARK and server_pid != self._server_pid():
            wrong.append("PostgreSQL was harmed, although readings are refused before")
        if self.engine.exit_code() is not None:
            wrong.append(f"the engine ended: {self.engine.end_of_log()}")
        if wrong:
            raise DiskWrongError("; ".join(wrong))
        result.done[fill] += 1
        result.answers += load.answers()
        result.acknowledged = len(self._acknowledged)

    def clear(self) -> None:
        self.engine.clear()


def _progress(load: SteadyLoad) -> None:
    enough = load.acknowledged_batches() + _BATCHES_MIN
    until(lambda: load.acknowledged_batches() >= enough, "acknowledgements")


def _take(filler: Path, left_bytes: int) -> None:
    """Write a file that leaves so much of the disk; 0 means until it is full."""
    descriptor = os.open(filler, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        size_bytes = max(0, shutil.disk_usage(filler.parent).free - left_bytes)
        if left_bytes:
            os.posix_fallocate(descriptor, 0, size_bytes)
            return
        for block in (bytes(_MB), bytes(_PAGE_BYTES)):
            # Until there isn't room for one more.
            with contextlib.suppress(OSError):
                while True:
                    os.write(descriptor, block)
    finally:
        os.close(descriptor)
