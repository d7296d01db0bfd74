"""An installation whose cluster was lost goes on with a new topic, and with everything that was committed."""

from pathlib import Path

import pytest
from kafka.admin import KafkaAdminClient

from api.database_access import DatabaseAccess
from streams.topic_admin import log_ends
from tests.kafka.sending import committed, reading
from tests.kafka.workers import Worker, adopt_new_topic, working
from tests.running import running_api, until

pytestmark = pytest.mark.needs_kafka

PACKS = [f"P-{number}" for number in range(4)]


def test_an_api_that_runs_on_sends_into_the_new_topic_and_a_worker_ends(
    own_database: DatabaseAccess, kafka: str, tmp_path: Path
) -> None:
    adopt_new_topic(own_database, kafka, 2)
    with (
        running_api(
            own_database, tmp_path / "api", kafka=kafka, behind_messages_max=5, receipt_wait_s=0.2
        ) as api,
        api.client(api.tenant("acme")) as client,
    ):
        acknowledged = []

        def sent(second: int) -> int:
            answer = client.post("/v1/telemetry", json=[reading(pack, 350.0, 60 - second) for pack in PACKS])
            if answer.is_success:
                acknowledged.append(answer.json()["id"])
            return answer.status_code

        with working(Worker(own_database, kafka, tmp_path / "before")) as before:
            for second in range(6):
                assert sent(second) in (200, 202)
            for receipt_id in acknowledged:
                committed(client, receipt_id)
            topic = adopt_new_topic(own_database, kafka, 2, anew=True)
            # It looks now and then. What it had sent into the old topic is more than the new one has.
            until(lambda: sent(6) == 202)
            until(lambda: not before.running)
            assert (
                before.stop(),
                f"the worker ends: readings come from the topic {topic}/" in said(before),
            ) == (
                1,
                True,
            )
        assert sum(log_ends(kafka, topic, 2).values()) >= 1
        with working(Worker(own_database, kafka, tmp_path / "after")) as after:
            for receipt_id in acknowledged:
                assert committed(client, receipt_id)["received"] == len(PACKS)
            made_anew(kafka, topic)
            until(lambda: sent(7) == 503)
            until(lambda: not after.running)
            assert (after.stop(), f"the worker ends: the topic {topic} was made anew" in said(after)) == (
                1,
                True,
            )


def said(worker: Worker) -> str:
    return worker.log.read_text()


def made_anew(bootstrap: str, topic: str) -> None:
    """Delete a topic, and make one of the same name."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        admin.delete_topics([topic])
        until(lambda: not admin.describe_topics([topic])[0]["partitions"])
        admin.create_topics({topic: {"num_partitions": 2, "replication_factor": 1}}, wait_for_metadata=True)
    finally:
        admin.close()


def test_readings_go_on_in_a_new_topic(own_database: DatabaseAccess, kafka: str, tmp_path: Path) -> None:
    old = adopt_new_topic(own_database, kafka, 2)
    for turn, voltage_v in enumerate((350.0, 340.0)):
        if turn:
            assert adopt_new_topic(own_database, kafka, 2, anew=True) != old
        with (
            running_api(own_database, tmp_path / f"api-{turn}", kafka=kafka) as api,
            working(Worker(own_database, kafka, tmp_path / f"worker-{turn}")),
            api.client("acme" if turn else api.tenant("acme")) as client,
        ):
            # Positions of the new topic are lower than those where the old one ended.
            for second in range(3 - turn):
                body = [reading(pack, voltage_v, 60 - 10 * turn - second) for pack in PACKS]
                receipt = committed(client, client.post("/v1/telemetry", json=body).json()["id"])
                assert (receipt["accepted"], receipt["duplicate"]) == (len(PACKS), 0)
            latest = client.post("/v1/packs/latest", json={"packs": PACKS}).json()
            assert latest["columns"]["voltage_v"] == [voltage_v] * len(PACKS)
