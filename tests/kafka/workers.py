"""Worker processes for tests, and topics of their own on a broker that is shared."""

import asyncio
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from kafka.admin import KafkaAdminClient
from kafka.errors import TopicAlreadyExistsError
from pydantic import SecretStr
from rich.console import Console

from api.cli.status import Watch, table_of
from api.database_access import DatabaseAccess
from api.settings import Settings
from storage.layout import adopt
from streams.topics import ALERTS, DEAD_LETTERS, PREFIX, SINGLES
from tests.preloaded import Preloaded, bpm

ROOT = Path(__file__).resolve().parents[2]
READY_S_MAX = 120.0
STOP_S_MAX = 40.0
SINGLES_PARTITIONS = 2


def make_topic(bootstrap: str, partitions: int, copies: int = 1) -> tuple[str, dict[int, int]]:
    """A new topic, as name/id, with the first position of each partition; and one for dead letters."""
    name = f"{PREFIX}.readings-{uuid.uuid4().hex[:10]}"
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        wanted: dict[str, Any] = {name: {"num_partitions": partitions, "replication_factor": copies}}
        if copies > 1:
            wanted[name]["configs"] = {"min.insync.replicas": str(copies - 1)}
        admin.create_topics(wanted, wait_for_metadata=True)
        for shared, number in ((DEAD_LETTERS, 1), (SINGLES, SINGLES_PARTITIONS), (ALERTS, 1)):
            # Another test process of the same broker may be quicker.
            with suppress(TopicAlreadyExistsError):
                admin.create_topics({shared.name: {"num_partitions": number, "replication_factor": copies}})
        (described,) = admin.describe_topics([name])
    finally:
        admin.close()
    return f"{name}/{described['topic_id']}", dict.fromkeys(range(partitions), 0)


def adopt_new_topic(
    access: DatabaseAccess, bootstrap: str, partitions: int, copies: int = 1, *, anew: bool = False
) -> str:
    """Let a database's readings come from a topic of its own; its name."""
    topic, first = make_topic(bootstrap, partitions, copies)
    adopt(access.admin, topic, first, anew=anew)
    return topic.partition("/")[0]


@dataclass(slots=True)
class Worker:
    """`bpm worker` as a process of its own. tree: the code that it runs. log_before: length of the log as it began."""

    access: DatabaseAccess
    bootstrap: str
    folder: Path
    session_s: float = 4.0
    tree: Path = ROOT
    settings: dict[str, str] = field(default_factory=dict)
    process: Preloaded | None = field(default=None, init=False)
    log_before: int = field(default=0, init=False)

    @property
    def log(self) -> Path:
        return self.folder / "worker.log"

    def group(self) -> str:
        """The group in which workers of this database share their partitions."""
        with psycopg.connect(self.access.admin) as connection:
            row = connection.execute("SELECT current_database()").fetchone()
        assert row is not None
        return f"workers-{row[0]}"

    def environment(self) -> dict[str, str]:
        """Of its process."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith("BPM_")}
        return {
            **ours,
            "BPM_ENV": "development",
            "BPM_DATABASE_URL": self.access.admin,
            "BPM_DATA_DIR": str(self.folder / "var"),
            "BPM_KAFKA": self.bootstrap,
            "BPM_KAFKA_GROUP": self.group(),
            "BPM_WORKER_SESSION_S": str(self.session_s),
            **self.settings,
        }

    def start(self) -> None:
        """Begin; `wait_ready` waits until partitions are worked on."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log_before = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = bpm(["worker"], self.environment(), log, self.tree)

    def wait_ready(self) -> None:
        """Return once it has been assigned its partitions. Raises TimeoutError with the end of its log."""
        deadline_s = time.monotonic() + READY_S_MAX
        # What those before it wrote doesn't say that this one is ready.
        while b"Worker ready" not in self.log.read_bytes()[self.log_before :]:
            if time.monotonic() > deadline_s or not self.running:
                raise TimeoutError(self.log.read_text()[-4000:])
            time.sleep(0.05)

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it at once."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """End it cleanly; its exit code."""
        assert self.process is not None
        if self.running:
            self.process.terminate()
        try:
            return self.process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


@contextmanager
def working(worker: Worker) -> Iterator[Worker]:
    """A worker that works until the end."""
    worker.start()
    try:
        worker.wait_ready()
        yield worker
    finally:
        if worker.running:
            worker.stop()


def committed_up_to(access: DatabaseAccess) -> dict[int, int]:
    """The position of each partition."""
    with psycopg.connect(access.admin) as connection:
        return dict(connection.execute("SELECT partition_no, next FROM bpm.partitions").fetchall())


def status_of(access: DatabaseAccess, bootstrap: str | None) -> dict[str, Any]:
    """What `bpm status --json` gives."""
    watch = Watch(Settings(database_url=SecretStr(access.admin), kafka=bootstrap))
    try:
        return watch.look()
    finally:
        watch.close()


def shown_table(shown: dict[str, Any]) -> str:
    """What `bpm status` shows of that."""
    with (console := Console(width=200)).capture() as captured:
        console.print(table_of(shown))
    return captured.get()


@dataclass(frozen=True, slots=True)
class Published:
    """A message as others publish it."""

    topic: str
    partition: int
    value: bytes
    headers: Sequence[tuple[str, bytes]] = ()


def publish_in_transaction(bootstrap: str, messages: Sequence[Published], *, commit: bool) -> None:
    """Publish messages in one transaction, which is committed or aborted."""

    async def publish() -> None:
        from aiokafka import AIOKafkaProducer

        producer = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=uuid.uuid4().hex)
        await producer.start()
        try:
            await producer.begin_transaction()
            for one in messages:
                await producer.send_and_wait(
                    one.topic, one.value, partition=one.partition, headers=list(one.headers)
                )
            await (producer.commit_transaction() if commit else producer.abort_transaction())
        finally:
            await producer.stop()

    asyncio.run(publish())


async def send_raw(bootstrap: str, topic: str, partition: int, value: bytes) -> int:
    """Send bytes as they are; the offset."""
    from aiokafka import AIOKafkaProducer

    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await producer.start()
    try:
        return int((await producer.send_and_wait(topic, value, partition=partition)).offset)
    finally:
        await producer.stop()


def send(bootstrap: str, topic: str, partition: int, value: bytes) -> int:
    """The same, from a test that isn't asynchronous."""
    return asyncio.run(send_raw(bootstrap, topic, partition, value))
