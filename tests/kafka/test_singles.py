"""Single readings that others publish: gathered, sent on and committed, each once, whatever is sent on twice."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaProducer
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.structs import OffsetAndMetadata

from api.database_access import DatabaseAccess
from streams.topics import SINGLES, Header
from tests.kafka.dead_letters import reasons_by_source
from tests.kafka.sending import stored, taken_in
from tests.kafka.workers import (
    SINGLES_PARTITIONS,
    Published,
    Worker,
    adopt_new_topic,
    publish_in_transaction,
    working,
)
from tests.running import RunningApi, running_api, until

pytestmark = pytest.mark.needs_kafka

PACKS = 3


@pytest.fixture(scope="module")
def served(
    database: DatabaseAccess, kafka: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningApi]:
    adopt_new_topic(database, kafka, 4)
    with running_api(database, tmp_path_factory.mktemp("api"), kafka=kafka) as api:
        yield api


@pytest.fixture
def worker(
    served: RunningApi, database: DatabaseAccess, kafka: str, tmp_path_factory: pytest.TempPathFactory
) -> Worker:
    return Worker(database, kafka, tmp_path_factory.mktemp("worker"))


Place = tuple[int, int]


def publish(bootstrap: str, tenant: str | None, values: Sequence[Any]) -> list[Place]:
    """Publish values as others do, each pack's in one partition; partition and position of each."""
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all")
    headers = [] if tenant is None else [(Header.TENANT.value, tenant.encode())]
    try:
        sent = [
            producer.send(
                SINGLES.name,
                value if isinstance(value, bytes) else json.dumps(value).encode(),
                key=value["pack"].encode() if isinstance(value, dict) and "pack" in value else b"none",
                headers=headers,
            )
            for value in values
        ]
        found = [one.get(30) for one in sent]
    finally:
        producer.close()
    return [(one.partition, one.offset) for one in found]


def publish_packed(bootstrap: str, tenant: str, readings: Sequence[dict[str, Any]], codec: str) -> None:
    """Publish readings as one batch of a codec."""

    async def publish() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap, compression_type=codec)
        await producer.start()
        try:
            batch = producer.create_batch()
            for one in readings:
                headers = [(Header.TENANT.value, tenant.encode())]
                batch.append(
                    timestamp=None, key=one["pack"].encode(), value=json.dumps(one).encode(), headers=headers
                )
            batch.close()
            await (await producer.send_batch(batch, SINGLES.name, partition=0))
        finally:
            await producer.stop()

    asyncio.run(publish())


def readings(count: int, first: int = 0) -> list[dict[str, Any]]:
    moment = datetime.now(UTC) - timedelta(hours=1)
    return [
        {
            "pack": f"P-{number % PACKS}",
            "ts": (moment + timedelta(seconds=number)).isoformat(),
            "voltage_v": 300 + number / 10,
        }
        for number in range(first, first + count)
    ]


def values_of(readings: Sequence[dict[str, Any]]) -> Counter[tuple[str, float]]:
    return Counter((one["pack"], round(one["voltage_v"], 3)) for one in readings)


