"""The writer processes of a round, and their journals."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.engine_process import ROOT, EngineProcess, EngineStuckError, until

WRITERS = 4

_START_BEFORE_S = 600
_PROGRESS_S_MAX = 60.0
_STOP_S_MAX = 150.0


def _start_writer(facts: dict[str, object]) -> subprocess.Popen[bytes]:
    arguments = [f"--{name}={value}" for name, value in facts.items()]
    return subprocess.Popen([sys.executable, "-m", "tests.faults.writer", *arguments], cwd=ROOT)


class Writers:
    """The writer processes and their journals."""

    def __init__(self, engine: EngineProcess, token: str, folder: Path, seed: int) -> None:
        start_ms = (int(time.time()) - _START_BEFORE_S) * 1000
        self.journals = [folder / f"writer-{number}.jsonl" for number in range(WRITERS)]
        self._sizes = [0] * WRITERS
        self._acknowledged = 0
        facts = {"token": token, "port": engine.port, "seed": seed, "start-ms": start_ms}
        self._processes = [
            _start_writer(facts | {"number": n, "journal": self.journals[n]}) for n in range(WRITERS)
        ]

    def acknowledged(self) -> int:
        """Acknowledgements logged so far."""
        for number, journal in enumerate(self.journals):
            if journal.exists():
                with journal.open("rb") as file:
                    file.seek(self._sizes[number])
                    new = file.read()
                whole = new[: new.rfind(b"\n") + 1]
                self._sizes[number] += len(whole)
                self._acknowledged += whole.count(b'{"what": "acknowledged"')
        return self._acknowledged

    def wait_progress(self) -> None:
        """Wait until more has been acknowledged. Raises EngineStuckError."""
        before = self.acknowledged()
        until(lambda: self.acknowledged() > before, "another acknowledgement", _PROGRESS_S_MAX)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing new is sent meanwhile; what was sent goes its way."""
        for process in self._processes:
            process.send_signal(signal.SIGSTOP)
        yield
        for process in self._processes:
            process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Let every writer bring its last request to its end. Raises EngineStuckError when one failed."""
        for process in self._processes:
            process.terminate()
        codes = [process.wait(_STOP_S_MAX) for process in self._processes]
        if any(codes):
            raise EngineStuckError(f"the writers ended with {codes}")

    def clear(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
