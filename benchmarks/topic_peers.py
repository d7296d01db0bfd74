"""What workers are compared with: others that take the same messages into the same table, each in a process of its own.

Run as `python -m benchmarks.topic_peers KIND BOOTSTRAP TOPIC CONNINFO TENANT READINGS`; prints seconds as JSON, of the
clock and of the processor, from the first message on.
"""

import asyncio
import io
import json
import os
import sys
import tempfile
import time
from typing import Any

import faust
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
_ROWS_OF_A_COPY = 1_000


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
        self.wanted = wanted
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

    @property
    def is_done(self) -> bool:
        return self.written >= self.wanted

    def tell(self) -> None:
        """Print how long it took."""
        assert self._began is not None
        wall_s, processor_s = self._began
        print(
            json.dumps(
                {
                    "wall_s": time.monotonic() - wall_s,
                    "processor_s": time.process_time() - processor_s,
                    "readings": self.written,
                }
            )
        )


def copy_arrow(consumer: KafkaConsumer, writer: Writer) -> None:
    """Batches as they are in the topic: decoded, and copied."""
    for message in consumer:
        writer.begin()
        rows = pa.ipc.open_stream(io.BytesIO(message.value)).read_all().combine_chunks()
        columns = {name: rows.column(name).to_numpy() for name in ("pack", "ts_ms", *MEASURE_NAMES)}
        measures = np.stack([columns[name] for name in MEASURE_NAMES])
        writer.write(columns["pack"], columns["ts_ms"], measures)
        if writer.is_done:
            return


def copy_json(consumer: KafkaConsumer, writer: Writer) -> None:
    """Singles, as many as came: decoded together, and copied."""
    while not writer.is_done:
        polled = consumer.poll(timeout_ms=1000, max_records=_ROWS_OF_A_COPY)
        values = [message.value for messages in polled.values() for message in messages]
        if values:
            writer.begin()
            _copy_values(values, writer)


def _copy_values(values: list[bytes], writer: Writer) -> None:
    raw = read_json(b"[" + b",".join(values) + b"]", _LIMITS)
    packs = np.array([writer.numbers[name] for name in raw.pack_names], np.int32)[raw.pack_code]
    thousandths = np.stack([np.rint(column * THOUSANDTHS_PER_UNIT).astype(np.int32) for column in raw.values])
    writer.write(packs, raw.ts_ms, thousandths)


def faust_per_event(bootstrap: str, topic: str, writer: Writer) -> None:
    """Faust as its tutorial has it: an event at a time, decoded, and written a thousand at a time."""
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
            if len(values) >= _ROWS_OF_A_COPY or writer.written + len(values) >= writer.wanted:
                await asyncio.to_thread(_copy_values, list(values), writer)
                values.clear()
            if writer.is_done:
                writer.tell()
                sys.stdout.flush()
                # Faust would wait for the agent that this is.
                os._exit(0)

    faust.Worker(app, loglevel="ERROR", redirect_stdouts=False).execute_from_commandline()


def main(kind: str, bootstrap: str, topic: str, conninfo: str, tenant: int, readings: int) -> None:
    writer = Writer(conninfo, tenant, readings)
    if kind == "faust":
        faust_per_event(bootstrap, topic, writer)
        return
    consumer = KafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", group_id=None)
    (copy_arrow if kind == "arrow" else copy_json)(consumer, writer)
    consumer.close()
    writer.tell()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]), int(sys.argv[6]))
