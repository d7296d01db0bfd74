"""Dead letters: what they keep, what happens while none can be made, and how they are sent again. On topics of their own."""

import asyncio
import gzip
import json
import os
import signal
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from aiokafka import AIOKafkaProducer
from kafka.admin import ConfigResource, KafkaAdminClient
from typer.testing import CliRunner

from api.cli.main import app
from api.database_access import DatabaseAccess
from storage.database import INGEST_ROLE
from storage.layout import adopt
from storage.tenants import resume, suspend
from streams.dead_letters import Letter, Message
from streams.sending_again import Wanted, dead_letter_box
from streams.topic_admin import TopicSizes, create_topics, readings_origin
from streams.topics import DEAD_LETTERS, READINGS, SINGLES, Header
from tests.kafka.dead_letters import letters_by_source
from tests.kafka.sending import committed, reading, stored, taken_in
from tests.kafka.workers import ROOT, Worker, working
from tests.preloaded import bpm
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


def set_largest(bootstrap: str, bytes_max: int, topic: str = TOPIC) -> None:
    """What a topic takes from now on."""
    set_topic(bootstrap, topic, {"max.message.bytes": str(bytes_max)})


def set_topic(bootstrap: str, topic: str, values: dict[str, str]) -> None:
    """Let a topic have some of Kafka's settings from now on."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        admin.alter_configs([ConfigResource("TOPIC", topic, values)])
    finally:
        admin.close()


def _bpm(bootstrap: str, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    """What a command of dead letters gives: its exit code and its lines."""
    environment = {"BPM_KAFKA": bootstrap, "BPM_KAFKA_PREFIX": PREFIX}
    done = CliRunner().invoke(app, ["dead-letters", *arguments, "--json"], env=environment)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, [json.loads(line) for line in done.stdout.splitlines()]


def _again(bootstrap: str, *arguments: str) -> tuple[int, int, dict[str, int]]:
    """What becomes of letters that are sent again: exit code, how many were sent, and why others were left."""
    code, (told,) = _bpm(bootstrap, "send-again", *arguments)
    return code, told["sent"], told["left"]


def test_dead_letters_have_key_headers_and_value_of_the_message_and_a_line_in_the_log(
    kafka: str, worker: Worker
) -> None:
    said_before = len(worker.log.read_text())
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
    assert _again(kafka, "--source", sent[3].source) == (3, 0, {"it has no value": 1})
    assert _again(kafka, "--source", sent[4].source) == (3, 0, {"it has no value": 1})
    log = worker.log.read_text()[said_before:]
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
    assert _again(kafka, "--source", sent.source) == (3, 0, {"only a part of it was kept": 1})


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


def test_readings_that_their_topic_refuses_hold_none_up_that_come_after_it_takes_them(
    client: httpx.Client, kafka: str, database: DatabaseAccess, worker: Worker
) -> None:
    body = [reading(f"T-{number}") for number in range(4)]
    # Brokers look at what came before of those from whom they have something.
    committed(client, client.post("/v1/telemetry", json=body).json()["id"])
    publish(kafka, [single(TENANT, _body("T-9", 0), b"T-9")])
    until(lambda: stored(database, TENANT)["T-9", 300.0] == 1)
    set_largest(kafka, 100, READINGS_TOPIC)
    try:
        until(lambda: client.post("/v1/telemetry", json=body).status_code == 503)
        publish(kafka, [single(TENANT, _body("T-9", 1), b"T-9")])
        waits = "singles of partition 0 wait: [Error 10] MessageSizeTooLargeError"
        until(lambda: waits in worker.log.read_text())
    finally:
        set_largest(kafka, READINGS.message_bytes_max, READINGS_TOPIC)
    receipts = until(
        lambda: (answer := client.post("/v1/telemetry", json=body)).is_success and [answer.json()["id"]]
    )
    assert committed(client, receipts[0])["received"] == len(body)
    until(lambda: stored(database, TENANT)["T-9", 300.1] == 1)


def test_readings_of_a_suspended_tenant_are_sent_again_once_it_is_resumed_and_stored_once(
    served: RunningApi, database: DatabaseAccess, kafka: str, tmp_path: Path
) -> None:
    tenant = served.tenant("resumed")
    conninfo = database.as_role(INGEST_ROLE, served.engine.settings)
    suspend(conninfo, tenant, "unpaid")
    packs = [f"R-{number % 3}" for number in range(30)]
    extra = (("traceparent", b"00-1-2-01"), (Header.VERSION.value, b"1"))
    sent = publish(
        kafka,
        [
            single(tenant, _body(pack, number), pack.encode(), partition=number % 2)
            for number, pack in enumerate(packs)
        ],
    )
    (other,) = publish(
        kafka, [replace(single(tenant, _body("R-9", 30), b"R-9"), headers=(*extra, *sent[0].headers))]
    )
    sent.append(other)
    assert {one.reason for one in letters_of(kafka, sent)} == {"message_misdirected"}
    code, listed = _bpm(kafka, "--tenant", tenant, "--reason", "message_misdirected")
    keys = dict(zip((one.source for one in sent), [*packs, "R-9"], strict=True))
    assert (code, {one["source"]: one["key"] for one in listed}) == (0, keys)
    assert {(one["tenant"], one["cut"], one["sent_again_at"]) for one in listed} == {(tenant, None, None)}
    assert _bpm(kafka, "--tenant", tenant, "--reason", "other") == (0, [])

    resume(conninfo, tenant)
    assert _again(kafka, "--tenant", tenant, "--dry-run") == (0, len(sent), {})
    _send_again_and_be_killed(kafka, tmp_path / "log", "--tenant", tenant)
    until(lambda: taken_in(database, tenant) == (len(sent), 0, 0))
    first = stored(database, tenant)
    assert len(_bpm(kafka, "--tenant", tenant)[1]) == len(sent), "none of them is known to be sent"

    assert _again(kafka, "--source", other.source) == (0, 1, {})
    assert _again(kafka, "--tenant", tenant) == (0, len(sent) - 1, {})
    assert _again(kafka, "--tenant", tenant) == (0, 0, {})
    until(lambda: taken_in(database, tenant) == (len(sent), len(sent), 0))
    assert stored(database, tenant) == first
    assert sum(first.values()) == len(sent)
    assert _bpm(kafka, "--tenant", tenant) == (0, [])
    known = _bpm(kafka, "--tenant", tenant, "--all")[1]
    assert all(one["sent_again_at"] is not None for one in known)
    assert len(known) == len(sent)


def _send_again_and_be_killed(bootstrap: str, log_file: Path, *arguments: str) -> None:
    """Send letters again by a process that is killed before it has noted any."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BPM_")} | {
        "BPM_ENV": "development",
        "BPM_KAFKA": bootstrap,
        "BPM_KAFKA_PREFIX": PREFIX,
        "BPM_FAILPOINT": "sent_before_mark:1",
    }
    with log_file.open("wb") as log:
        killed = bpm(["dead-letters", "send-again", *arguments], environment, log, ROOT)
        assert killed.wait(60) == -signal.SIGKILL, log_file.read_text()


