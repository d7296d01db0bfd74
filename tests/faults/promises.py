"""Promises, each tried at one point that is the same every time; a broken build must break its own."""

import http.client
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import psycopg

from domain.clock import from_ms
from domain.windows import QUARTER_MS, quarter_of
from storage.database import INGEST_ROLE, conninfo_as
from storage.layout import adopt
from storage.tenants import create as create_tenant
from tests.faults.alarms import add_rule, alert_contradictions
from tests.faults.comparison import Stored, read_stored
from tests.faults.engine_process import EngineProcess, until
from tests.faults.load import ALARM_MEASURE, HISTORY_S
from tests.faults.stale_worker import MESSAGES
from tests.faults.windows import answered_contradictions, read_marks, read_snapshot, stored_contradictions

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


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def readings_now() -> list[dict[str, Any]]:
    newest_ms = now_ms()
    return [{"pack": "P-1", "ts": newest_ms - 1000 * n, "voltage_v": 350 + n} for n in range(READINGS)]


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
    said = said_of_two(trial, "stale_owner")
    stored = trial.stored()
    require(said["outcome"] == "fenced", f"the stale owner {said['outcome']}; stored are {stored.values}")
    require(stored.rows == 1, f"{stored.rows} rows are stored")


def stale_worker_turns_no_position_back(trial: Trial) -> None:
    """A worker that was paused, and whose partition another one works on since, moves nothing when it is woken."""
    adopt(trial.administrator, f"readings/{uuid.uuid4()}", {0: 0})
    said = said_of_two(trial, "stale_worker")
    require(said["position"] == MESSAGES, f"the stale worker turned the position back: {said['position']}")
    require(said["knows"], "the stale worker doesn't know that it has lost its partition")
    stored = trial.stored()
    require(stored.rows == MESSAGES, f"{stored.rows} rows are stored")


def said_of_two(trial: Trial, program: str) -> dict[str, Any]:
    """What a program of the build says of two owners of one partition of the trial's database."""
    with psycopg.connect(trial.administrator) as connection:
        row = connection.execute(
            "INSERT INTO bpm.tenants (name) VALUES (%s) RETURNING tenant_id", (TENANT,)
        ).fetchone()
        assert row is not None
        connection.execute("INSERT INTO bpm.packs (tenant_id, external_id) VALUES (%s, 'P-1')", row)
    ran = subprocess.run(
        [sys.executable, "-m", f"tests.faults.{program}", str(row[0]), str(now_ms())],
        input=trial.administrator,
        cwd=trial.packages,
        env=os.environ | {"PYTHONPATH": str(trial.packages)},
        capture_output=True,
        text=True,
    )
    if ran.returncode != 0:
        raise RuntimeError(ran.stderr)
    said: dict[str, Any] = json.loads(ran.stdout)
    return said


COUNT_SOON = {"BPM_COUNT_WAIT_S": "0.05"}
CLOSE_NOTHING = COUNT_SOON | {"BPM_CLOSE_AFTER_S": str(HISTORY_S)}


def require_windows(trial: Trial, engine: EngineProcess | None, what: str) -> None:
    """The stored windows that count equal a recount, and so do those that are answered."""
    found = stored_contradictions(read_snapshot(trial.administrator))
    if engine is not None:
        found += answered_contradictions(trial.administrator, engine, engine.token(TENANT), "PT15M")
    require(not found, f"{what}: {found}")


def wait_until_counted(trial: Trial) -> None:
    until(lambda: read_marks(trial.administrator).is_quiet, "everything to be counted")


def late_readings_are_counted(trial: Trial) -> None:
    """A reading that comes when its quarter-hour was counted, and its neighbour, which its line reaches, too."""
    bound_ms = quarter_of(now_ms()) - 4 * QUARTER_MS
    with trial.engine() as engine:
        engine.start(settings=COUNT_SOON)
        engine.wait_ready()
        for ts_ms in (bound_ms - 100_000, bound_ms + 100_000):
            send(engine, {"pack": "P-1", "ts": ts_ms, "voltage_v": 350}, str(uuid.uuid4()))
            require_windows(trial, engine, "a late reading is missing from the windows")
            wait_until_counted(trial)
            require_windows(trial, engine, "a late reading is missing when all was counted")


