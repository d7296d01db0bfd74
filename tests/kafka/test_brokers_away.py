"""Three brokers of which some end, and what an API that sends into them answers meanwhile."""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import psycopg
import pytest
from kafka.admin import KafkaAdminClient

from api.cli.checks import State, check_kafka
from api.cli.topics import topic_sizes
from api.database_access import DatabaseAccess
from api.settings import Settings
from domain.receipts import OUTCOME_UNKNOWN
from streams.sending_again import Wanted, dead_letter_box
from streams.topic_admin import create_topics, log_ends, readings_origin
from streams.topics import READINGS
from tests.kafka.broker import Cluster
from tests.kafka.sending import TENANT, committed, reading
from tests.kafka.test_broker import new_topic, received, send
from tests.kafka.workers import Worker, adopt_new_topic, working
from tests.running import running_api, until

pytestmark = [pytest.mark.needs_kafka, pytest.mark.timeout(600)]

CLIENTS = 50
STOP_S_MAX = 16
BOUNCE_S = 5.0
"""Longer than two looks in a row, which a message that isn't acknowledged soon leads to."""
ACK_S_MAX = 50.0
"""Longer than it takes to see that brokers are away: who waited for so long wasn't let go."""


@pytest.fixture(scope="module")
def cluster(kafka_jars: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three brokers of the module's own; each test leaves them running."""
    with Cluster(tmp_path_factory.mktemp("kafka"), count=3) as cluster:
        yield cluster


def leader_of(bootstrap: str, topic: str) -> int:
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    (described,) = admin.describe_topics([topic])
    admin.close()
    return int(described["partitions"][0]["leader_id"])


def test_three_brokers_go_on_without_the_leader_and_keep_what_it_acknowledged(cluster: Cluster) -> None:
    topic = new_topic(cluster.bootstrap, copies=3)
    asyncio.run(send(cluster.bootstrap, topic, [b"before"]))
    leader = next(one for one in cluster.brokers if one.node_id == leader_of(cluster.bootstrap, topic))
    leader.kill()
    others = ",".join(one.address for one in cluster.brokers if one is not leader)
    asyncio.run(send(others, topic, [b"meanwhile"]))
    leader.restart()
    asyncio.run(send(cluster.bootstrap, topic, [b"after"]))
    assert asyncio.run(received(cluster.bootstrap, topic)) == [b"before", b"meanwhile", b"after"]


def in_sync(bootstrap: str, topic: str) -> bool:
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    (described,) = admin.describe_topics([topic])
    admin.close()
    return all(len(one["isr_nodes"]) == 3 for one in described["partitions"])


def test_a_broker_that_hangs_holds_up_no_command(cluster: Cluster, tmp_path: Path) -> None:
    settings = Settings(kafka=cluster.bootstrap, kafka_partitions=4, kafka_prefix="hangs", data_dir=tmp_path)
    create_topics(cluster.bootstrap, topic_sizes(settings))
    topic = READINGS.under("hangs").name
    first = cluster.brokers[0]
    first.pause()
    try:
        # The others name it, and as a leader, until they haven't heard of it for a while.
        assert {one.state for one in check_kafka(settings)} == {State.OK}
        starts = readings_origin(cluster.bootstrap, "hangs").first
        assert log_ends(cluster.bootstrap, topic, 4) == starts == dict.fromkeys(range(4), 0)
        with dead_letter_box(cluster.bootstrap, "hangs") as box:
            assert list(box.found(Wanted(), lambda: None)) == []
    finally:
        first.resume()
    until(lambda: in_sync(cluster.bootstrap, topic))


def test_an_api_is_not_ready_while_too_few_brokers_are_there_and_goes_on_by_itself(
    cluster: Cluster, own_database: DatabaseAccess, tmp_path: Path
) -> None:
    adopt_new_topic(own_database, cluster.bootstrap, 2, copies=3)
    settings = {"receipt_wait_s": 0.2, "kafka_ack_s_max": ACK_S_MAX}
    first, second, _ = cluster.brokers
    with (
        running_api(own_database, tmp_path / "api", kafka=cluster.bootstrap, **settings) as api,
        api.client(api.tenant(TENANT)) as client,
        ExitStack() as ending,
    ):
        other = ending.enter_context(running_api(own_database, tmp_path / "other", kafka=cluster.bootstrap))
        acknowledged: list[str] = []

        def sent(name: str) -> httpx.Response:
            body = [reading(f"{name}-{number}") for number in range(4)]
            answer = client.post("/v1/telemetry", json=body, headers={"Idempotency-Key": name})
            if answer.is_success:
                acknowledged.append(answer.json()["id"])
            return answer

        def readiness() -> tuple[int, str | None]:
            answer = client.get("/readyz")
            return answer.status_code, answer.json()["code"]

        assert sent("before").status_code == 202
        first.kill()
        until_s = time.monotonic() + BOUNCE_S
        while time.monotonic() < until_s:
            assert sent(f"bounced at {time.monotonic()}").status_code == 202
            assert readiness() == (200, None)
        second.kill()
        body = [reading("lost")]
        key = {"Idempotency-Key": "lost"}
        began_s = time.monotonic()
        with other.client(TENANT) as of_other, ThreadPoolExecutor(2) as pool:
            asked = [
                pool.submit(one.post, "/v1/telemetry", json=body, headers=key) for one in (client, of_other)
            ]
            for lost in (one.result() for one in asked):
                assert (lost.status_code, lost.headers["Retry-After"]) == (503, "1")
                assert lost.json()["detail"] == OUTCOME_UNKNOWN
        assert readiness() == (503, "kafka_away")
        with ThreadPoolExecutor(CLIENTS) as pool:
            refused = list(pool.map(sent, (f"refused-{number}" for number in range(CLIENTS))))
        assert {(one.status_code, one.headers.get("Retry-After")) for one in refused} == {(503, "1")}
        # It ends, though its message can't be sent.
        ending.close()
        assert time.monotonic() - began_s < ACK_S_MAX / 2
        for broker in (first, second):
            broker.start()
        for broker in (first, second):
            broker.wait_ready()
        until(lambda: readiness() == (200, None))
        again = client.post("/v1/telemetry", json=body, headers=key)
        assert again.status_code == 202
        acknowledged.append(again.json()["id"])
        settings = {"BPM_SAVE_STATE_S": "600", "BPM_STOP_S_MAX": str(STOP_S_MAX)}
        with working(
            Worker(own_database, cluster.bootstrap, tmp_path / "worker", settings=settings)
        ) as worker:
            for receipt_id in acknowledged:
                committed(client, receipt_id)
            _require_stop_while_none_answers(worker, cluster, own_database)


def _require_stop_while_none_answers(worker: Worker, cluster: Cluster, database: DatabaseAccess) -> None:
    """A worker that nobody lets go of ends before its time is up, with its states saved."""
    for broker in cluster.brokers:
        broker.pause()
    try:
        assert worker.stop() == 0
    finally:
        for broker in cluster.brokers:
            broker.resume()
    assert "gives up" not in worker.log.read_text()
    with psycopg.connect(database.admin) as connection:
        unsaved = connection.execute(
            "SELECT partition_no FROM bpm.partitions WHERE applied_batch_no < last_batch_no"
        ).fetchall()
    assert unsaved == []
