"""What the writer promises when its store or its queue fails it (rules E7 to E9), on a real PostgreSQL."""

import os
import signal
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from api.cli.context import SERVICE_LOGIN
from api.database_access import DatabaseAccess, prepare_database
from domain.receipts import OUTCOME_UNKNOWN
from storage.embedded_postgres import EmbeddedConfig, EmbeddedPostgres
from storage.embedded_postgres.layout import Layout
from storage.embedded_postgres.processes import read_record
from tests.faults.comparison import read_stored
from tests.faults.engine_process import EngineProcess, until
from tests.running import RunningApi, running_api

TENANT = "runner"
FORBIDDEN_V = 13.0

STOP_WRITES = "LOCK TABLE bpm.batches IN SHARE ROW EXCLUSIVE MODE"
WAITING = """
    SELECT count(*) FROM pg_locks WHERE relation = 'bpm.batches'::regclass AND NOT granted AND mode = %s
"""
WRITER = """
    SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND granted
        AND classid::int8 = hashtext('bpm.partition')::int8 & 4294967295
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
WAITS_FOR_LOCK = """
    SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND NOT granted
        AND classid::int8 = hashtext('bpm.partition')::int8 & 4294967295
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
WRITER_LOCK = "SELECT pg_advisory_lock(hashtext('bpm.partition'), 0)"
RAISE_EPOCH = "UPDATE bpm.partitions SET epoch = epoch + 1 RETURNING epoch"


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a batch."""

    status: int
    body: Any
    retry_after: str | None


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of one reading, under its key."""

    key: str
    body: dict[str, Any]


class Sender:
    """Sends batches of one reading, each from a thread of its own."""

    def __init__(self, api: RunningApi) -> None:
        self._api = api
        self._threads = ThreadPoolExecutor(8)
        self._client = api.client(api.tenant(TENANT))
        self._ts_ms = int(time.time()) * 1000
        self._made = 0

    def close(self) -> None:
        self._threads.shutdown()
        self._client.close()

    def batch(self, voltage_v: float = 350.0) -> Batch:
        """A new batch; its reading is older than those of all before it, so that it has to be looked up."""
        self._made += 1
        body = {"pack": "P-1", "ts": self._ts_ms - self._made, "voltage_v": voltage_v}
        return Batch(str(uuid.uuid4()), body)

    def send(self, batch: Batch) -> Future[Answer]:
        return self._threads.submit(self._send, batch)

    def _send(self, batch: Batch) -> Answer:
        headers = {"Idempotency-Key": batch.key}
        answer = self._client.post("/v1/telemetry", json=batch.body, headers=headers)
        return Answer(answer.status_code, answer.json(), answer.headers.get("Retry-After"))

    def send_until_accepted(self, batch: Batch) -> Answer:
        """The answer, once it isn't 503 any more."""
        answers: list[Answer] = []

        def accepted() -> bool:
            answers.append(self.send(batch).result())
            return answers[-1].status != HTTPStatus.SERVICE_UNAVAILABLE

        until(accepted, "a batch to be accepted")
        return answers[-1]

    def wait_queued(self, readings: int) -> None:
        until(lambda: self._api.engine.runner.queued_readings() == readings, f"{readings} queued readings")


class HeldWriter:
    """Lets the writer come as far as its readings being copied, and no further, until `release`."""

    def __init__(self, access: DatabaseAccess) -> None:
        self._conninfo = access.admin
        self._looking = psycopg.connect(access.admin, autocommit=True)
        self._holding = psycopg.connect(access.admin)
        self._holding.execute(STOP_WRITES)

    def close(self) -> None:
        self._holding.close()
        self._looking.close()

    def wait_inside(self) -> None:
        """Wait until the writer stands in its transaction."""
        self._wait_for("RowExclusiveLock")

    def let_one_group_pass(self) -> None:
        """Let the group that stands in its transaction commit, and hold the next."""
        following = psycopg.connect(self._conninfo)
        with ThreadPoolExecutor(1) as thread:
            locked = thread.submit(following.execute, STOP_WRITES)
            # It waits behind the writer, so it comes to hold the lock as soon as the writer has committed.
            self._wait_for("ShareRowExclusiveLock")
            self.release()
            locked.result()
        self._holding = following

    def release(self) -> None:
        self._holding.close()

    def _wait_for(self, mode: str) -> None:
        until(
            lambda: self._looking.execute(WAITING, [mode]).fetchone() == (1,), f"somebody to wait for {mode}"
        )


