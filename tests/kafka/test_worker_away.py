"""What becomes of readings and figures while there is no worker, and of a partition that can't be worked on."""

import json
import signal
import socket
import subprocess
import sys
import time
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from kafka import KafkaAdminClient

from api.database_access import DatabaseAccess
from api.erasing import erase_tenant
from storage import tenants
from storage.database import INGEST_ROLE
from streams.topic_admin import log_ends
from tests.kafka.conftest import PARTITIONS
from tests.kafka.dead_letters import letters_by_source
from tests.kafka.sending import committed, reading
from tests.kafka.workers import (
    READY_S_MAX,
    ROOT,
    STOP_S_MAX,
    Worker,
    committed_up_to,
    send,
    shown_table,
    status_of,
    working,
)
from tests.running import RunningApi, free_port, running_api, until

pytestmark = pytest.mark.needs_kafka

HANGS = """
CREATE FUNCTION hang() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    LOOP
        BEGIN
            PERFORM pg_sleep(600);
        EXCEPTION WHEN query_canceled THEN
        END;
    END LOOP;
END $$;
CREATE TRIGGER hang BEFORE UPDATE ON bpm.partitions
    FOR EACH ROW WHEN (NEW.partition_no = 1 AND NEW.next > OLD.next) EXECUTE FUNCTION hang();
"""
"""Partition 1 commits nothing any more, and nobody can cancel that."""


STOPPED_AS_IT_IMPORTS = """
import os, signal, sys, time

class Stopping:
    def find_spec(self, name, path=None, target=None):
        if name != "numba":
            return
        sys.meta_path.remove(self)
        try:
            os.kill(os.getpid(), signal.{number})
            time.sleep(60)
        except BaseException:
            if {raises}:
                raise

sys.meta_path.insert(0, Stopping())
sys.argv = ["bpm", "worker"]
from api.cli.main import main
main()
"""
"""A worker that a signal comes to while it imports, and, unless that raises, a library that drops what is raised."""


