"""Three promises, each tried at one point that is the same every time; a broken build must break its own."""

import http.client
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import psycopg

from storage.database import INGEST_ROLE, conninfo_as
from storage.registry import create_tenant
from tests.faults.comparison import Stored, read_stored
from tests.faults.engine_process import EngineProcess

TENANT = "promises"
READINGS = 5


class PromiseBrokenError(Exception):
    """The build does not keep what it promises."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A build, a migrated database of its own, and a folder for its process."""

    packages: Path
    administrator: str
    folder: Path

    @contextmanager
    def engine(self) -> Iterator[EngineProcess]:
        """The build's engine on the database; whatever still runs at the end is ended."""
        engine = EngineProcess(self.folder, packages=self.packages, database_url=self.administrator)
        conninfo = conninfo_as(self.administrator, INGEST_ROLE, application="faults")
        create_tenant(conninfo, TENANT, register_unknown_packs=True)
        try:
            yield engine
        finally:
            engine.clear()

    def stored(self) -> Stored:
        return read_stored(self.administrator)


def require(condition: object, what: str) -> None:
    if not condition:
        raise PromiseBrokenError(what)


def readings_now() -> list[dict[str, Any]]:
    now_ms = time.time_ns() // 1_000_000
    return [{"pack": "P-1", "ts": now_ms - 1000 * n, "voltage_v": 350 + n} for n in range(READINGS)]


def send(engine: EngineProcess, body: object, key: str) -> tuple[int, Any] | None:
    """Status and receipt, or None when the engine was gone before it answered."""
    try:
        return engine.request("POST", "/v1/telemetry", body, engine.token(TENANT), key)
    except (OSError, http.client.HTTPException):
        return None


def require_stored_once(stored: Stored) -> None:
    twice = [value for value, times in stored.values.items() if times > 1]
    require(not twice, f"stored more than once: {twice}")
    require(len(stored.values) == READINGS, f"{READINGS} readings were sent, stored are {stored.values}")
    require(stored.rows == READINGS, f"{READINGS} readings were sent, {stored.rows} rows are stored")


def acknowledged_is_stored(trial: Trial) -> None:
    """An engine that dies just before its commit has acknowledged nothing of it."""
    body, key = readings_now(), str(uuid.uuid4())
    with trial.engine() as engine:
        engine.start("before_commit:1")
        engine.wait_ready()
        answer = send(engine, body, key)
        engine.wait_killed()
        require(answer is None or trial.stored().rows == READINGS, f"acknowledged, but not stored: {answer}")
        require(answer is None, f"answered before the commit: {answer}")
        require(trial.stored().rows == 0, "stored before the commit")
        engine.start()
        engine.wait_ready()
        answer = send(engine, body, key)
        require(answer is not None and answer[0] == HTTPStatus.OK, f"the retry was answered with {answer}")
    require_stored_once(trial.stored())


def nothing_counts_twice(trial: Trial) -> None:
    """A retry after a commit of which the sender heard nothing, and the same readings again under a new key."""
    body, key = readings_now(), str(uuid.uuid4())
    with trial.engine() as engine:
        engine.start("after_commit:1")
        engine.wait_ready()
        answer = send(engine, body, key)
        engine.wait_killed()
        require(answer is None, f"answered by a dead engine: {answer}")
        require(trial.stored().rows == READINGS, "the commit is not there")
        engine.start()
        engine.wait_ready()
        retried, again = send(engine, body, key), send(engine, body, str(uuid.uuid4()))
    require_stored_once(trial.stored())
    require(retried is not None and retried[1].get("accepted") == READINGS, f"the retry got {retried}")
    require(again is not None and again[1].get("duplicate") == READINGS, f"the repetition got {again}")


def stale_owner_writes_nothing(trial: Trial) -> None:
    """An owner that lost its partition, and doesn't know it, can't commit any more."""
    with psycopg.connect(trial.administrator) as connection:
        row = connection.execute(
            "INSERT INTO bpm.tenants (name) VALUES (%s) RETURNING tenant_id", (TENANT,)
        ).fetchone()
        assert row is not None
        connection.execute("INSERT INTO bpm.packs (tenant_id, external_id) VALUES (%s, 'P-1')", row)
    ran = subprocess.run(
        [sys.executable, "-m", "tests.faults.stale_owner", str(row[0]), str(time.time_ns() // 1_000_000)],
        input=trial.administrator,
        cwd=trial.packages,
        env=os.environ | {"PYTHONPATH": str(trial.packages)},
        capture_output=True,
        text=True,
    )
    if ran.returncode != 0:
        raise RuntimeError(ran.stderr)
    said = json.loads(ran.stdout)
    stored = trial.stored()
    require(said["outcome"] == "fenced", f"the stale owner {said['outcome']}; stored are {stored.values}")
    require(stored.rows == 1, f"{stored.rows} rows are stored")


@dataclass(frozen=True, slots=True)
class Promise:
    """A promise, and the patch that breaks it: what the broken build is then caught at."""

    keep: Callable[[Trial], None]
    broken_by: str
    caught_at: str


PROMISES = (
    Promise(acknowledged_is_stored, "acknowledge_before_commit", "acknowledged, but not stored"),
    Promise(nothing_counts_twice, "dedupe_off", "stored more than once"),
    Promise(stale_owner_writes_nothing, "fence_off", "the stale owner committed"),
)
