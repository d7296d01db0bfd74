"""What workers are compared with: others that take the same messages into the same table, each in a process of its own.

Run as `python -m benchmarks.topic_peers SYSTEM FORM BOOTSTRAP TOPIC CONNINFO TENANT READINGS`; prints seconds as JSON,
of the clock and of the processor, from the first message on.
"""

import asyncio
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any

import msgspec
import numpy as np
import psycopg
import pyarrow as pa
from kafka import KafkaConsumer

from benchmarks.copying import copy_binary
from domain.measures import MEASURE_NAMES, THOUSANDTHS_PER_UNIT
from ingest.bodies.native import read_json
from ingest.columns import BodyLimits
from kernels import pgcopy

_LIMITS = BodyLimits(200_000, 20, 200)
_MESSAGES_OF_A_COPY = 1_000


class System(StrEnum):
    """Who reads the topic."""

    CONSUMER = "consumer"
    FAUST = "faust"
    QUIXSTREAMS = "quixstreams"
    BYTEWAX = "bytewax"


class Form(StrEnum):
    """What a message is: a batch, or a reading."""

    ARROW = "arrow"
    JSON = "json"


class Writer:
    """Copies rows into the table of readings, and moves a position, in one transaction."""

    def __init__(self, conninfo: str, tenant: int, wanted: int) -> None:
        self._connection = psycopg.connect(conninfo, autocommit=True, options="-c search_path=bpm")
        names = self._connection.execute(
            "SELECT external_id, pack_id FROM packs WHERE tenant_id = %s", (tenant,)
        )
        self.numbers = dict(names.fetchall())
        self._connection.execute("CREATE TEMPORARY TABLE peer_position (at bigint)")
        self._tenant = tenant
        self._wanted = wanted
        self.written = 0
        self._batch_no = -1
        self._began: tuple[float, float] | None = None

    def begin(self) -> None:
        """Of the first message."""
        if self._began is None:
            self._began = time.monotonic(), time.process_time()

    def write(self, pack: Any, ts_ms: Any, thousandths: Any) -> None:
        """Rows: int32[n], int64[n] and int32[measures, n]."""
        rows = pgcopy.encode_rows(
            np.full(len(pack), self._tenant, np.int32),
            np.array(pack, np.int32),
            np.array(ts_ms, np.int64),
            np.full(len(pack), self._batch_no, np.int64),
            np.arange(len(pack), dtype=np.int32),
            (thousandths / THOUSANDTHS_PER_UNIT).astype(np.float32),
        )
        with self._connection.transaction():
            copy_binary(self._connection, rows.data)
            self._connection.execute("UPDATE peer_position SET at = %s", (self.written,))
        self._batch_no -= 1
        self.written += len(pack)

    def would_end_with(self, readings: int) -> bool:
        return self.written + readings >= self._wanted

    def take(self, values: Sequence[bytes], form: Form) -> None:
        """Copy messages; ends the process with the last of them."""
        self.begin()
        _COPY[form](values, self)
        if self.written >= self._wanted:
            self._tell()
            # What reads the topic would go on waiting for more of it.
            os._exit(0)

    def _tell(self) -> None:
        assert self._began is not None
        wall_s, processor_s = self._began
        print(
            json.dumps(
                {
                    "wall_s": time.monotonic() - wall_s,
                    "processor_s": time.process_time() - processor_s,
                    "readings": self.written,
                }
            ),
            flush=True,
        )


def _copy_batches(values: Sequence[bytes], writer: Writer) -> None:
    for value in values:
        rows = pa.ipc.open_stream(io.BytesIO(value)).read_all().combine_chunks()
        columns = {name: rows.column(name).to_numpy() for name in ("pack", "ts_ms", *MEASURE_NAMES)}
        measures = np.stack([columns[name] for name in MEASURE_NAMES])
        writer.write(columns["pack"], columns["ts_ms"], measures)


def _copy_singles(values: Sequence[bytes], writer: Writer) -> None:
    raw = read_json(b"[" + b",".join(values) + b"]", _LIMITS)
    packs = np.array([writer.numbers[name] for name in raw.pack_names], np.int32)[raw.pack_code]
    thousandths = np.stack([np.rint(column * THOUSANDTHS_PER_UNIT).astype(np.int32) for column in raw.values])
    writer.write(packs, raw.ts_ms, thousandths)