def forget_positions(bootstrap: str, group: str) -> None:
    """What a worker that ends just before Kafka knows how far it came leaves behind, at its worst."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        parts = [TopicPartition(SINGLES.name, number) for number in range(SINGLES_PARTITIONS)]
        until(lambda: _altered(admin, group, parts))
    finally:
        admin.close()


def _altered(admin: KafkaAdminClient, group: str, parts: list[TopicPartition]) -> bool:
    """False as long as the session of the worker that was killed goes on."""
    admin.alter_group_offsets(group, {part: OffsetAndMetadata(0, "", -1) for part in parts})
    now = admin.list_group_offsets(group)[group]
    return all(part in now and now[part].offset == 0 for part in parts)


def publish_in_transactions(bootstrap: str, tenant: str, readings: Sequence[dict[str, Any]]) -> None:
    """Publish the even ones of some readings in a transaction, and the others in one that is aborted."""
    header = (Header.TENANT.value, tenant.encode())
    messages = [Published(SINGLES.name, 1, json.dumps(one).encode(), headers=[header]) for one in readings]
    publish_in_transaction(bootstrap, messages[::2], commit=True)
    publish_in_transaction(bootstrap, messages[1::2], commit=False)


def test_singles_are_committed_and_what_is_malformed_is_a_dead_letter_with_its_place(
    served: RunningApi, worker: Worker, database: DatabaseAccess, kafka: str
) -> None:
    tenant = served.tenant("singles")
    sent, packed, in_transactions = readings(30), readings(12, first=30), readings(12, first=42)
    malformed = [b"{", b"[1]", b'"text"', b'{"pack": "P-0", "pack": "P-1"}', b"\xff", b""]
    publish(kafka, tenant, sent[:15])
    for number, codec in enumerate(("gzip", "lz4", "snappy", "zstd")):
        publish_packed(kafka, tenant, packed[number::4], codec)
    publish_in_transactions(kafka, tenant, in_transactions)
    letters = publish(kafka, tenant, malformed)
    letters += publish(kafka, None, readings(1)) + publish(kafka, "nobody", readings(1))
    publish(kafka, tenant, [*sent[15:], {"pack": "P-0", "voltage_v": 1}, {"ts": "2026-01-01T00:00:00Z"}])
    with working(worker), served.client(tenant) as client:
        until(lambda: values_of(sent) <= stored(database, tenant))
        until(lambda: len(_items(client)) == 2)
        reasons = {item["reason"] for item in _items(client)}
    assert stored(database, tenant) == values_of([*sent, *packed, *in_transactions[::2]])
    assert reasons == {"missing_field"}
    found = reasons_by_source(kafka)
    codes = [found[f"{SINGLES.name}:{partition}:{position}"] for partition, position in letters]
    assert codes == [
        "body_unreadable",
        "message_unreadable",
        "message_unreadable",
        "body_unreadable",
        "body_unreadable",
        "body_unreadable",
        "message_unreadable",
        "message_misdirected",
    ]


def _items(client: httpx.Client) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = client.get("/v1/quarantine").json()["items"]
    return items


def test_what_is_sent_on_again_is_dropped_and_nothing_is_lost(
    served: RunningApi, worker: Worker, database: DatabaseAccess, kafka: str
) -> None:
    tenant = served.tenant("again")
    wrong = {"pack": "P-0", "ts": "nonsense", "voltage_v": 1}
    first, second = readings(40), readings(40, first=40)
    publish(kafka, tenant, [*first, wrong])
    with working(worker):
        until(lambda: stored(database, tenant) == values_of(first) and taken_in(database, tenant)[2] == 1)
        worker.kill()
    forget_positions(kafka, worker.group())
    publish(kafka, tenant, second)
    with working(worker):
        until(lambda: stored(database, tenant) == values_of([*first, *second]))
        time.sleep(1)
    assert stored(database, tenant) == values_of([*first, *second])
    assert taken_in(database, tenant) == (80, 0, 1), "what came before is dropped, and not judged again"


@pytest.mark.parametrize(
    ("count", "length", "raw_bytes_max"),
    [
        pytest.param(60, 10, 500, id="more than one message of readings may hold"),
        pytest.param(80, 15_000, 10_000_000, id="more than the topic of readings takes"),
    ],
)
def test_singles_of_which_much_is_set_aside_at_once_are_each_there_once(
    served: RunningApi,
    worker: Worker,
    database: DatabaseAccess,
    kafka: str,
    count: int,
    length: int,
    raw_bytes_max: int,
) -> None:
    tenant = served.tenant(f"aside-{length}")
    wrong = [{"pack": "P-0", "ts": f"{number} {'x' * length}", "voltage_v": 1} for number in range(count)]
    sent = readings(count)
    publish(kafka, tenant, [one for pair in zip(wrong, sent, strict=True) for one in pair])
    worker.settings["BPM_MESSAGE_RAW_BYTES_MAX"] = str(raw_bytes_max)
    with working(worker):
        until(lambda: taken_in(database, tenant) == (count, 0, count))
    assert stored(database, tenant) == values_of(sent)