def test_readings_are_safe_before_there_is_a_worker_and_committed_when_one_comes(
    client: httpx.Client, worker: Worker, database: DatabaseAccess, kafka: str, topic: str
) -> None:
    with psycopg.connect(database.admin) as connection:
        connection.execute("DELETE FROM bpm.partition_reports")
    packs = [f"P-{number}" for number in range(12)]
    body = [reading(pack) for pack in packs] + [{"pack": "P-1", "ts": "2099-01-01T00:00:00Z", "voltage_v": 1}]
    key = {"Idempotency-Key": str(uuid.uuid4())}
    pending = client.post("/v1/telemetry", json=body, headers=key)
    assert pending.status_code == 202
    assert (pending.json()["status"], pending.json()["received"]) == ("pending", 13)
    place = pending.headers["Location"]
    assert client.get(place).json() == pending.json()
    again = client.post("/v1/telemetry", json=body, headers=key)
    assert again.status_code == 202
    unnamed = client.post("/v1/telemetry", json=[reading("P-1", back_s=50) | {"colour": "red"}])
    assert (unnamed.json()["received"], unnamed.json()["ignored_keys"]) == (1, ["colour"])
    assert client.get(unnamed.headers["Location"]).json() == unnamed.json()
    positions = committed_up_to(database)
    waiting = {number: end - positions[number] for number, end in log_ends(kafka, topic, PARTITIONS).items()}
    assert min(waiting.values()) > 0
    shown = status_of(database, kafka)
    assert _behind(shown) == waiting
    assert f"no worker yet, {waiting[0]} messages behind" in shown_table(shown)
    assert set(_behind(status_of(database, None)).values()) == {None}
    refused = status_of(database, f"127.0.0.1:{free_port()}")
    assert set(_behind(refused).values()) == {None}
    assert "no broker answers" in shown_table(refused)

    def fleet() -> Any:
        return client.get("/v1/aggregates/live").json()

    nothing_heard = [{"partition": number, "as_of": None} for number in range(PARTITIONS)]
    until(lambda: fleet()["stale_partitions"] == nothing_heard)
    assert sum(fleet()["items"][0]["packs"].values()) >= len(packs)
    assert fleet()["items"][0]["packs"] == shown["database"]["packs"]
    other = client.post("/v1/telemetry", json=body[:1], headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    with working(worker):
        receipt = committed(client, place.rpartition("/")[2])
        assert [receipt[name] for name in ("received", "accepted", "duplicate", "quarantined")] == [
            13,
            12,
            0,
            1,
        ]
        assert [(item["index"], item["reason"]) for item in receipt["items"]] == [(12, "too_far_in_future")]
        same = client.post("/v1/telemetry", json=body, headers=key)
        assert same.status_code == 207
        assert same.json() == receipt
        until(lambda: not fleet()["stale_partitions"])
        latest = client.post("/v1/packs/latest", json={"packs": packs}).json()
        assert latest["columns"]["voltage_v"] == [350.0] * 12
    # What it said, to standard output too, was its log.
    said = worker.log.read_bytes()[worker.log_before :].splitlines()
    assert {"at", "event", "level"} <= set.intersection(*(set(json.loads(line)) for line in said))


def _behind(shown: dict[str, Any]) -> dict[int, int | None]:
    """Messages that each partition is behind, by `bpm status`."""
    return {one["partition_no"]: one["behind_messages"] for one in shown["database"]["partitions"]}


def test_figures_of_a_worker_that_is_gone_are_stale_and_not_zero(
    client: httpx.Client, worker: Worker, database: DatabaseAccess, kafka: str
) -> None:
    with working(worker):
        answer = client.post("/v1/telemetry", json=[reading(f"L-{number}") for number in range(8)])
        committed(client, answer.json()["id"])

        def fleet() -> Any:
            return client.get("/v1/aggregates/live").json()

        until(lambda: fleet()["items"][0]["packs"]["reporting"] >= 8 and not fleet()["stale_partitions"])
        before = fleet()["items"][0]["packs"]
    until(lambda: len(fleet()["stale_partitions"]) == PARTITIONS)
    # Its last figures stay; as it stopped it may have published packs that came in since.
    assert fleet()["items"][0]["packs"]["reporting"] >= before["reporting"]
    with psycopg.connect(database.admin) as connection:
        connection.execute(
            "UPDATE bpm.partition_reports SET behind = 0, reported_at = now() - interval '820 s'"
        )
    client.post("/v1/telemetry", json=[reading(f"L-{number}", back_s=50) for number in range(8)])
    shown = status_of(database, kafka)
    assert min(found for found in _behind(shown).values() if found is not None) > 0
    assert "silent for 82" in shown_table(shown)
    unknown = status_of(database, None)["database"]["partitions"][0]
    assert unknown["behind_messages"] is unknown["report"]["behind_messages"] is None


def test_a_stop_gives_up_on_a_partition_that_hangs_and_nothing_is_lost(
    client: httpx.Client, kafka: str, database: DatabaseAccess, tmp_path: Path
) -> None:
    packs = [f"K-{number}" for number in range(2 * PARTITIONS)]
    folder = tmp_path / "tmp"
    folder.mkdir()
    settings = {"BPM_STOP_S_MAX": "4", "TMPDIR": str(folder)}
    worker = Worker(database, kafka, tmp_path / "worker", settings=settings)
    with psycopg.connect(database.admin, autocommit=True) as connection, working(worker):
        connection.execute(HANGS)
        try:
            pending = client.post("/v1/telemetry", json=[reading(pack) for pack in packs]).json()
            until(lambda: _waiting_for(database, "PgSleep"))
            began_s = time.monotonic()
            worker.signal(signal.SIGTERM)
            worker.signal(signal.SIGTERM)
            assert worker.stop() == 1
            assert time.monotonic() - began_s < STOP_S_MAX / 2
        finally:
            for pid in _waiting_for(database, "PgSleep"):
                connection.execute("SELECT pg_terminate_backend(%s)", [pid])
            connection.execute("DROP FUNCTION hang CASCADE")
    assert "gives up on partitions [1], which hang" in worker.log.read_text()
    assert list(folder.iterdir()) == []
    with working(Worker(database, kafka, tmp_path / "next")):
        assert committed(client, pending["id"])["accepted"] == len(packs)


def test_a_worker_that_is_stopped_while_it_takes_over_has_its_statements_cancelled_and_ends_cleanly(
    served: RunningApi, kafka: str, database: DatabaseAccess, tmp_path: Path
) -> None:
    hanging = {"BPM_LOCK_S_MAX": "600", "BPM_STOP_S_MAX": "12"}
    worker = Worker(database, kafka, tmp_path, settings=hanging)
    with psycopg.connect(database.admin) as connection:
        connection.execute("SELECT FROM bpm.partitions FOR NO KEY UPDATE")
        worker.start()
        try:
            until(lambda: len(_waiting_for(database, "transactionid")) == PARTITIONS)
        finally:
            worker.signal(signal.SIGINT)
            ended = worker.stop()
    assert (ended, "gives up" in worker.log.read_text()) == (0, False)


@pytest.mark.parametrize(("number", "raises"), [("SIGINT", False), ("SIGTERM", True)])
def test_a_stop_that_is_asked_for_while_a_worker_imports_is_not_forgotten(
    number: str, raises: bool, served: RunningApi, kafka: str, database: DatabaseAccess, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STOPPED_AS_IT_IMPORTS.format(number=number, raises=raises)],
        cwd=ROOT,
        env=Worker(database, kafka, tmp_path).environment() | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=READY_S_MAX,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr[-4000:]


def _waiting_for(database: DatabaseAccess, event: str) -> list[int]:
    """The server's processes that wait for something."""
    with psycopg.connect(database.admin) as connection:
        found = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event = %s", [event]
        )
        return [pid for (pid,) in found]