def mark_moves_with_its_count(trial: Trial) -> None:
    """A counter that is killed before its first commit has counted nothing, and the next one counts all."""
    starts_ms = quarter_of(now_ms()) - 4 * QUARTER_MS
    with trial.engine() as engine:
        engine.start(settings=CLOSE_NOTHING)
        engine.wait_ready()
        set_marks(trial, starts_ms, starts_ms)
        send(engine, {"pack": "P-1", "ts": starts_ms + 1000, "voltage_v": 350}, str(uuid.uuid4()))
        engine.kill()
        set_marks(trial, starts_ms, starts_ms + QUARTER_MS)
        engine.start("in_count_before_commit:1", CLOSE_NOTHING)
        engine.wait_killed()
        require_windows(trial, None, "the mark moved before the count")
        engine.start(settings=CLOSE_NOTHING)
        engine.wait_ready()
        wait_until_counted(trial)
        require_windows(trial, engine, "the quarter-hour was not counted again")
    require(read_snapshot(trial.administrator).quarters, "the quarter-hour is not stored")


def set_marks(trial: Trial, counted_before_ms: int, closed_before_ms: int) -> None:
    with psycopg.connect(trial.administrator) as connection:
        connection.execute("UPDATE bpm.partitions SET closed_before = %s", (from_ms(closed_before_ms),))
        connection.execute("UPDATE bpm.window_marks SET counted_before = %s", (from_ms(counted_before_ms),))


GATE = 4711
GATED_COMMITS = f"""
    CREATE FUNCTION bpm.wait_at_commit() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_advisory_xact_lock({GATE}); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER gate AFTER INSERT ON bpm.batches DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION bpm.wait_at_commit();
    SELECT pg_advisory_lock({GATE})
"""
AT_THE_GATE = f"SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = {GATE} AND NOT granted"


def state_follows_commit(trial: Trial) -> None:
    """What is being committed is in no answer; when the commit fails, it is stored, and its alert raised, once."""
    pack, older, newer = "P-1", 2.9, 3.1
    with trial.engine() as engine, ThreadPoolExecutor(1) as thread:
        engine.start()
        engine.wait_ready()
        token = engine.token(TENANT)
        add_rule(engine, token)
        alarms = [(now_ms() + place, round(value * 1000), True) for place, value in enumerate((older, newer))]
        first, second = (
            {"pack": pack, "ts": ts_ms, ALARM_MEASURE: value / 1000} for ts_ms, value, _ in alarms
        )
        send(engine, first, str(uuid.uuid4()))
        with psycopg.connect(trial.administrator, autocommit=True) as connection:
            connection.execute(GATED_COMMITS.encode())
            answer = thread.submit(send, engine, second, str(uuid.uuid4()))
            writer: list[tuple[int]] = []
            until(lambda: writer.extend(connection.execute(AT_THE_GATE).fetchall()) or writer, "a commit")
            told = latest_of(engine, token, pack)
            require(told == older, f"answered as latest before its commit: {told}")
            connection.execute("SELECT pg_terminate_backend(%s, 10000)", writer[0])
        received = answer.result()
        require(received is not None and received[1].get("accepted") == 1, f"the retry got {received}")
        require(latest_of(engine, token, pack) == newer, "what was committed is not the latest")
    stored = trial.stored()
    require(stored.rows == len(alarms), f"{len(alarms)} readings were sent, {stored.rows} rows are stored")
    found = alert_contradictions(trial.administrator, {pack: alarms})
    require(not found, f"alerts: {found}")


def latest_of(engine: EngineProcess, token: str, pack: str) -> float:
    """The latest value of the measure with a rule."""
    _, page = engine.request("GET", "/v1/packs", token=token)
    (pack_id,) = (one["id"] for one in page["items"] if one["pack"] == pack)
    _, answer = engine.request("GET", f"/v1/packs/{pack_id}/latest", token=token)
    return float(answer["latest"][ALARM_MEASURE]["value"])


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
    Promise(stale_worker_turns_no_position_back, "fence_off", "the stale worker turned the position back"),
    Promise(late_readings_are_counted, "note_skipped", "a late reading is missing from the windows"),
    Promise(mark_moves_with_its_count, "mark_too_early", "the mark moved before the count"),
    Promise(state_follows_commit, "state_before_commit", "answered as latest before its commit"),
)