def _body(pack: str, number: int) -> bytes:
    moment = datetime.now(UTC) - timedelta(seconds=600 - number)
    return json.dumps({"pack": pack, "ts": moment.isoformat(), "voltage_v": 300 + number / 10}).encode()


def test_readings_that_could_not_be_committed_are_sent_again_though_their_source_has_gone_on(
    served: RunningApi, database: DatabaseAccess, kafka: str, tmp_path: Path
) -> None:
    tenant = served.tenant("failing")
    with psycopg.connect(database.admin, autocommit=True) as connection:
        connection.execute(
            "ALTER TABLE bpm.readings_class_0 ADD CONSTRAINT no_310 CHECK (voltage_v IS DISTINCT FROM 310) NOT VALID"
        )
        publish(kafka, [single(tenant, _body("F-1", 100), b"F-1")])
        until(lambda: len(_bpm(kafka, "--reason", "CheckViolation")[1]) == 1)
        connection.execute("ALTER TABLE bpm.readings_class_0 DROP CONSTRAINT no_310")
    publish(kafka, [single(tenant, _body("F-1", 101), b"F-1")])
    until(lambda: stored(database, tenant) == {("F-1", 310.1): 1})
    source = ["--source", READINGS_TOPIC, "--reason", "CheckViolation"]
    _send_again_and_be_killed(kafka, tmp_path / "log", *source)
    until(lambda: stored(database, tenant) == {("F-1", 310.0): 1, ("F-1", 310.1): 1})
    assert _again(kafka, *source) == (0, 1, {})
    assert _again(kafka, *source) == (0, 0, {})
    publish(kafka, [single(tenant, _body("F-1", 102), b"F-1")])
    until(lambda: stored(database, tenant)["F-1", 310.2] == 1)
    assert taken_in(database, tenant) == (3, 0, 0), "a batch that comes again is known by its id"


def test_headers_without_a_value_are_sent_again_as_they_were(
    served: RunningApi, database: DatabaseAccess, kafka: str
) -> None:
    tenant = served.tenant("valueless")
    conninfo = database.as_role(INGEST_ROLE, served.engine.settings)
    suspend(conninfo, tenant, "unpaid")
    headers = (("trace", None), ("trace", b"1"), (Header.TENANT.value, tenant.encode()), ("last", None))
    sent = publish(kafka, [single(None, _body("V-1", 1), None, headers=headers, partition=1)])
    letters_of(kafka, sent)
    assert _again(kafka, "--tenant", tenant) == (0, 1, {})
    (_, (letter,)) = until(lambda: (found := _bpm(kafka, "--tenant", tenant)) and found[1] and found)
    topic, partition, position = letter["source"].rsplit(":", 2)
    assert (topic, partition) == (SINGLES_TOPIC, "1")
    assert int(position) > sent[0].position, "it came again, and became a letter again"
    again = letters_by_source(kafka, TOPIC)[letter["source"]].original
    assert (again.key, again.value, again.headers) == (sent[0].key, sent[0].value, headers)
    resume(conninfo, tenant)
    assert _again(kafka, "--tenant", tenant) == (0, 1, {})
    until(lambda: stored(database, tenant) == {("V-1", 300.1): 1})


