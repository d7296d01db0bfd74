"""What a worker says and does when its topics have dropped what it hasn't had yet. On topics of their own."""

import json
import signal
import time
import uuid
from pathlib import Path

import httpx
import pytest
from kafka import KafkaAdminClient, TopicPartition

from api.database_access import DatabaseAccess
from storage.layout import adopt
from streams.topic_admin import TopicSizes, create_topics, readings_origin
from streams.topics import DEAD_LETTERS, READINGS, SINGLES
from tests.kafka.dead_letters import letters_by_source
from tests.kafka.workers import Worker, committed_up_to, send, shown_table, status_of, working
from tests.running import free_port, until

pytestmark = pytest.mark.needs_kafka

PREFIX = f"lost-{uuid.uuid4().hex[:8]}"
READINGS_TOPIC, SINGLES_TOPIC, LETTERS_TOPIC = (
    topic.under(PREFIX).name for topic in (READINGS, SINGLES, DEAD_LETTERS)
)
LOST = "positions 1 to 2 are lost: the topic has dropped them, and begins at 3"


def test_what_topics_dropped_under_a_running_worker_is_told_at_once_and_the_rest_is_worked_on(
    database: DatabaseAccess, kafka: str, tmp_path: Path
) -> None:
    create_topics(kafka, TopicSizes(2, 1, PREFIX))
    origin = readings_origin(kafka, PREFIX)
    adopt(database.admin, origin.topic, origin.first)
    port = free_port()
    settings = {"BPM_KAFKA_PREFIX": PREFIX, "BPM_WORKER_METRICS_PORT": str(port)}

    def nonsense(topic: str, partition: int) -> str:
        """Its source, as its dead letter has it."""
        return f"{topic}:{partition}:{send(kafka, topic, partition, b'nonsense')}"

    def put_aside(sources: list[str]) -> bool:
        return set(sources) <= letters_by_source(kafka, LETTERS_TOPIC).keys()

    def trouble() -> list[str | None]:
        found = status_of(database, kafka)["database"]["partitions"]
        return [one["report"] and one["report"]["trouble"] for one in found]

    with working(Worker(database, kafka, tmp_path, settings=settings)) as worker:
        first = [nonsense(READINGS_TOPIC, 0), nonsense(READINGS_TOPIC, 1), nonsense(SINGLES_TOPIC, 0)]
        until(lambda: put_aside(first))
        worker.signal(signal.SIGSTOP)
        try:
            time.sleep(2)  # What it had asked for is answered by then.
            for topic, partition in ((READINGS_TOPIC, 1), (SINGLES_TOPIC, 0)):
                for _ in range(2):
                    nonsense(topic, partition)
            admin = KafkaAdminClient(bootstrap_servers=kafka)
            admin.delete_records({TopicPartition(READINGS_TOPIC, 1): 3, TopicPartition(SINGLES_TOPIC, 0): 3})
            admin.close()
        finally:
            worker.signal(signal.SIGCONT)
        until(lambda: trouble() == [None, LOST])
        assert f"not worked on: {LOST}" in " ".join(shown_table(status_of(database, kafka)).split())
        rest = [nonsense(READINGS_TOPIC, 0), nonsense(SINGLES_TOPIC, 0)]
        until(lambda: put_aside(rest))
        # A letter is durable before its position moves.
        until(lambda: committed_up_to(database) == {0: 2, 1: 1})
        metrics = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
        assert 'bpm_partition_position_lost{partition="1"} 1.0' in metrics
        assert 'bpm_singles_total{outcome="lost"} 2.0' in metrics
        assert worker.stop() == 0
    said = [json.loads(line) for line in worker.log.read_text().splitlines()]
    assert {one["event"] for one in said if one["level"] == "critical"} == {
        f"{READINGS_TOPIC}, partition 1 is refused: {LOST}",
        f"{SINGLES_TOPIC}, partition 0: {LOST}",
    }
