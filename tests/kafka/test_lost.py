"""What a worker says and does when its topics have dropped what it hasn't had yet, and how its partition goes on.

On topics of their own.
"""

import json
import signal
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from kafka import KafkaAdminClient, TopicPartition
from typer.testing import CliRunner

from api.cli.main import app
from api.database_access import DatabaseAccess
from api.settings import Settings
from domain.errors import BpmError
from storage.database import INGEST_ROLE
from storage.layout import adopt
from storage.platform_log import Wanted, page
from streams.topic_admin import TopicSizes, create_topics, readings_origin
from streams.topics import DEAD_LETTERS, READINGS, SINGLES
from tests.kafka.dead_letters import letters_by_source
from tests.kafka.sending import committed, reading
from tests.kafka.workers import Worker, committed_up_to, send, shown_table, status_of, working
from tests.running import free_port, running_api, until

pytestmark = pytest.mark.needs_kafka

PREFIX = f"lost-{uuid.uuid4().hex[:8]}"
READINGS_TOPIC, SINGLES_TOPIC, LETTERS_TOPIC = (
    topic.under(PREFIX).name for topic in (READINGS, SINGLES, DEAD_LETTERS)
)
LOST = "positions 1 to 2 are lost: the topic has dropped them, and begins at 3"
KEYED = {"Idempotency-Key": "known"}