def execute(access: DatabaseAccess, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(access.admin, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def require_stored_once(access: DatabaseAccess, readings: int) -> None:
    stored = read_stored(access.admin)
    assert stored.rows == len(stored.values) == readings
    assert set(stored.values.values()) == {1}


@dataclass(frozen=True, slots=True)
class OwnServer:
    """A server that may be killed, with a migrated database."""

    supervisor: EmbeddedPostgres
    data_dir: Path
    access: DatabaseAccess

    def kill(self) -> None:
        """SIGKILL to the server; it stays away until it is started again."""
        record = read_record(Layout.at(self.data_dir).record)
        assert record is not None
        assert record.pid is not None
        os.kill(record.pid, signal.SIGKILL)
        until(lambda: self.supervisor.exit_code() is not None, "the server to end")

    def kill_writers_backend(self) -> None:
        """SIGKILL to the process that serves the writer; the server ends all others and recovers by itself."""
        [(pid,)] = execute(self.access, WRITER)
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def server() -> Iterator[OwnServer]:
    with tempfile.TemporaryDirectory(prefix="bpm-faults-") as folder:
        Path(folder).chmod(0o755)
        data_dir = Path(folder) / "data"
        supervisor = EmbeddedPostgres(EmbeddedConfig(data_dir, shared_buffers_mb=64), lambda _: None)
        connections = supervisor.start()
        access = DatabaseAccess(connections.admin, connections.service)
        prepare_database(access, SERVICE_LOGIN)
        yield OwnServer(supervisor, data_dir, access)
        supervisor.stop()


@contextmanager
def sending(access: DatabaseAccess, folder: Path, **settings: Any) -> Iterator[tuple[RunningApi, Sender]]:
    """A running API, and a sender whose pack is registered by a first reading, stored by now."""
    with running_api(access, folder, **settings) as api, closing(Sender(api)) as sender:
        assert sender.send(sender.batch()).result().status == HTTPStatus.OK
        yield api, sender


def kill_within_a_group(
    server: OwnServer, sender: Sender, batches: list[Batch], kill: Callable[[], None]
) -> list[Future[Answer]]:
    """Kill while all but the first of the batches stand in one transaction."""
    with closing(HeldWriter(server.access)) as writer:
        answers = [sender.send(batches[0])]
        writer.wait_inside()
        answers += [sender.send(batch) for batch in batches[1:]]
        sender.wait_queued(len(batches) - 1)
        writer.let_one_group_pass()
        writer.wait_inside()
        sender.wait_queued(0)
        kill()
    return answers


def test_e9_group_killed_with_postgresql_is_stored_once_when_the_server_comes_back(
    server: OwnServer, tmp_path: Path
) -> None:
    with sending(server.access, tmp_path) as (_, sender):
        batches = [sender.batch() for _ in range(4)]
        answers = kill_within_a_group(server, sender, batches, server.kill)
        server.supervisor.restart()
        told = [answer.result() for answer in answers]
        assert [(answer.status, answer.body["accepted"]) for answer in told] == [(200, 1)] * 4
        assert sender.send_until_accepted(sender.batch()).body["accepted"] == 1
    require_stored_once(server.access, 6)


def test_e9_group_whose_backend_is_killed_is_stored_once(server: OwnServer, tmp_path: Path) -> None:
    with sending(server.access, tmp_path) as (_, sender):
        batches = [sender.batch() for _ in range(4)]
        answers = kill_within_a_group(server, sender, batches, server.kill_writers_backend)
        told = [answer.result() for answer in answers]
        assert [(answer.status, answer.body["accepted"]) for answer in told] == [(200, 1)] * 4
        assert server.supervisor.exit_code() is None
    require_stored_once(server.access, 5)


def test_e9_group_whose_store_stays_away_is_told_503_and_its_retries_are_stored_once(
    server: OwnServer, tmp_path: Path
) -> None:
    with sending(server.access, tmp_path, recover_s_max=0.5, database_wait_s_max=1) as (api, sender):
        batches = [sender.batch() for _ in range(4)]
        first, *killed = [
            answer.result() for answer in kill_within_a_group(server, sender, batches, server.kill)
        ]
        assert first.status == HTTPStatus.OK
        assert [(answer.status, answer.retry_after) for answer in killed] == [(503, "1")] * 3
        assert {answer.body["detail"] for answer in killed} == {OUTCOME_UNKNOWN}
        assert httpx.get(f"{api.url}/readyz", trust_env=False).status_code == HTTPStatus.SERVICE_UNAVAILABLE
        server.supervisor.restart()
        retried = [sender.send_until_accepted(batch) for batch in batches]
        assert [(answer.status, answer.body["accepted"]) for answer in retried] == [(200, 1)] * 4
    require_stored_once(server.access, 5)


def test_e9_batch_that_the_store_refuses_never_fails_its_neighbours(
    own_database: DatabaseAccess, tmp_path: Path
) -> None:
    with sending(own_database, tmp_path) as (_, sender):
        execute(own_database, f"ALTER TABLE bpm.readings_class_0 ADD CHECK (voltage_v <> {FORBIDDEN_V})")
        with closing(HeldWriter(own_database)) as writer:
            answers = [sender.send(sender.batch())]
            writer.wait_inside()
            answers += [sender.send(sender.batch(voltage_v)) for voltage_v in (350, FORBIDDEN_V, 351)]
            sender.wait_queued(3)
            writer.release()
            assert [answer.result().status for answer in answers] == [200, 200, 503, 200]
        assert sender.send_until_accepted(sender.batch()).status == HTTPStatus.OK
    require_stored_once(own_database, 5)


def test_full_queue_answers_429_and_says_when_to_come_back(
    own_database: DatabaseAccess, tmp_path: Path
) -> None:
    with sending(own_database, tmp_path, queue_readings_max=2, retry_after_s=7) as (_, sender):
        with closing(HeldWriter(own_database)) as writer:
            answers = [sender.send(sender.batch())]
            writer.wait_inside()
            answers += [sender.send(sender.batch()) for _ in range(2)]
            sender.wait_queued(2)
            refused = sender.batch()
            told = sender.send(refused).result()
            assert (told.status, told.body["code"], told.body["limit"]) == (429, "busy", 2)
            assert told.retry_after == "7"
            writer.release()
            assert [answer.result().status for answer in answers] == [200] * 3
        assert sender.send(refused).result().body["accepted"] == 1
    require_stored_once(own_database, 5)


def test_e9_key_in_flight_answers_409_and_then_the_first_receipt(
    own_database: DatabaseAccess, tmp_path: Path
) -> None:
    with sending(own_database, tmp_path) as (_, sender):
        batch = sender.batch()
        with closing(HeldWriter(own_database)) as writer:
            first = sender.send(batch)
            writer.wait_inside()
            told = sender.send(batch).result()
            assert (told.status, told.body["code"]) == (409, "in_flight")
            writer.release()
            assert first.result().status == HTTPStatus.OK
        assert sender.send(batch).result() == first.result()
    require_stored_once(own_database, 2)


@contextmanager
def second_process(folder: Path, access: DatabaseAccess) -> Iterator[EngineProcess]:
    engine = EngineProcess(folder, database_url=access.admin)
    try:
        yield engine
    finally:
        engine.clear()


def test_e7_second_ingesting_process_waits_unready_until_the_first_has_gone(
    own_database: DatabaseAccess, tmp_path: Path
) -> None:
    with second_process(tmp_path, own_database) as second:
        with sending(own_database, tmp_path) as (_, sender):
            second.start()
            until(lambda: second.readiness()[0] is not None, "the second process to answer")
            status, body = second.readiness()
            assert status == HTTPStatus.SERVICE_UNAVAILABLE
            until(lambda: "another process ingests" in second.readiness()[1]["reason"], "the reason")
            batch = sender.batch()
            status, body = second.request(
                "POST", "/v1/telemetry", batch.body, second.token(TENANT), batch.key
            )
            assert (status, body["code"]) == (503, "unavailable")
            assert sender.send(batch).result().body["accepted"] == 1
            assert sender.send(sender.batch()).result().body["accepted"] == 1
        second.wait_ready()
        status, body = second.request("POST", "/v1/telemetry", batch.body, second.token(TENANT))
        assert (status, body["duplicate"]) == (200, 1)
    require_stored_once(own_database, 3)


def test_e8_raised_epoch_fences_the_writer_which_takes_over_again(
    own_database: DatabaseAccess, tmp_path: Path
) -> None:
    with sending(own_database, tmp_path) as (_, sender):
        [(raised,)] = execute(own_database, RAISE_EPOCH)
        assert sender.send_until_accepted(sender.batch()).body["accepted"] == 1
        assert execute(own_database, "SELECT epoch FROM bpm.partitions") == [(raised + 1,)]
    require_stored_once(own_database, 2)


def test_e8_writer_that_lost_its_partition_stays_unready_until_it_is_free(
    own_database: DatabaseAccess, tmp_path: Path
) -> None:
    with (
        sending(own_database, tmp_path, recover_s_max=0.5) as (api, sender),
        closing(psycopg.connect(own_database.admin, autocommit=True)) as other,
        ThreadPoolExecutor(1) as thread,
    ):
        taken = thread.submit(other.execute, WRITER_LOCK)
        until(lambda: execute(own_database, WAITS_FOR_LOCK) == [(1,)], "the other one to wait for the lock")
        [(writer,)] = execute(own_database, WRITER)
        execute(own_database, f"SELECT pg_terminate_backend({writer})")
        taken.result()
        other.execute(RAISE_EPOCH)
        batch = sender.batch()
        told = sender.send(batch).result()
        assert (told.status, told.retry_after) == (503, "1")
        assert "another process ingests" in (api.engine.runner.trouble or "")
        other.close()
        assert sender.send_until_accepted(batch).body["accepted"] == 1
    require_stored_once(own_database, 2)
