"""The store of one partition, for its only writer (rules E7 to E9, E12)."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg.rows import dict_row, tuple_row

from domain.clock import from_ms, to_ms
from domain.errors import FencedError
from domain.measures import MEASURES
from domain.readings import (
    BatchResult,
    NewReadings,
    Outcome,
    PackStates,
    ReadingKeys,
    StoredReadings,
    to_thousandths,
    to_values,
)
from domain.receipts import Receipt
from domain.tenancy import TenantId
from kernels import pgcopy
from storage.database import adapt_columns, int4s, int8s, query, times
from storage.days import partition_of
from storage.receipts import items_to_json, receipt_of

DAY_MS = 86_400_000
DAYS_AHEAD = 3
COPY_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class CommittedBatch:
    """What is known of a batch that was committed before."""

    body_hash: bytes | None
    receipt: Receipt


class PartitionStore:
    """One connection that holds a partition's writer lock and writes its groups.

    Not thread-safe: it belongs to the writer's thread.
    """

    def __init__(self, conninfo: str, partition_no: int, connect_timeout_s: int) -> None:
        self._conninfo = conninfo
        self._partition_no = partition_no
        self._connect_timeout_s = connect_timeout_s
        self._connection: psycopg.Connection[Any] | None = None
        self._epoch = 0
        self._next = 0
        self._applied_batch_no = 0
        self._last_batch_no = 0
        self._known_partitions: set[str] = set()
        self._first_day = date.max

    def take_over(self) -> None:
        """Become the partition's writer: connect anew, take the writer lock, raise the epoch.

        Raises FencedError when another process holds the lock, psycopg.Error when the database is away.
        """
        self.close()
        connection = psycopg.connect(
            self._conninfo, autocommit=True, row_factory=dict_row, connect_timeout=self._connect_timeout_s
        )
        self._connection = connection
        adapt_columns(connection)
        connection.prepare_threshold = None
        if not self._one("partition.try_writer_lock")["pg_try_advisory_lock"]:
            self.close()
            raise FencedError(f"another process ingests into partition {self._partition_no} of this database")
        taken = self._one("partition.take_over")
        self._epoch, self._next = taken["epoch"], taken["next"]
        self._applied_batch_no, self._last_batch_no = taken["applied_batch_no"], taken["last_batch_no"]
        self._first_day = self._one("readings.first_day")["first_day"]
        self._known_partitions = {row["relname"] for row in self._rows("readings.partition_names")}

    def close(self) -> None:
        """Let go of the connection, and with it of the lock and of anything uncommitted."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def load(self) -> tuple[PackStates, StoredReadings]:
        """The saved state, and the readings committed after it was saved."""
        saved = self._columns("partition.load_state")
        states = (
            PackStates.none() if saved[0] is None else PackStates(saved[0], saved[1], saved[2].T, saved[3].T)
        )
        with self._required().transaction():
            # Without statistics of its newest rows the planner would read whole partitions instead of their BRIN.
            self._required().execute("SET LOCAL enable_seqscan = off")
            later = self._columns("partition.readings_after", {"batch_no": self._applied_batch_no})
        return states, _stored(later)

    def latest_arrival_ms(self) -> int | None:
        """The last `arrived_at` that was given, as milliseconds since 1970; None in a new database."""
        (latest,) = self._one("partition.latest_arrival").values()
        return None if latest is None else to_ms(latest)

    def prepare_days(self, ts_ms: npt.NDArray[np.int64]) -> None:
        """Make the partitions that readings of these times need. Outside of any group."""
        for day in np.unique(ts_ms // DAY_MS):
            self._make_partition(datetime.fromtimestamp(int(day) * DAY_MS // 1000, UTC).date())

    def prepare_days_ahead(self, now_ms: int) -> None:
        """Make the daily partitions up to some days from now."""
        day, last = self._first_day, from_ms(now_ms).date() + timedelta(days=DAYS_AHEAD)
        while day <= last:
            self._make_partition(day)
            day += timedelta(days=1)

    def _make_partition(self, day: date) -> None:
        wanted = partition_of(day, self._first_day)
        if wanted.name in self._known_partitions:
            return
        bounds = {"starts": wanted.starts, "ends": wanted.ends}
        at_midnight = {name: datetime.combine(value, time(), UTC) for name, value in bounds.items()}
        self._rows("readings.make_partition", {"name": wanted.name} | at_midnight)
        self._known_partitions.add(wanted.name)

    @contextmanager
    def group(self) -> Iterator["GroupTransaction"]:
        """One transaction of the owner: locks the row, checks epoch and position; commits when left cleanly.

        Raises FencedError when another owner has taken over.
        """
        with self._required().transaction():
            locked = self._one("partition.lock", {"partition_no": self._partition_no})
            if (locked["epoch"], locked["next"]) != (self._epoch, self._next):
                raise FencedError(f"partition {self._partition_no} has been taken over by another process")
            transaction = GroupTransaction(self)
            yield transaction
        # The position moves in memory only now, after COMMIT was confirmed.
        self._next += transaction.written

    def save_state(self, states: PackStates) -> None:
        """Save packs' states, which hold every reading committed so far."""
        with self._required().transaction():
            locked = self._one("partition.lock", {"partition_no": self._partition_no})
            if locked["epoch"] != self._epoch:
                raise FencedError(f"partition {self._partition_no} has been taken over by another process")
            parameters = {
                "pack": int4s(states.pack),
                "watermark_ms": int8s(states.watermark_ms),
                "latest_ts_ms": int8s(states.latest_ts_ms.T.ravel()),
                "latest": int4s(states.latest.T.ravel()),
                "measures": len(MEASURES),
            }
            self._required().execute(query("partition.save_state"), parameters)
            self._required().execute(
                query("partition.mark_applied"),
                {"batch_no": self._last_batch_no, "partition_no": self._partition_no},
            )
        self._applied_batch_no = self._last_batch_no

    def clock_confirmed_at_ms(self) -> int | None:
        """When the operator last confirmed the wall clock."""
        (moment,) = self._one("partition.clock_confirmed_at").values()
        return None if moment is None else to_ms(moment)

    def _required(self) -> psycopg.Connection[Any]:
        if self._connection is None:
            raise psycopg.OperationalError("not connected")
        return self._connection

    def _rows(self, name: str, parameters: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        given = {"partition_no": self._partition_no} | (parameters or {})
        return self._required().execute(query(name), given).fetchall()

    def _one(self, name: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
        (row,) = self._rows(name, parameters)
        return row

    def _columns(self, name: str, parameters: dict[str, Any] | None = None) -> tuple[Any, ...]:
        """The only row of a query that gathers each column as an array."""
        with self._required().cursor(row_factory=tuple_row) as cursor:
            row = cursor.execute(query(name), parameters, binary=True, prepare=False).fetchone()
        return row or ()


class GroupTransaction:
    """What a group may do inside its transaction."""

    def __init__(self, store: PartitionStore) -> None:
        self._store = store
        self.written = 0

    def registry_versions(self, tenants: Sequence[TenantId]) -> dict[TenantId, int]:
        """The version of each tenant's registry, held still until commit."""
        rows = self._store._rows("partition.registry_versions", {"tenants": list(tenants)})
        return {row["tenant_id"]: row["registry_version"] for row in rows}

    def committed(self, keys: Sequence[tuple[TenantId, UUID]]) -> dict[tuple[TenantId, UUID], CommittedBatch]:
        """Those of the batches that were committed before, with their receipts."""
        if not keys:
            return {}
        parameters = {"tenants": [tenant for tenant, _ in keys], "ids": [batch for _, batch in keys]}
        rows = self._store._rows("batches.find", parameters)
        return {
            (row["tenant_id"], row["id"]): CommittedBatch(row["body_hash"], receipt_of(row)) for row in rows
        }

    def find(self, keys: ReadingKeys) -> StoredReadings:
        """The stored readings with these identities; several rows when measures came one by one."""
        if len(keys) == 0:
            return StoredReadings.none()
        parameters = {
            "pack": int4s(keys.pack),
            "ts": times(keys.ts_ms),
            "from": from_ms(int(keys.ts_ms.min())),
            "to": from_ms(int(keys.ts_ms.max())),
        }
        return _stored(self._store._columns("readings.find", parameters))

    def write(self, outcome: Outcome) -> None:
        """Readings, receipts, what was set aside, and the position."""
        store, results = self._store, outcome.results
        (numbers,) = store._columns("partition.batch_numbers", {"count": len(results)})
        _copy_readings(store._required(), outcome.rows, numbers)
        _insert_batches(store._required(), results, numbers, store._partition_no, store._next)
        _insert_quarantined(store._required(), results)
        advanced = store._required().execute(
            query("partition.advance"),
            {
                "partition_no": store._partition_no,
                "epoch": store._epoch,
                "next": store._next,
                "last_batch_no": int(numbers[-1]),
            },
        )
        if advanced.rowcount != 1:
            raise FencedError(f"partition {store._partition_no} has been taken over by another process")
        store._last_batch_no = int(numbers[-1])
        self.written = 1


def _stored(columns: tuple[Any, ...]) -> StoredReadings:
    pack, ts_ms, *values = columns
    if pack is None:
        return StoredReadings.none()
    return StoredReadings(pack, ts_ms, to_thousandths(np.stack(values)))


def _copy_readings(
    connection: psycopg.Connection[Any], rows: NewReadings, numbers: npt.NDArray[np.int64]
) -> None:
    if len(rows) == 0:
        return
    values = to_values(rows.thousandths).astype(np.float32)
    encoded = pgcopy.encode_rows(rows.tenant, rows.pack, rows.ts_ms, numbers[rows.batch], values).data
    with connection.cursor().copy(query("readings.copy")) as copy:
        copy.write(pgcopy.HEADER)
        for start in range(0, len(encoded), COPY_CHUNK_BYTES):
            copy.write(encoded[start : start + COPY_CHUNK_BYTES])
        copy.write(pgcopy.TRAILER)


def _insert_batches(
    connection: psycopg.Connection[Any],
    results: Sequence[BatchResult],
    numbers: npt.NDArray[np.int64],
    partition_no: int,
    position: int,
) -> None:
    counts = ("received", "accepted", "duplicate", "quarantined", "late", "conflicting", "items_omitted")
    connection.cursor().executemany(
        query("batches.insert"),
        [
            {
                "tenant_id": result.batch.tenant_id,
                "id": result.batch.id,
                "batch_no": int(number),
                "partition_no": partition_no,
                "position": position,
                "mode": result.batch.mode,
                "source": result.batch.source,
                "import_id": result.batch.import_id,
                "subject": result.batch.subject,
                "arrived_at": from_ms(result.batch.arrived_at_ms),
                "body_hash": result.batch.body_hash,
                "items": items_to_json(result.receipt),
                "ignored_keys": list(result.receipt.ignored_keys),
            }
            | {name: getattr(result.receipt, name) for name in counts}
            for result, number in zip(results, numbers, strict=True)
        ],
    )


def _insert_quarantined(connection: psycopg.Connection[Any], results: Sequence[BatchResult]) -> None:
    found: dict[tuple[TenantId, str, bytes, str], dict[str, Any]] = {}
    for result in results:
        batch = result.batch
        for item in result.quarantined:
            digest = hashlib.sha256(item.raw.encode()).digest()
            row = found.setdefault(
                (batch.tenant_id, batch.source, digest, item.reason),
                {
                    "tenant_id": batch.tenant_id,
                    "source": batch.source,
                    "item_hash": digest,
                    "reason": str(item.reason),
                    "field": item.field,
                    "limit_value": None if item.limit is None else str(item.limit),
                    "raw": item.raw,
                    "times": 0,
                    "at": from_ms(batch.arrived_at_ms),
                },
            )
            row["times"] += 1
    if found:
        rows = list(found.values())
        connection.execute(
            query("batches.insert_quarantined"), {name: [row[name] for row in rows] for name in rows[0]}
        )
