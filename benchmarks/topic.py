"""Workers over a topic beside others that take the same messages into the same table, by processor time."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import msgspec
import numpy as np
import psutil
import psycopg
from kafka import KafkaProducer

from api.database_access import DatabaseAccess
from benchmarks.copying import copy_from_server_file, write_server_file
from benchmarks.fleet import (
    FleetReadings,
    Registered,
    arrow_body,
    copy_rows,
    json_body,
    make_readings,
    pack_name,
)
from benchmarks.measuring import Samples
from benchmarks.report import Report, compare
from benchmarks.served import ServedEngine, served_engine
from benchmarks.topic_peers import Form, System
from streams.topics import READINGS, SINGLES, Header
from tests.kafka.broker import Cluster
from tests.kafka.workers import Worker

PACKS, READINGS_PER_PACK = 100, 50
PARTITIONS = 8
STEP_MS = 100
DRAIN_S_MAX = 600.0
PEERS = {
    "Arrow: plain consumer": (System.CONSUMER, Form.ARROW),
    "Arrow: quixstreams": (System.QUIXSTREAMS, Form.ARROW),
    "Arrow: bytewax": (System.BYTEWAX, Form.ARROW),
    "JSON: plain consumer": (System.CONSUMER, Form.JSON),
    "JSON: Faust, event by event": (System.FAUST, Form.JSON),
    "JSON: quixstreams": (System.QUIXSTREAMS, Form.JSON),
    "JSON: bytewax": (System.BYTEWAX, Form.JSON),
}
QUIXSTREAMS_PYTHON = Path(sys.prefix).with_name(".venv-quixstreams") / "bin" / "python"
"""quixstreams asks for older versions of libraries than the engine has, so it stands in front of the engine's own."""
_BACK_MS = 6 * 3_600_000
_SENT_MS = 300


@dataclass(slots=True)
class Field:
    """An API over a topic, without workers, and what was sent so far."""

    cluster: Cluster
    engine: ServedEngine
    token: str
    folder: Path
    next_ms: int

    def access(self) -> DatabaseAccess:
        return DatabaseAccess(self.engine.admin_conninfo())

    def fresh(self) -> FleetReadings:
        """A body's readings, newer than all before."""
        made = make_readings(PACKS, READINGS_PER_PACK, self.next_ms, STEP_MS, seed=self.next_ms % 1000)
        self.next_ms += READINGS_PER_PACK * STEP_MS
        return made

    def post(self, bodies: int) -> int:
        """Send bodies of Arrow into the topic; how many readings."""
        headers = {
            "Authorization": f"Bearer {self.token}",
            "Content-Type": "application/vnd.apache.arrow.stream",
        }
        with httpx.Client(trust_env=False, timeout=60) as client:
            for _ in range(bodies):
                answer = client.post(
                    f"http://127.0.0.1:{self.engine.port}/v1/telemetry",
                    content=arrow_body(self.fresh()),
                    headers=headers,
                )
                if answer.status_code not in (200, 202):
                    raise RuntimeError(answer.text)
        return bodies * PACKS * READINGS_PER_PACK

    def publish(self, bodies: int) -> int:
        """Publish single readings as JSON; how many."""
        producer = KafkaProducer(bootstrap_servers=self.cluster.bootstrap, acks="all", linger_ms=20)
        headers = [(Header.TENANT.value, TENANT.encode())]
        count = 0
        for _ in range(bodies):
            for value in msgspec.json.decode(json_body(self.fresh()), type=list[msgspec.Raw]):
                key = msgspec.json.decode(value, type=_Named).pack.encode()
                producer.send(SINGLES.name, bytes(value), key=key, headers=headers)
                count += 1
        producer.flush()
        producer.close()
        return count

    def accepted(self) -> int:
        with psycopg.connect(self.engine.admin_conninfo()) as connection:
            (count,) = connection.execute("SELECT coalesce(sum(accepted), 0) FROM batches").fetchone() or (0,)
        return int(count)

    def drain(self, workers: int, readings: int) -> tuple[float, float]:
        """Let workers commit what waits: readings by second of their processor time, and of the clock."""
        before = self.accepted()
        made = [
            Worker(self.access(), self.cluster.bootstrap, self.folder / f"worker-{time.time_ns()}-{number}")
            for number in range(workers)
        ]
        for one in made:
            one.start()
        try:
            for one in made:
                one.wait_ready()
            # While they start they take in a part, which counts for neither figure.
            began_s, processor_s, begun = time.monotonic(), _processor_s(made), self.accepted()
            deadline_s = began_s + DRAIN_S_MAX
            while self.accepted() - before < readings:
                if time.monotonic() > deadline_s:
                    raise TimeoutError(f"{self.accepted() - before} of {readings} readings were committed")
                time.sleep(0.05)
            taken = readings - (begun - before)
            return taken / (_processor_s(made) - processor_s), taken / (time.monotonic() - began_s)
        finally:
            for one in made:
                one.stop()


class _Named(msgspec.Struct):
    pack: str


TENANT = "benchmark"


def _processor_s(workers: list[Worker]) -> float:
    total = 0.0
    for one in workers:
        assert one.process is not None
        times = psutil.Process(one.process.pid).cpu_times()
        total += times.user + times.system
    return total