@dataclass(frozen=True, slots=True)
class Installation:
    """What is sent into it, asked of it and done to it."""

    access: DatabaseAccess
    kafka: str

    def nonsense(self, topic: str, partition: int) -> str:
        """Its source, as its dead letter has it."""
        return f"{topic}:{partition}:{send(self.kafka, topic, partition, b'nonsense')}"

    def put_aside(self, sources: list[str]) -> bool:
        return set(sources) <= letters_by_source(self.kafka, LETTERS_TOPIC).keys()

    def drop_before(self, offsets: dict[TopicPartition, int]) -> None:
        admin = KafkaAdminClient(bootstrap_servers=self.kafka)
        admin.delete_records(offsets)
        admin.close()

    def trouble(self) -> list[str | None]:
        found = status_of(self.access, self.kafka)["database"]["partitions"]
        return [one["report"] and one["report"]["trouble"] for one in found]

    def lost_readings(self, *arguments: str) -> Any:
        """What the command gives; its error when it refuses."""
        places = {"BPM_DATABASE_URL": self.access.admin, "BPM_KAFKA": self.kafka, "BPM_KAFKA_PREFIX": PREFIX}
        done = CliRunner().invoke(app, ["lost-readings", *arguments, "--json"], env=places)
        if isinstance(done.exception, BpmError):
            return done.exception.detail
        assert done.exit_code == 0, done.exception
        return json.loads(done.stdout)

    def log_entries(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Of accepted losses."""
        conninfo = self.access.as_role(INGEST_ROLE, Settings())
        entries, _ = page(conninfo, Wanted(action="partitions.loss_accepted"), None, 10)
        return [(one["subject"], one["resource_id"], one["after"]) for one in entries]


def test_what_topics_dropped_under_a_running_worker_is_told_at_once_and_gone_on_behind_once_it_is_accepted(
    database: DatabaseAccess, kafka: str, tmp_path: Path
) -> None:
    create_topics(kafka, TopicSizes(2, 1, PREFIX))
    origin = readings_origin(kafka, PREFIX)
    adopt(database.admin, origin.topic, origin.first)
    port = free_port()
    settings = {"BPM_KAFKA_PREFIX": PREFIX, "BPM_WORKER_METRICS_PORT": str(port)}
    ours = Installation(database, kafka)
    with (
        running_api(database, tmp_path / "api", kafka=kafka, kafka_prefix=PREFIX, receipt_wait_s=0.2) as api,
        api.client(api.tenant("acme")) as client,
        working(Worker(database, kafka, tmp_path, settings=settings)) as worker,
    ):
        pack = pack_of_partition_1(client, database)
        keyed = [reading(pack)]
        first = [
            ours.nonsense(*one) for one in ((READINGS_TOPIC, 0), (READINGS_TOPIC, 1), (SINGLES_TOPIC, 0))
        ]
        until(lambda: ours.put_aside(first))
        worker.signal(signal.SIGSTOP)
        try:
            time.sleep(2)  # What it had asked for is answered by then.
            gone = [pending(client, keyed, KEYED), pending(client, [reading(pack, back_s=50)])]
            for _ in range(2):
                ours.nonsense(SINGLES_TOPIC, 0)
            ours.drop_before({TopicPartition(READINGS_TOPIC, 1): 3, TopicPartition(SINGLES_TOPIC, 0): 3})
        finally:
            worker.signal(signal.SIGCONT)
        until(lambda: ours.trouble() == [None, LOST])
        assert f"not worked on: {LOST}" in " ".join(shown_table(status_of(database, kafka)).split())
        rest = [ours.nonsense(READINGS_TOPIC, 0), ours.nonsense(SINGLES_TOPIC, 0)]
        until(lambda: ours.put_aside(rest))
        # A letter is durable before its position moves.
        until(lambda: committed_up_to(database) == {0: 2, 1: 1})
        later = pending(client, [reading(pack, back_s=40)])
        metrics = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
        assert 'bpm_partition_position_lost{partition="1"} 1.0' in metrics
        assert 'bpm_singles_total{outcome="lost"} 2.0' in metrics

        told = {"partition": 1, "first_lost": 1, "last_lost": 2, "messages_max": 2, "goes_on_at": 3}
        assert ours.lost_readings() == {"lost": [told | {"name": "1:1-2", "why": LOST}]}
        assert [ours.lost_readings("accept", "1:1-2", wrong) for wrong in ("1:1-3", "0:1-2")] == [
            "1:1-3: of partition 1 1:1-2 is lost now; nothing was changed",
            "0:1-2: of partition 0 nothing is lost; nothing was changed",
        ]
        assert (committed_up_to(database), ours.log_entries()) == ({0: 2, 1: 1}, [])
        assert [status(client, one) for one in gone] == ["pending", "pending"]
        assert ours.lost_readings("accept", "1:1-2")["accepted"][0]["name"] == "1:1-2"
        assert committed(client, later)["accepted"] == 1
        until(lambda: ours.trouble() == [None, None])
        assert ours.lost_readings() == {"lost": []}
        assert [status(client, one) for one in gone] == ["lost", "lost"]
        # Sent again under its key, it is stored.
        assert client.post("/v1/telemetry", json=keyed, headers=KEYED).json()["id"] == gone[0]
        assert committed(client, gone[0])["accepted"] == 1
        assert worker.stop() == 0
    said = [json.loads(line) for line in worker.log.read_text().splitlines()]
    # Each once.
    assert sorted(one["event"] for one in said if one["level"] == "critical") == sorted(
        [f"{READINGS_TOPIC}, partition 1 is refused: {LOST}", f"{SINGLES_TOPIC}, partition 0: {LOST}"]
    )
    assert ours.log_entries() == [("installation", f"{READINGS_TOPIC}:1", told | {"topic": origin.topic})]
    # A topic that ends before: nobody knows what it had, and what it has is gone through again.
    with psycopg.connect(database.admin) as connection:
        connection.execute("UPDATE bpm.partitions SET next = 70 WHERE partition_no = 0")
    (ended,) = ours.lost_readings()["lost"]
    assert (ended["name"], ended["messages_max"], ended["goes_on_at"]) == ("0:70-", None, 0)
    ours.lost_readings("accept", "0:70-")
    assert committed_up_to(database)[0] == 0


def pending(client: httpx.Client, body: list[dict[str, Any]], headers: dict[str, str] | None = None) -> str:
    """The receipt's id of a body that nobody commits by now."""
    answer = client.post("/v1/telemetry", json=body, headers=headers)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def status(client: httpx.Client, receipt_id: str) -> str:
    return str(client.get(f"/v1/receipts/{receipt_id}").json()["status"])


def pack_of_partition_1(client: httpx.Client, access: DatabaseAccess) -> str:
    """A pack of two, whose numbers follow one another."""
    for pack in ("A", "B"):
        client.post("/v1/packs", json={"pack": pack}).raise_for_status()
    with psycopg.connect(access.admin) as connection:
        row = connection.execute("SELECT external_id FROM bpm.packs WHERE pack_id % 2 = 1").fetchone()
    assert row is not None
    return str(row[0])
