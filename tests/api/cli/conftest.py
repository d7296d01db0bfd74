"""A whole engine in a process of its own, for tests of commands."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.running import free_port

BPM = [sys.executable, "-m", "api.cli"]
STOP_S_MAX = 60


@dataclass(frozen=True, slots=True)
class Installation:
    """A data folder, a port, and the environment that says so."""

    environment: dict[str, str]
    url: str
    process: subprocess.Popen[str]

    def bpm(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*BPM, *arguments], env=self.environment | environment, capture_output=True, text=True, timeout=60
        )


@pytest.fixture(scope="session")
def installation(reachable_folder: Path) -> Iterator[Installation]:
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BPM_")} | {
        "BPM_DATA_DIR": str(reachable_folder / "installation"),
        "BPM_PORT": str(port),
        "BPM_POSTGRES_SHARED_BUFFERS_MB": "64",
    }
    process = subprocess.Popen(
        [*BPM, "up"], env=environment | {"BPM_ENV": "development"}, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if "Ready" in line:
            break
    assert any("Ready" in line for line in said), "".join(said)
    try:
        yield Installation(environment, f"http://127.0.0.1:{port}", process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=STOP_S_MAX)
