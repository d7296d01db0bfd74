"""Two cells on one broker, each with a topic, a database, an API and a worker of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg

from api.database_access import DatabaseAccess
from api.delivering.sealing import DEVELOPMENT_KEY_FILE
from api.moving import Steps, TenantMove
from api.settings import Environment, Settings
from domain.tenancy import Role
from tests.kafka.workers import Worker, adopt_new_topic, working
from tests.running import RunningApi, running_api

WAITS: dict[str, Any] = {
    "tenant_cache_s": 0.2,
    "receipt_wait_s": 1.0,
    "kafka_ack_s_max": 2.0,
    "live_poll_s": 0.2,
}
COMMAND_S_MAX = 120


@dataclass(frozen=True, slots=True)
class RunningCell:
    """A cell that runs. keys: the folder of the keys that sign tokens, the same for both cells."""

    name: str
    access: DatabaseAccess
    api: RunningApi
    bootstrap: str
    folder: Path
    worker: Worker

    def client(self, tenant: str, role: Role = Role.TENANT_ADMIN) -> httpx.Client:
        return self.api.client(tenant, role)

    def move(self, tenant: str, cells_file: Path, steps: Steps | None = None) -> TenantMove:
        """The command that moves a tenant away from here."""
        settings = Settings(
            env=Environment.DEVELOPMENT,
            data_dir=self.folder,
            kafka=self.bootstrap,
            cells_file=cells_file,
            **WAITS,
        )
        return TenantMove(settings, self.access, tenant, steps or Steps(wait_s_max=30, taken_in_s=0.5))

    def bpm(self, cells_file: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command, run where this cell's API has its settings."""
        given = {
            "BPM_ENV": "development",
            "BPM_DATABASE_URL": self.access.admin,
            "BPM_DATA_DIR": str(self.folder),
            "BPM_KAFKA": self.bootstrap,
            "BPM_CELLS_FILE": str(cells_file),
        } | {f"BPM_{name.upper()}": str(value) for name, value in WAITS.items()}
        return subprocess.run(
            [sys.executable, "-m", "api.cli", *arguments],
            env=os.environ | given,
            capture_output=True,
            text=True,
            timeout=COMMAND_S_MAX,
        )

    def rows(self, text: str, *given: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.access.admin, options="-c search_path=bpm -c timezone=UTC") as connection:
            return connection.execute(text, given or None).fetchall()


@contextmanager
def running_cell(
    name: str,
    access: DatabaseAccess,
    bootstrap: str,
    folder: Path,
    partitions: int,
    keys_of: Path | None = None,
) -> Iterator[RunningCell]:
    """keys_of: the folder of a cell with the same keys."""
    folder.mkdir(parents=True)
    if keys_of is not None:
        for key in ("development-signing-key.pem", DEVELOPMENT_KEY_FILE):
            (folder / key).write_bytes((keys_of / key).read_bytes())
    adopt_new_topic(access, bootstrap, partitions)
    settings = {"BPM_SAVE_STATE_S": "0.5", "BPM_CLOSE_AFTER_S": "1", "BPM_COUNT_WAIT_S": "0.2"}
    with (
        working(Worker(access, bootstrap, folder / "worker", settings=settings)) as worker,
        running_api(access, folder, kafka=bootstrap, **WAITS) as api,
    ):
        yield RunningCell(name, access, api, bootstrap, folder, worker)


def write_cells(path: Path, *cells: RunningCell) -> Path:
    """A cells file that names these."""
    tables = [
        f'[cells.{cell.name}]\nurl = "{cell.api.url}"\ndatabase_url = "{cell.access.admin}"\n'
        for cell in cells
    ]
    path.write_text("\n".join(tables))
    return path