@contextmanager
def _field() -> Iterator[Field]:
    with tempfile.TemporaryDirectory(prefix="bpm-topic-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with Cluster(folder / "kafka", long_lived=True, heap_mb=1024) as cluster:
            environment = {
                "BPM_KAFKA": cluster.bootstrap,
                "BPM_KAFKA_PARTITIONS": str(PARTITIONS),
                "BPM_RECEIPT_WAIT_S": "0.001",
                "BPM_BEHIND_MESSAGES_MAX": "1000000000",
            }
            with served_engine(environment) as engine:
                token = engine.tenant_token(TENANT)
                now_ms = time.time_ns() // 1_000_000
                yield Field(cluster, engine, token, folder, now_ms - _BACK_MS)


def _peer(field: Field, system: System, form: Form, readings: int) -> tuple[float, float]:
    """The same figures of another that takes the messages from the topic's begin."""
    python = QUIXSTREAMS_PYTHON if system is System.QUIXSTREAMS else Path(sys.executable)
    topic = READINGS.name if form is Form.ARROW else SINGLES.name
    with psycopg.connect(field.engine.admin_conninfo()) as connection:
        row = connection.execute("SELECT tenant_id FROM tenants WHERE name = %s", (TENANT,)).fetchone()
    assert row is not None
    ran = subprocess.run(
        [str(python), "-m", "benchmarks.topic_peers", system, form, field.cluster.bootstrap, topic,
         field.engine.admin_conninfo(), str(row[0]), str(readings)],
        check=False, capture_output=True, text=True, env=os.environ.copy(), timeout=DRAIN_S_MAX,
    )  # fmt: skip
    lines = [line for line in ran.stdout.splitlines() if line.startswith("{")]
    if not lines:
        raise RuntimeError(ran.stderr[-3000:])
    told = json.loads(lines[-1])
    return told["readings"] / told["processor_s"], told["readings"] / told["wall_s"]


def _server_copy(field: Field, bodies: int) -> float:
    """Readings by second when the server copies the same rows from a file of its own."""
    with psycopg.connect(field.engine.admin_conninfo(), autocommit=True) as connection:
        rows = connection.execute("SELECT external_id, pack_id, tenant_id FROM packs").fetchall()
        numbers = {name: number for name, number, _ in rows}
        fleet = Registered(rows[0][2], np.array([numbers[pack_name(at)] for at in range(PACKS)], np.int32))
        made = [copy_rows(field.fresh(), fleet, -1_000_000 - at) for at in range(bodies)]
        path = write_server_file(field.engine.data_dir, "rows", memoryview(b"".join(made)))
        began_s = time.monotonic()
        copy_from_server_file(connection, path)
        return bodies * PACKS * READINGS_PER_PACK / (time.monotonic() - began_s)


def measure(*, quick: bool) -> list[Report]:
    """Tables of processor time and of the clock."""
    rounds, bodies, singles = (1, 20, 4) if quick else (3, 200, 20)
    processor: dict[str, list[float]] = {}
    clock: dict[str, list[float]] = {}

    def note(name: str, figures: tuple[float, float]) -> None:
        processor.setdefault(name, []).append(figures[0])
        clock.setdefault(name, []).append(figures[1])

    with _field() as field:
        first = field.post(bodies)
        note("Arrow, 1 worker", field.drain(1, first))
        first_singles = field.publish(singles)
        note("JSON singles, 1 worker", field.drain(1, first_singles))
        for _ in range(rounds - 1):
            note("Arrow, 1 worker", field.drain(1, field.post(bodies)))
            note("JSON singles, 1 worker", field.drain(1, field.publish(singles)))
        for _ in range(rounds):
            note("Arrow, 2 workers", field.drain(2, field.post(bodies)))
            note("JSON singles, 2 workers", field.drain(2, field.publish(singles)))
            for name, (system, form) in PEERS.items():
                note(name, _peer(field, system, form, first if form is Form.ARROW else first_singles))
            clock.setdefault("server COPY", []).append(_server_copy(field, bodies))
    facts = (
        f"{first:,} readings of {PACKS} packs in Arrow, {first_singles:,} as JSON singles, in a round.",
        "Broker, database, API and consumers share the machine's cores.",
        "The others keep no identity, no windows, no rules, no receipts; they commit a position with their rows.",
        "A worker takes singles twice: it gathers and sends them on, and commits them.",
    )
    arrow, singles_ = ([name for name, (_, form) in PEERS.items() if form is one] for one in Form)

    def of(form: str, figures: dict[str, list[float]]) -> dict[str, Samples]:
        return {name: Samples(name, found) for name, found in figures.items() if name.startswith(form)}

    durable = of("Arrow", clock) | of("server", clock)
    unit = "readings/s"
    return [
        Report(
            "Batches, by the consumers' processor time", unit, compare(of("Arrow", processor), arrow), facts
        ),
        Report("Singles, by the consumers' processor time", unit, compare(of("JSON", processor), singles_)),
        Report("Batches, by the clock", unit, compare(durable, ("server COPY",))),
        Report("Singles, by the clock", unit, compare(of("JSON", clock), singles_)),
    ]