_COPY: dict[Form, Callable[[Sequence[bytes], Writer], None]] = {
    Form.ARROW: _copy_batches,
    Form.JSON: _copy_singles,
}


def plain_consumer(bootstrap: str, topic: str, form: Form, writer: Writer) -> None:
    """A client without more: as many messages as came are decoded together, and copied."""
    consumer = KafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", group_id=None)
    while True:
        polled = consumer.poll(timeout_ms=1000, max_records=_MESSAGES_OF_A_COPY)
        values = [message.value for messages in polled.values() for message in messages]
        if values:
            writer.take(values, form)


def faust_per_event(bootstrap: str, topic: str, form: Form, writer: Writer) -> None:
    """Faust as its tutorial has it: an event at a time, decoded, and written a thousand at a time."""
    import faust

    if form is not Form.JSON:
        raise ValueError("event by event is for single readings")
    app = faust.App(
        f"peer-{time.time_ns()}",
        broker=f"kafka://{bootstrap}",
        store="memory://",
        datadir=tempfile.mkdtemp(prefix="bpm-peer-"),
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        reply_create_topic=False,
        consumer_auto_offset_reset="earliest",
        table_standby_replicas=0,
    )
    decoder = msgspec.json.Decoder()
    values: list[bytes] = []

    @app.agent(app.topic(topic, value_serializer="raw", key_serializer="raw"))
    async def take(stream: Any) -> None:
        async for value in stream:
            writer.begin()
            decoder.decode(value)
            values.append(value)
            if len(values) >= _MESSAGES_OF_A_COPY or writer.would_end_with(len(values)):
                await asyncio.to_thread(writer.take, list(values), form)
                values.clear()

    faust.Worker(app, loglevel="ERROR", redirect_stdouts=False).execute_from_commandline()


def quixstreams(bootstrap: str, topic: str, form: Form, writer: Writer) -> None:
    """quixstreams with a sink of its own kind, flushed with each checkpoint of a thousand messages."""
    from quixstreams import Application
    from quixstreams.sinks import BatchingSink, SinkBatch

    class Copying(BatchingSink):
        def write(self, batch: SinkBatch) -> None:
            writer.take([item.value for item in batch], form)

    app = Application(
        broker_address=bootstrap,
        consumer_group=f"peer-{time.time_ns()}",
        auto_offset_reset="earliest",
        commit_every=_MESSAGES_OF_A_COPY,
        commit_interval=0.2,
        state_dir=tempfile.mkdtemp(prefix="bpm-peer-"),
        auto_create_topics=False,
        loglevel="ERROR",
    )

    def seen(value: bytes) -> bytes:
        writer.begin()
        return value

    messages = app.topic(topic, value_deserializer="bytes", key_deserializer="bytes")
    app.dataframe(messages).apply(seen).sink(Copying())
    app.run()


def bytewax(bootstrap: str, topic: str, form: Form, writer: Writer) -> None:
    """bytewax with its source of Kafka, a thousand messages at a time, and a sink that copies them."""
    import bytewax.operators as op
    from bytewax.connectors.kafka import KafkaSource
    from bytewax.dataflow import Dataflow
    from bytewax.outputs import DynamicSink, StatelessSinkPartition
    from bytewax.run import cli_main

    class Part(StatelessSinkPartition[bytes]):
        def write_batch(self, items: list[bytes]) -> None:
            writer.take(items, form)

    class Copying(DynamicSink[bytes]):
        def build(self, _step_id: str, _worker_index: int, _worker_count: int) -> Part:
            return Part()

    flow = Dataflow("peer")
    messages = op.input("in", flow, KafkaSource([bootstrap], [topic], batch_size=_MESSAGES_OF_A_COPY))
    op.output("out", op.map("value", messages, lambda message: message.value), Copying())
    cli_main(flow)


_READ: dict[System, Callable[[str, str, Form, Writer], None]] = {
    System.CONSUMER: plain_consumer,
    System.FAUST: faust_per_event,
    System.QUIXSTREAMS: quixstreams,
    System.BYTEWAX: bytewax,
}


def main(
    system: str, form: str, bootstrap: str, topic: str, conninfo: str, tenant: int, readings: int
) -> None:
    """Take readings until there are so many; never returns."""
    _READ[System(system)](bootstrap, topic, Form(form), Writer(conninfo, tenant, readings))


if __name__ == "__main__":
    main(*sys.argv[1:6], int(sys.argv[6]), int(sys.argv[7]))
