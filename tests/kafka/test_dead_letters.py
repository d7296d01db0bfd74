"""Dead letters: what they keep, what happens while none can be made, and how they are sent again. On topics of their own."""

import asyncio
import gzip
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace

import httpx
import pytest
from aiokafka import AIOKafkaProducer
from kafka.admin import ConfigResource, KafkaAdminClient

from api.database_access import DatabaseAccess
from storage.layout import adopt
from streams.dead_letters import Letter, Message
from streams.topic_admin import TopicSizes, create_topics, readings_origin
from streams.topics import DEAD_LETTERS, READINGS, SINGLES, Header
from tests.kafka.dead_letters import letters_by_source
from tests.kafka.sending import committed, reading
from tests.kafka.workers import Worker, working
from tests.running import RunningApi, free_port, running_api, until

pytestmark = pytest.mark.needs_kafka

PARTITIONS = 2
PREFIX = f"letters-{uuid.uuid4().hex[:8]}"
TOPIC = DEAD_LETTERS.under(PREFIX).name
SINGLES_TOPIC = SINGLES.under(PREFIX).name
READINGS_TOPIC = READINGS.under(PREFIX).name
TENANT = "letters"
NOW_MS = time.time_ns() // 1_000_000


@pytest.fixture(scope="module")
def served(
    database: DatabaseAccess, kafka: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningApi]:
    create_topics(kafka, TopicSizes(PARTITIONS, 1, PREFIX))
    origin = readings_origin(kafka, PREFIX)
    adopt(database.admin, origin.topic, origin.first)
    with running_api(
        database, tmp_path_factory.mktemp("api"), kafka=kafka, kafka_prefix=PREFIX, receipt_wait_s=1.0
    ) as api:
        api.tenant(TENANT)
        yield api


@pytest.fixture(scope="module")
def metrics_port() -> int:
    return free_port()


@pytest.fixture(scope="module", autouse=True)
def worker(
    served: RunningApi,
    database: DatabaseAccess,
    kafka: str,
    metrics_port: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Worker]:
    """It works while these tests run."""
    settings = {
        "BPM_KAFKA_PREFIX": PREFIX,
        "BPM_WORKER_METRICS_PORT": str(metrics_port),
        "BPM_TENANT_CACHE_S": "0.2",
    }
    folder = tmp_path_factory.mktemp("worker")
    with working(Worker(database, kafka, folder, settings=settings)) as worker:
        yield worker


@pytest.fixture
def client(served: RunningApi) -> Iterator[httpx.Client]:
    with served.client(TENANT) as client:
        yield client


def publish(bootstrap: str, messages: Sequence[Message]) -> list[Message]:
    """Publish messages as they are into their topics; the same with where they stand now."""

    async def send() -> list[Message]:
        # By batches, since clients refuse to send a message without a key and a value.
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", compression_type="gzip")
        await producer.start()
        try:
            sent = []
            for one in messages:
                batch = producer.create_batch()
                batch.append(
                    timestamp=one.published_ms, key=one.key, value=one.value, headers=list(one.headers)
                )
                batch.close()
                done = await (await producer.send_batch(batch, one.topic, partition=one.partition))
                sent.append(replace(one, position=done.offset))
            return sent
        finally:
            await producer.stop()

    return asyncio.run(send())


def single(tenant: str | None, value: bytes | None, key: bytes | None = b"P-1", **given: object) -> Message:
    headers = () if tenant is None else ((Header.TENANT.value, tenant.encode()),)
    made = Message(SINGLES_TOPIC, 0, -1, key, value, headers, NOW_MS)
    return replace(made, **given)


def letters_of(bootstrap: str, messages: Sequence[Message]) -> list[Letter]:
    """The dead letter of each message, once all are there."""

    def found() -> list[Letter] | None:
        there = letters_by_source(bootstrap, TOPIC)
        return (
            [there[one.source] for one in messages] if all(one.source in there for one in messages) else None
        )

    letters: list[Letter] = until(found)
    return letters


