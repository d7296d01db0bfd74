"""What an API and a worker do over a topic, besides what the acceptance tests hold with both runners."""

import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from math import inf
from typing import Any

import httpx
import psycopg
import pytest
from kafka import KafkaConsumer, TopicPartition

from api.database_access import DatabaseAccess
from api.settings import Settings
from storage.database import INGEST_ROLE
from storage.operation import overview
from streams.topic_admin import log_ends
from streams.topics import ALERTS, DEAD_LETTERS
from tests.kafka.conftest import PARTITIONS
from tests.kafka.dead_letters import letters_by_source
from tests.kafka.sending import HOT, STALE_S, TENANT, committed, reading
from tests.kafka.workers import (
    Published,
    Worker,
    committed_up_to,
    publish_in_transaction,
    send,
    shown_table,
    status_of,
    working,
)
from tests.running import free_port, until

pytestmark = pytest.mark.needs_kafka


@pytest.fixture(scope="module")
def metrics_port() -> int:
    return free_port()


@pytest.fixture(scope="module", autouse=True)
def at_work(worker: Worker, metrics_port: int) -> Iterator[None]:
    """The worker works while these tests run."""
    worker.settings["BPM_WORKER_METRICS_PORT"] = str(metrics_port)
    # So long as none of these tests takes, a statement waits for a lock.
    worker.settings["BPM_LOCK_S_MAX"] = "600"
    with working(worker):
        yield


def test_a_message_that_cannot_be_read_is_a_dead_letter_and_holds_nobody_up(
    client: httpx.Client, kafka: str, topic: str
) -> None:
    consumer = KafkaConsumer(bootstrap_servers=kafka, consumer_timeout_ms=20_000)
    place = TopicPartition(DEAD_LETTERS.name, 0)
    consumer.assign([place])
    first = consumer.end_offsets([place])[place]
    consumer.seek(place, first)
    offsets = {number: send(kafka, topic, number, b"nonsense") for number in range(PARTITIONS)}
    answer = client.post("/v1/telemetry", json=[reading(f"D-{number}") for number in range(8)])
    assert committed(client, answer.json()["id"])["accepted"] == 8
    expected = {f"{topic}:{number}:{offset}" for number, offset in offsets.items()}
    found = {}
    for message in consumer:
        headers = {name: value.decode() for name, value in message.headers}
        found[headers["bpm-source"]] = (message.value, headers["bpm-reason"])
        if expected <= set(found):
            break
    consumer.close()
    assert {source: found[source] for source in expected} == dict.fromkeys(
        expected, (b"nonsense", "message_unreadable")
    )


def test_transactions_of_others_in_the_topic_of_readings_are_passed_over(
    client: httpx.Client, kafka: str, topic: str, database: DatabaseAccess
) -> None:
    before = set(letters_by_source(kafka))
    nonsense = [Published(topic, number, b"nonsense") for number in range(PARTITIONS)]
    for commit in (False, True, False):
        publish_in_transaction(kafka, nonsense, commit=commit)
    answer = client.post("/v1/telemetry", json=[reading(f"X-{number}") for number in range(8)])
    assert committed(client, answer.json()["id"])["accepted"] == 8
    publish_in_transaction(kafka, nonsense, commit=False)
    ends = log_ends(kafka, topic, PARTITIONS)
    until(lambda: committed_up_to(database) == ends)
    letters = [one for one in set(letters_by_source(kafka)) - before if one.startswith(f"{topic}:")]
    assert len(letters) == PARTITIONS, "those that were committed"


def test_worker_says_how_far_it_is_by_metrics_and_in_the_status(
    client: httpx.Client, database: DatabaseAccess, kafka: str, metrics_port: int
) -> None:
    committed(client, client.post("/v1/telemetry", json=[reading("S-1", back_s=1)]).json()["id"])

    def told() -> bool:
        ages = [one["watermark_delay_s"] for one in _reports(database).values()]
        return len(ages) == PARTITIONS and any(age is not None and 0 < age < 60 for age in ages)

    until(told)
    # What is told of a partition is a second old.
    until(lambda: all(one["behind_messages"] == 0 == one["behind_s"] for one in _reports(database).values()))
    for name in ("behind_messages", "behind_seconds", "dead_letters", "report_age_seconds"):
        assert 0 in _metric(metrics_port, f"bpm_partition_{name}")
    assert _metric(metrics_port, "bpm_partition_watermark_delay_seconds")
    shown = status_of(database, kafka)
    assert {one["behind_messages"] for one in shown["database"]["partitions"]} == {0}
    assert "0 messages behind, newest" in shown_table(shown)


def _reports(database: DatabaseAccess) -> dict[int, dict[str, Any]]:
    """What is said of each partition."""
    with psycopg.connect(database.as_role(INGEST_ROLE, Settings()), autocommit=True) as connection:
        partitions = overview(connection, datetime.now(UTC), 60)["partitions"]
    return {one["partition_no"]: one["report"] for one in partitions if one["report"] is not None}


def _metric(port: int, name: str) -> dict[int, float]:
    """A metric of a worker, by partition."""
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    found = re.findall(rf'^{name}{{partition="(\d+)"}} (\S+)$', text, re.MULTILINE)
    return {int(number): float(value) for number, value in found}


