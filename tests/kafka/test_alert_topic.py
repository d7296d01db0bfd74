"""Events of alerts on their way into the topic, while brokers stand still or end."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row

from api.alert_topic import AlertPublisher
from api.database_access import DatabaseAccess
from api.settings import Settings
from storage.database import INGEST_ROLE
from storage.publishing import publish
from streams.producing import Producer
from streams.topics import ALERTS
from tests.kafka.broker import Cluster
from tests.kafka.sending import HOT, TENANT
from tests.kafka.test_broker import new_topic, received
from tests.running import running_api, until

pytestmark = [pytest.mark.needs_kafka, pytest.mark.timeout(300)]

PARTITION = 0
EVENTS_MAX = 500
TURN_S = 1.0
LONG_S = 600.0
"""A turn that doesn't end by itself."""

Rows = Sequence[dict[str, Any]]
Published = Callable[[Callable[[Rows], Awaitable[None]], float], Awaitable[int]]


@pytest.fixture(scope="module")
def cluster(kafka_jars: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One broker of the module's own."""
    with Cluster(tmp_path_factory.mktemp("kafka")) as cluster:
        yield cluster


@pytest.fixture
def client(own_database: DatabaseAccess, tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of a tenant with a rule, in an installation whose alerts nobody publishes yet."""
    with running_api(own_database, tmp_path) as api, api.client(api.tenant(TENANT)) as client:
        assert client.post("/v1/rules", json=HOT).status_code == 201
        time.sleep(0.1)
        yield client


def raise_alerts(client: httpx.Client, name: str, count: int = 3) -> None:
    ts = datetime.now(UTC).isoformat()
    hot = [{"pack": f"{name}-{number}", "ts": ts, "temperature_c": 80} for number in range(count)]
    assert client.post("/v1/telemetry", json=hot).json()["accepted"] == count


def one(access: DatabaseAccess, text: str) -> Any:
    with psycopg.connect(access.admin, options="-c search_path=bpm") as connection:
        row = connection.execute(text.encode()).fetchone()
    assert row is not None
    return row[0]


def position(access: DatabaseAccess) -> int:
    return int(one(access, f"SELECT seq FROM alert_topic_positions WHERE partition_no = {PARTITION}"))


def transactions_of_publishers(access: DatabaseAccess) -> int:
    """Transactions of the ingest role that are open, and do nothing."""
    return int(
        one(
            access,
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            f" AND application_name = 'bpm {INGEST_ROLE}' AND state = 'idle in transaction'",
        )
    )


@asynccontextmanager
async def publishing(access: DatabaseAccess) -> AsyncIterator[Published]:
    """How one process publishes: `send` and `turn_s_max` are given."""
    async with await psycopg.AsyncConnection.connect(
        access.as_role(INGEST_ROLE, Settings()), autocommit=True, row_factory=dict_row
    ) as connection:
        await connection.execute("INSERT INTO alert_topic_positions VALUES (0, 0) ON CONFLICT DO NOTHING")

        async def published(send: Callable[[Rows], Awaitable[None]], turn_s_max: float) -> int:
            return await publish(connection, PARTITION, EVENTS_MAX, send, turn_s_max)

        yield published


def test_no_transaction_is_open_while_a_broker_that_stands_still_is_waited_for(
    cluster: Cluster, client: httpx.Client, own_database: DatabaseAccess
) -> None:
    raise_alerts(client, "A")
    topic = new_topic(cluster.bootstrap)
    broker = cluster.brokers[0]

    async def nobody(_: Rows) -> None:
        raise AssertionError("it is another process's turn")

    async def whole() -> None:
        producer = Producer(cluster.bootstrap, 5.0, enable_idempotence=True)
        # What it doesn't know of the topic, it couldn't ask a broker that stands still.
        await (await producer.started()).partitions_for(topic)
        waits = asyncio.Event()

        async def send(events: Rows) -> None:
            broker.pause()
            async with producer.sending() as started:
                sent = [await started.send(topic, str(event["seq"]).encode()) for event in events]
                waits.set()
                await asyncio.gather(*sent)

        async with publishing(own_database) as first, publishing(own_database) as second:
            under_way = asyncio.ensure_future(first(send, LONG_S))
            async with asyncio.timeout(20):
                await waits.wait()
            # Longer than between two looks at what the database tells.
            await asyncio.sleep(2.5)
            assert transactions_of_publishers(own_database) == 0
            assert await second(nobody, LONG_S) == 0
            assert (position(own_database), under_way.done()) == (0, False)
            broker.resume()
            assert await under_way == 3
            assert position(own_database) == 3
            assert await second(nobody, LONG_S) == 0
        await producer.stop()

    try:
        asyncio.run(whole())
    finally:
        broker.resume()
    assert asyncio.run(received(cluster.bootstrap, topic)) == [b"1", b"2", b"3"]


def test_a_process_that_alone_is_cut_off_has_its_turn_for_so_long_and_no_longer(
    client: httpx.Client, own_database: DatabaseAccess
) -> None:
    raise_alerts(client, "C")
    sent: list[tuple[str, list[int]]] = []

    async def whole() -> None:
        asked, reached = asyncio.Event(), asyncio.Event()

        async def cut_off(events: Rows) -> None:
            asked.set()
            await reached.wait()
            sent.append(("cut off", [event["seq"] for event in events]))

        async def other(events: Rows) -> None:
            sent.append(("other", [event["seq"] for event in events]))

        async with publishing(own_database) as first, publishing(own_database) as second:
            under_way = asyncio.ensure_future(first(cut_off, TURN_S))
            async with asyncio.timeout(20):
                await asked.wait()
            assert await second(other, LONG_S) == 0
            while await second(other, LONG_S) == 0:  # noqa: ASYNC110 - nothing tells that a lock is free
                await asyncio.sleep(0.05)
            raise_alerts(client, "D")
            assert await second(other, LONG_S) == 3
            assert position(own_database) == 6
            reached.set()
            assert await under_way == 3
        assert position(own_database) == 6, "it isn't moved back"

    asyncio.run(whole())
    assert sent == [("other", [1, 2, 3]), ("other", [4, 5, 6]), ("cut off", [1, 2, 3])]


def test_who_ends_in_its_turn_leaves_it_at_once(client: httpx.Client, own_database: DatabaseAccess) -> None:
    raise_alerts(client, "E")

    async def whole() -> None:
        async def never(_: Rows) -> None:
            one(
                own_database,
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
                " AND classid::int8 = hashtext('bpm.alert_topic')::int8 & 4294967295",
            )
            await asyncio.Event().wait()

        async def other(_: Rows) -> None:
            pass

        async with publishing(own_database) as second:
            with suppress(psycopg.OperationalError):
                async with publishing(own_database) as first:
                    async with asyncio.timeout(10):
                        await first(never, LONG_S)
                    raise AssertionError("its session has ended")
            assert await second(other, LONG_S) == 3

    asyncio.run(whole())


def test_two_publishers_send_each_event_once_and_in_order_whatever_the_broker_does(
    cluster: Cluster, client: httpx.Client, own_database: DatabaseAccess
) -> None:
    topic = replace(ALERTS, name=new_topic(cluster.bootstrap))
    broker = cluster.brokers[0]
    settings = Settings()

    async def until_published(count: int) -> None:
        for _ in range(600):
            if await asyncio.to_thread(position, own_database) == count:
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"{count} events were not published in time")

    async def whole() -> None:
        producers = [Producer(cluster.bootstrap, 5.0, enable_idempotence=True) for _ in range(2)]
        tasks = [
            asyncio.create_task(
                AlertPublisher(
                    own_database.as_role(INGEST_ROLE, settings), topic, EVENTS_MAX, 0.2, LONG_S, producer
                ).run()
            )
            for producer in producers
        ]
        try:
            await asyncio.to_thread(raise_alerts, client, "before")
            await until_published(3)
            for number in range(4):
                broker.pause()
                await asyncio.to_thread(raise_alerts, client, f"paused-{number}")
                await asyncio.sleep(1.5)
                assert transactions_of_publishers(own_database) == 0
                broker.resume()
                await until_published(3 * (number + 2))
            broker.kill()
            await asyncio.to_thread(raise_alerts, client, "killed")
            await asyncio.sleep(1.0)
            assert transactions_of_publishers(own_database) == 0
            await asyncio.to_thread(broker.restart)
            await until_published(18)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for producer in producers:
                await producer.stop()

    try:
        asyncio.run(whole())
    finally:
        broker.resume()
    until(lambda: broker.running)
    messages = asyncio.run(received(cluster.bootstrap, topic.name))
    assert [json.loads(message)["data"]["seq"] for message in messages] == list(range(1, 19))