def set_largest(bootstrap: str, bytes_max: int) -> None:
    """What the topic of dead letters takes from now on."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        admin.alter_configs([ConfigResource("TOPIC", TOPIC, {"max.message.bytes": str(bytes_max)})])
    finally:
        admin.close()


def test_dead_letters_have_key_headers_and_value_of_the_message_and_a_line_in_the_log(
    kafka: str, worker: Worker
) -> None:
    clashing = (
        (Header.VERSION.value, b"9"),
        (Header.REASON.value, b"none"),
        ("other", None),
        ("raw", b"\xff"),
    )
    sent = publish(
        kafka,
        [
            single("nobody", b'{"pack": "P-1"}'),
            single(None, b'{"pack": "P-1"}', headers=((Header.TENANT.value, None),)),
            single(None, b"nonsense\xff", key=b"\xff", headers=clashing),
            single(None, None, key=None, partition=1),
            replace(single(None, None, key=None), topic=READINGS_TOPIC),
        ],
    )
    letters = letters_of(kafka, sent)
    assert [one.original for one in letters] == sent
    assert [one.reason for one in letters] == [
        "message_misdirected",
        "message_unreadable",
        "body_unreadable",
        "body_unreadable",
        "message_unreadable",
    ]
    log = worker.log.read_text()
    first = sent[0]
    line = f"{first.topic}, partition 0: message {first.position} is a dead letter: the message is for a tenant that"
    assert line in log
    assert "Traceback" not in log


def test_what_is_too_large_for_a_dead_letter_is_cut_and_the_log_says_where_it_is_whole(
    kafka: str, worker: Worker
) -> None:
    value = b"x" * (2 * DEAD_LETTERS.message_bytes_max)
    assert len(gzip.compress(value)) < SINGLES.message_bytes_max // 2
    (sent,) = publish(kafka, [single(TENANT, value)])
    (letter,) = letters_of(kafka, [sent])
    assert letter.original.value is not None
    kept = len(letter.original.value)
    assert DEAD_LETTERS.message_bytes_max - 2000 < kept < DEAD_LETTERS.message_bytes_max
    assert letter.cut == f"{kept} of {len(value)} bytes of the value kept"
    assert letter.original.headers == sent.headers
    assert f"message {sent.position} is too large for a dead letter" in worker.log.read_text()


def test_a_partition_says_that_it_waits_for_a_dead_letter_and_holds_no_other_up(
    client: httpx.Client, kafka: str, database: DatabaseAccess, worker: Worker, metrics_port: int
) -> None:
    set_largest(kafka, 2_000)
    try:
        stuck = publish(
            kafka,
            [
                single(None, b"x" * 5_000, partition=1),
                replace(single(None, b"x" * 5_000), topic=READINGS_TOPIC),
            ],
        )
        for one in stuck:
            waits = f"{one.topic}, partition {one.partition} waits at message {one.position} for 0 s"
            until(lambda waits=waits: waits in worker.log.read_text())
        metrics = f"http://127.0.0.1:{metrics_port}/metrics"
        gauge = f'bpm_dead_letter_waiting_seconds{{partition="1",topic="{SINGLES_TOPIC}"}}'
        until(lambda: gauge in httpx.get(metrics, trust_env=False).text)
        # Partitions change hands all the same, those that wait too.
        other = Worker(database, kafka, worker.folder / "other", settings={"BPM_KAFKA_PREFIX": PREFIX})
        with working(other):
            body = [reading(f"P-{number}") for number in range(8)]
            receipt = client.post("/v1/telemetry", json=body).json()
            assert receipt["status"] == "pending", "one partition of two waits"
            assert "MessageSizeTooLargeError" in worker.log.read_text()
        set_largest(kafka, DEAD_LETTERS.message_bytes_max)
        assert [one.original for one in letters_of(kafka, stuck)] == stuck
        assert committed(client, receipt["id"])["accepted"] == 8
    finally:
        set_largest(kafka, DEAD_LETTERS.message_bytes_max)
    log = worker.log.read_text()
    assert "Traceback" not in log
    assert "wait_empty" not in log
