"""The brokers of the tests are real: what they acknowledged is there after a hard kill and a restart."""

import asyncio
import uuid
from collections.abc import Iterator

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from kafka.admin import KafkaAdminClient, NewTopic

from tests.kafka.broker import Cluster

pytestmark = pytest.mark.needs_kafka

READ_S_MAX = 30.0


def new_topic(bootstrap: str, partitions: int = 1, copies: int = 1) -> str:
    """The name of a topic that exists from now on."""
    name = f"test.{uuid.uuid4().hex[:12]}"
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics([NewTopic(name, num_partitions=partitions, replication_factor=copies)])
    admin.close()
    return name


async def send(bootstrap: str, topic: str, values: list[bytes], wait_s_max: float = 40.0) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        acks="all",
        enable_idempotence=True,
        request_timeout_ms=int(wait_s_max * 1000),
    )
    try:
        await producer.start()
        for value in values:
            await producer.send_and_wait(topic, value, partition=0)
    finally:
        await producer.stop()


async def received(bootstrap: str, topic: str) -> list[bytes]:
    """All values of the topic's first partition up to its end."""
    values: list[bytes] = []
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest") as consumer:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        async with asyncio.timeout(READ_S_MAX):
            while len(values) < end:
                batch = await consumer.getmany(timeout_ms=500)
                values += [record.value for records in batch.values() for record in records]
    return values


@pytest.fixture(scope="module")
def cluster(kafka_jars: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A broker of the module's own, to be treated badly; each test leaves it running."""
    with Cluster(tmp_path_factory.mktemp("kafka")) as cluster:
        yield cluster


def test_what_is_produced_is_consumed_in_order(kafka: str) -> None:
    topic = new_topic(kafka)
    values = [b"%d" % number for number in range(100)]
    asyncio.run(send(kafka, topic, values))
    assert asyncio.run(received(kafka, topic)) == values


def test_acknowledged_messages_are_there_after_a_hard_kill_and_a_restart(cluster: Cluster) -> None:
    topic = new_topic(cluster.bootstrap)
    asyncio.run(send(cluster.bootstrap, topic, [b"before"]))
    cluster.brokers[0].kill()
    assert not cluster.brokers[0].running
    cluster.brokers[0].restart()
    asyncio.run(send(cluster.bootstrap, topic, [b"after"]))
    assert asyncio.run(received(cluster.bootstrap, topic)) == [b"before", b"after"]


def test_paused_broker_answers_nothing_and_goes_on_when_resumed(cluster: Cluster) -> None:
    topic = new_topic(cluster.bootstrap)
    asyncio.run(send(cluster.bootstrap, topic, [b"before"]))
    cluster.brokers[0].pause()
    with pytest.raises((KafkaError, TimeoutError)):
        asyncio.run(asyncio.wait_for(send(cluster.bootstrap, topic, [b"lost"], wait_s_max=1.0), 5.0))
    cluster.brokers[0].resume()
    asyncio.run(send(cluster.bootstrap, topic, [b"after"]))
    assert asyncio.run(received(cluster.bootstrap, topic)) == [b"before", b"after"]


def test_no_topic_is_made_by_sending_to_it(kafka: str) -> None:
    with pytest.raises(KafkaError):
        asyncio.run(send(kafka, f"test.{uuid.uuid4().hex[:12]}", [b"lost"], wait_s_max=2.0))