def test_messages_of_an_erased_tenant_are_passed_over_and_hold_nobody_up(
    served: RunningApi, client: httpx.Client, worker: Worker, database: DatabaseAccess, topic: str
) -> None:
    packs = [f"G-{number}" for number in range(2 * PARTITIONS)]
    with served.client(served.tenant("gone")) as gone:
        pending = gone.post("/v1/telemetry", json=[reading(pack) for pack in packs])
    assert pending.status_code == 202
    conninfo = served.access.as_role(INGEST_ROLE, served.engine.settings)
    tenants.delete(conninfo, "gone", grace_days=30)
    erase_tenant(database, "gone", "who@where", lambda _: None, rows_max=1000, now=True)
    behind = client.post("/v1/telemetry", json=[reading(pack) for pack in packs])
    with working(worker):
        assert committed(client, behind.json()["id"])["accepted"] == len(packs)
    # The topic of singles is shared with other tests.
    asides = [line for line in worker.log.read_text().splitlines() if "is a dead letter" in line]
    assert [line for line in asides if f"{topic}, partition" in line] == []
    with psycopg.connect(database.admin, options="-c search_path=bpm") as connection:
        left = connection.execute(
            "SELECT (SELECT count(*) FROM tenants WHERE name = 'gone'),"
            " (SELECT count(*) FROM quarantine LEFT JOIN tenants USING (tenant_id) WHERE tenants IS NULL)"
        ).fetchone()
    assert left == (0, 0)


def test_a_position_that_the_log_has_not_is_refused_and_the_others_go_on(
    client: httpx.Client, worker: Worker, database: DatabaseAccess
) -> None:
    with psycopg.connect(database.admin, autocommit=True) as connection:
        row = connection.execute("SELECT next FROM bpm.partitions WHERE partition_no = 3").fetchone()
        assert row is not None
        connection.execute("UPDATE bpm.partitions SET next = 1000000 WHERE partition_no = 3")
        try:
            with working(worker):
                sent = {
                    number: client.post("/v1/telemetry", json=[reading(f"R-{number}")]).json()
                    for number in range(4)
                }
                ready = [one for one in sent.values() if one["status"] == "committed"]
                assert len(ready) >= 3 or until(lambda: _committed_of(client, sent.values()) == 3)
                assert "partition 3 is refused" in worker.log.read_text()
        finally:
            connection.execute("UPDATE bpm.partitions SET next = %s WHERE partition_no = 3", row)


def test_a_message_that_is_damaged_ends_the_worker_with_its_place_and_is_committed_once_mended(
    client: httpx.Client, worker: Worker, kafka: str, topic: str
) -> None:
    sent = [client.post("/v1/telemetry", json=[reading(f"M-{number}")]).json() for number in range(4)]
    positions = log_ends(kafka, topic, PARTITIONS)
    segment = _segment_of(kafka, topic, 2)
    whole = segment.read_bytes()
    segment.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        worker.start()
        assert until(lambda: None if worker.running else worker.stop()) == 1
    finally:
        segment.write_bytes(whole)
    place = f"the worker ends: {topic}, partition 2: what stands at position {positions[2] - 1} can't"
    assert place in _why_it_ended(worker)
    with working(worker):
        assert [committed(client, one["id"])["accepted"] for one in sent] == [1] * 4


def _why_it_ended(worker: Worker) -> str:
    """What its log says, since it began, of why it ends."""
    lines = worker.log.read_text()[worker.log_before :].splitlines()
    return "\n".join(line for line in lines if '"critical"' in line or '"error"' in line)


def _segment_of(bootstrap: str, topic: str, partition: int) -> Path:
    """The file in which the broker keeps the messages of a partition."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        (told,) = admin.describe_log_dirs({topic: [partition]})
    finally:
        admin.close()
    (found,) = Path(told["log_dirs"][0]["log_dir"], f"{topic}-{partition}").glob("*.log")
    return found


def _committed_of(client: httpx.Client, receipts: Any) -> int:
    return sum(client.get(f"/v1/receipts/{one['id']}").json()["status"] == "committed" for one in receipts)


def test_addresses_that_never_answer_hold_no_worker_up(
    served: RunningApi, kafka: str, database: DatabaseAccess, topic: str, tmp_path: Path
) -> None:
    with ExitStack() as listening:
        silent = [listening.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(4)]
        addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in silent]
        with working(Worker(database, ",".join([*addresses, kafka]), tmp_path)) as worker:
            # A producer is begun for it.
            source = f"{topic}:0:{send(kafka, topic, 0, b'nonsense')}"
            until(lambda: source in letters_by_source(kafka))
    # Without it they would be tried one by one, for half a minute each.
    assert "Unable connect" not in worker.log.read_text()


def test_an_engine_that_takes_readings_in_itself_is_refused_on_an_installation_with_a_topic(
    served: RunningApi, database: DatabaseAccess, tmp_path: Path
) -> None:
    with (
        pytest.raises(TimeoutError, match="come from the topic"),
        running_api(database, tmp_path, ready_s_max=4.0),
    ):
        pass
