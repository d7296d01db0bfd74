"""What an API and a worker do over a topic, besides what the acceptance tests hold with both runners."""

import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from kafka import KafkaConsumer, TopicPartition

from api.bootstrap import DatabaseAccess
from streams.topics import DEAD_LETTERS
from tests.kafka.workers import Worker, adopt_new_topic, send, working
from tests.running import RunningApi, running_api, until

pytestmark = [pytest.mark.needs_kafka, pytest.mark.xdist_group("kafka")]

PARTITIONS = 4
TENANT = "topical"
STALE_S = 2.0


@pytest.fixture(scope="module")
def topic(database: DatabaseAccess, kafka: str) -> str:
    return adopt_new_topic(database, kafka, PARTITIONS)


@pytest.fixture(scope="module")
def served(
    database: DatabaseAccess, kafka: str, topic: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningApi]:
    settings = {"receipt_wait_s": 1.0, "worker_stale_after_s": STALE_S}
    with running_api(database, tmp_path_factory.mktemp("api"), kafka=kafka, **settings) as api:
        api.tenant(TENANT)
        yield api


@pytest.fixture
def client(served: RunningApi) -> Iterator[httpx.Client]:
    with served.client(TENANT) as client:
        yield client


@pytest.fixture
def worker(
    database: DatabaseAccess, kafka: str, topic: str, tmp_path_factory: pytest.TempPathFactory
) -> Worker:
    return Worker(database, kafka, tmp_path_factory.mktemp("worker"))


def reading(pack: str, volts: float = 350.0, back_s: float = 60.0) -> dict[str, Any]:
    moment = datetime.now(UTC) - timedelta(seconds=back_s)
    return {"pack": pack, "ts": moment.isoformat(), "voltage_v": volts}


def committed(client: httpx.Client, receipt_id: str) -> dict[str, Any]:
    def answer() -> dict[str, Any] | None:
        found: dict[str, Any] = client.get(f"/v1/receipts/{receipt_id}").json()
        return found if found["status"] == "committed" else None

    found: dict[str, Any] = until(answer)
    return found


def test_readings_are_safe_before_there_is_a_worker_and_committed_when_one_comes(
    client: httpx.Client, worker: Worker
) -> None:
    packs = [f"P-{number}" for number in range(12)]
    body = [reading(pack) for pack in packs] + [{"pack": "P-1", "ts": "2099-01-01T00:00:00Z", "voltage_v": 1}]
    key = {"Idempotency-Key": str(uuid.uuid4())}
    pending = client.post("/v1/telemetry", json=body, headers=key)
    assert pending.status_code == 202
    assert (pending.json()["status"], pending.json()["received"]) == ("pending", 13)
    place = pending.headers["Location"]
    assert client.get(place).json()["status"] == "pending"
    again = client.post("/v1/telemetry", json=body, headers=key)
    assert again.status_code == 202
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
        latest = client.post("/v1/packs/latest", json={"packs": packs}).json()
        assert latest["columns"]["voltage_v"] == [350.0] * 12


def test_a_message_that_cannot_be_read_is_a_dead_letter_and_holds_nobody_up(
    client: httpx.Client, worker: Worker, kafka: str, topic: str
) -> None:
    consumer = KafkaConsumer(bootstrap_servers=kafka, consumer_timeout_ms=20_000)
    place = TopicPartition(DEAD_LETTERS.name, 0)
    consumer.assign([place])
    first = consumer.end_offsets([place])[place]
    consumer.seek(place, first)
    offsets = {number: send(kafka, topic, number, b"nonsense") for number in range(PARTITIONS)}
    with working(worker):
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


def test_live_figures_of_a_worker_that_is_gone_are_stale_and_not_zero(
    client: httpx.Client, worker: Worker
) -> None:
    with working(worker):
        answer = client.post("/v1/telemetry", json=[reading(f"L-{number}") for number in range(8)])
        committed(client, answer.json()["id"])

        def fleet() -> Any:
            return client.get("/v1/aggregates/live").json()

        until(lambda: fleet()["items"][0]["packs"]["reporting"] >= 8 and not fleet()["stale_partitions"])
        before = fleet()["items"][0]["packs"]
    until(lambda: len(fleet()["stale_partitions"]) == PARTITIONS)
    assert fleet()["items"][0]["packs"] == before


def test_people_act_on_alerts_whatever_partition_they_are_in(client: httpx.Client, worker: Worker) -> None:
    rule = {
        "name": "hot",
        "severity": "warning",
        "scope": {"kind": "tenant"},
        "condition": {
            "kind": "threshold",
            "measure": "temperature_c",
            "side": "above",
            "limit": 60,
            "clear_limit": 50,
        },
    }
    assert client.post("/v1/rules", json=rule).status_code == 201
    with working(worker):
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


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _four(client: httpx.Client) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = client.get("/v1/alerts?state=open").json()["items"]
    return items if len(items) == 4 else []


def test_a_correction_is_done_when_every_partition_has_done_its_part(
    client: httpx.Client, worker: Worker
) -> None:
    with working(worker):
        body = [reading(f"C-{number}") for number in range(8)]
        receipt = committed(client, client.post("/v1/telemetry", json=body).json()["id"])
        wanted = {"kind": "delete_batch", "batch": receipt["id"], "reason": "sent by mistake"}
        asked = client.post("/v1/corrections", json=wanted)
        assert asked.status_code in (200, 202), asked.text
        until(lambda: client.get(f"/v1/corrections/{asked.json()['id']}").json()["status"] == "done")
        assert client.get(f"/v1/corrections/{asked.json()['id']}").json()["readings"] == 8
        again = committed(client, client.post("/v1/telemetry", json=body).json()["id"])
        assert [item["reason"] for item in again["items"]] == ["deleted"] * 8


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


def _committed_of(client: httpx.Client, receipts: Any) -> int:
    return sum(client.get(f"/v1/receipts/{one['id']}").json()["status"] == "committed" for one in receipts)


def test_an_engine_that_takes_readings_in_itself_is_refused_on_an_installation_with_a_topic(
    served: RunningApi, database: DatabaseAccess, tmp_path: Path
) -> None:
    with (
        pytest.raises(TimeoutError, match="come from the topic"),
        running_api(database, tmp_path, ready_s_max=4.0),
    ):
        pass