def test_a_partition_that_hangs_makes_no_other_stale(
    client: httpx.Client, database: DatabaseAccess, metrics_port: int
) -> None:
    packs = [f"H-{number}" for number in range(2 * PARTITIONS)]
    committed(client, client.post("/v1/telemetry", json=[reading(pack) for pack in packs]).json()["id"])

    def stale() -> set[int]:
        return {one["partition"] for one in client.get("/v1/aggregates/live").json()["stale_partitions"]}

    def reporting() -> int:
        return int(client.get("/v1/aggregates/live").json()["items"][0]["packs"]["reporting"])

    def age_s(number: int) -> float:
        return _metric(metrics_port, "bpm_partition_report_age_seconds")[number]

    until(lambda: not stale() and reporting() >= len(packs))
    before = reporting()
    with psycopg.connect(database.admin) as connection:
        connection.execute("SELECT FROM bpm.partitions WHERE partition_no = 1 FOR NO KEY UPDATE")
        pending = client.post("/v1/telemetry", json=[reading(pack, back_s=30) for pack in packs]).json()
        until(lambda: stale() == {1})
        assert reporting() >= before
        until(lambda: age_s(0) < STALE_S < age_s(1))
        behind = _metric(metrics_port, "bpm_partition_behind_messages")
        assert (behind[0], behind[1]) == (0, 1)
        said = _reports(database)
        assert said[0]["age_s"] < said[1]["age_s"]
    assert committed(client, pending["id"])["accepted"] == len(packs)
    until(lambda: not stale())


def test_reports_that_cannot_be_written_are_told_and_the_metrics_go_on(
    client: httpx.Client, database: DatabaseAccess, worker: Worker, metrics_port: int
) -> None:
    def age_s() -> float:
        return min(_metric(metrics_port, "bpm_partition_report_age_seconds").values())

    with psycopg.connect(database.admin) as connection:
        connection.execute("LOCK TABLE bpm.partition_reports")
        until(lambda: "what this worker has to say is not written" in worker.log.read_text())
        assert age_s() > STALE_S
        sent = [reading(f"W-{number}", back_s=-1) for number in range(8)]
        committed(client, client.post("/v1/telemetry", json=sent).json()["id"])
        delay_s = "bpm_partition_watermark_delay_seconds"
        until(lambda: min(_metric(metrics_port, delay_s).values(), default=inf) < age_s())
    until(lambda: age_s() < STALE_S)


def test_people_act_on_alerts_whatever_partition_they_are_in(client: httpx.Client, kafka: str) -> None:
    assert client.post("/v1/rules", json=HOT).status_code == 201
    time.sleep(0.1)
    hot = [{"pack": f"A-{number}", "ts": _now(), "temperature_c": 80} for number in range(4)]
    committed(client, client.post("/v1/telemetry", json=hot).json()["id"])
    alerts = until(lambda: _four(client))
    for alert in alerts:
        acted = client.post(f"/v1/alerts/{alert['id']}/acknowledge")
        assert (acted.status_code, acted.json()["acknowledged_by"] is not None) == (200, True)
        cleared = client.post(f"/v1/alerts/{alert['id']}/clear")
        assert (cleared.status_code, cleared.json()["state"]) == (200, "cleared")
    again = client.post(f"/v1/alerts/{alerts[0]['id']}/clear")
    assert again.status_code == 409
    for alert in alerts:
        happened = until(lambda one=alert: _published(kafka, one["id"]))
        assert [kind for kind, _ in happened] == ["alert.raised", "alert.acknowledged", "alert.cleared"]
        assert {tenant for _, tenant in happened} == {TENANT}


def _published(bootstrap: str, alert_id: str) -> list[tuple[str, str]]:
    """Type and tenant of the events of an alert in the topic, once there are three."""
    place = TopicPartition(ALERTS.name, 0)
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, consumer_timeout_ms=20_000)
    found = []
    try:
        consumer.assign([place])
        consumer.seek_to_beginning(place)
        end = consumer.end_offsets([place])[place]
        while consumer.position(place) < end:
            message = next(consumer)
            if message.key == alert_id.encode():
                tenant = dict(message.headers)["bpm-tenant"].decode()
                found.append((json.loads(message.value)["type"], tenant))
    finally:
        consumer.close()
    return found if len(found) >= 3 else []


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _four(client: httpx.Client) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = client.get("/v1/alerts?state=open").json()["items"]
    return items if len(items) == 4 else []


def test_a_correction_is_done_when_every_partition_has_done_its_part(client: httpx.Client) -> None:
    body = [reading(f"C-{number}") for number in range(8)]
    receipt = committed(client, client.post("/v1/telemetry", json=body).json()["id"])
    wanted = {"kind": "delete_batch", "batch": receipt["id"], "reason": "sent by mistake"}
    asked = client.post("/v1/corrections", json=wanted)
    assert asked.status_code in (200, 202), asked.text
    until(lambda: client.get(f"/v1/corrections/{asked.json()['id']}").json()["status"] == "done")
    assert client.get(f"/v1/corrections/{asked.json()['id']}").json()["readings"] == 8
    again = committed(client, client.post("/v1/telemetry", json=body).json()["id"])
    assert [item["reason"] for item in again["items"]] == ["deleted"] * 8


def test_a_partition_that_was_taken_over_and_let_go_of_is_taken_back(
    client: httpx.Client, database: DatabaseAccess
) -> None:
    body = [reading(f"T-{number}", back_s=2) for number in range(8)]
    committed(client, client.post("/v1/telemetry", json=body).json()["id"])
    with psycopg.connect(database.admin) as connection:
        # What a worker does that comes too late: it takes over, and goes on with nothing.
        connection.execute("UPDATE bpm.partitions SET epoch = epoch + 1")
    body = [reading(f"T-{number}", back_s=1) for number in range(8)]
    answer = client.post("/v1/telemetry", json=body)
    assert committed(client, answer.json()["id"])["accepted"] == 8