@pytest.mark.parametrize("codec", ["lz4", "snappy", "zstd", "gzip"])
def test_letters_that_brokers_pack_are_read_and_sent_again(
    served: RunningApi, database: DatabaseAccess, kafka: str, codec: str
) -> None:
    tenant = served.tenant(f"packed-{codec}")
    conninfo = database.as_role(INGEST_ROLE, served.engine.settings)
    suspend(conninfo, tenant, "unpaid")
    set_topic(kafka, TOPIC, {"compression.type": codec})
    try:
        sent = publish(
            kafka,
            [single(tenant, _body(f"Z-{n}", n), f"Z-{n}".encode(), partition=n % 2) for n in range(6)],
        )
        until(lambda: len(_bpm(kafka, "--tenant", tenant)[1]) == len(sent))
        resume(conninfo, tenant)
        assert _again(kafka, "--tenant", tenant) == (0, len(sent), {})
        assert _again(kafka, "--tenant", tenant) == (0, 0, {})
        expected = {(f"Z-{n}", 300 + n / 10): 1 for n in range(6)}
        until(lambda: stored(database, tenant) == expected)
    finally:
        set_topic(kafka, TOPIC, {"compression.type": "producer"})


def test_one_letter_that_its_topic_takes_no_more_holds_back_none_beside_it(
    served: RunningApi, database: DatabaseAccess, kafka: str
) -> None:
    tenant = served.tenant("narrowed")
    conninfo = database.as_role(INGEST_ROLE, served.engine.settings)
    suspend(conninfo, tenant, "unpaid")
    noise = os.urandom(4_000).hex()
    padded = json.loads(_body("N-1", 1)) | {"note": noise}
    sent = publish(
        kafka,
        [
            single(tenant, _body("N-0", 0), b"N-0"),
            single(tenant, json.dumps(padded).encode(), b"N-1"),
            single(tenant, _body("N-2", 2), b"N-2"),
        ],
    )
    letters_of(kafka, sent)
    resume(conninfo, tenant)
    set_largest(kafka, 2_000, SINGLES_TOPIC)
    try:
        assert _again(kafka, "--tenant", tenant) == (3, 2, {"it is larger than its topic takes": 1})
    finally:
        set_largest(kafka, SINGLES.message_bytes_max, SINGLES_TOPIC)
    until(lambda: stored(database, tenant) == {("N-0", 300.0): 1, ("N-2", 300.2): 1})
    assert _again(kafka, "--tenant", tenant) == (0, 1, {})
    until(lambda: stored(database, tenant)["N-1", 300.1] == 1)


def test_who_reads_letters_and_goes_away_is_not_taken_for_a_broker_that_does(
    served: RunningApi, kafka: str
) -> None:
    def read() -> None:
        with dead_letter_box(kafka, PREFIX) as box:
            next(box.found(Wanted(), lambda: None), None)
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        read()


def test_letters_that_can_not_become_what_they_were_are_left_with_the_reason(kafka: str) -> None:
    def letter(source: str, version: bytes = b"2", *original: tuple[str, None]) -> Message:
        """As a worker writes it; of version 1 the order is another one."""
        ours = {
            Header.CUT: b"",
            Header.SOURCE: source.encode(),
            Header.REASON: b"by_hand",
            Header.PUBLISHED: b"-1",
            Header.VERSION: version,
        }
        first = (Header.VERSION, Header.SOURCE, Header.REASON)
        headers = ((name.value, ours[name]) for name in (first if version == b"1" else ours))
        return Message(TOPIC, 0, -1, None, b"nonsense", (*original, *headers), NOW_MS)

    publish(
        kafka,
        [
            letter(f"{SINGLES_TOPIC}:0:7", b"1"),
            letter(f"{SINGLES_TOPIC}:9:7"),
            letter(f"{READINGS_TOPIC}:0:7"),
            letter("elsewhere.v1:0:7"),
            Message(TOPIC, 0, -1, None, b"what others wrote here", (), NOW_MS),
        ],
    )
    expected = {
        "it was put aside when keys and headers were not kept": 1,
        "its partition isn't there any more": 1,
        "it is no message of readings that this version can read": 1,
        "its topic is not one of this installation": 1,
    }
    assert _again(kafka, "--reason", "by_hand") == (3, 0, expected)
    assert len(_bpm(kafka, "--reason", "by_hand")[1]) == 4
    environment = {"BPM_KAFKA": kafka, "BPM_KAFKA_PREFIX": PREFIX}
    narrow = environment | {"COLUMNS": "80"}
    shown = CliRunner().invoke(app, ["dead-letters", "--reason", "by_hand"], env=narrow)
    assert shown.exit_code == 0
    assert "Dead letters: 4 (by_hand 4)." in shown.stderr
    line = next(one for one in shown.stdout.splitlines() if f"{SINGLES_TOPIC}:9:7" in one)
    assert datetime.strptime(line[:19], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    assert "Dead letters" not in shown.stdout
