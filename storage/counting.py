"""The store of counting (rules E13 and E14): quarter-hours counted from readings, one transaction a step."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import psycopg
from psycopg.rows import dict_row

from aggregations.groups import Notes
from aggregations.quarters import QUARTER, Columns, Records, count_windows
from domain.clock import from_ms
from domain.readings import BoolArray, Int32Array, Int64Array
from domain.windows import QUARTER_MS
from kernels import pgcopy
from kernels.holders import find_tenures
from kernels.scaling import thousandths_of
from storage.connections import connect
from storage.database import adapt_columns, float4s_from, int4s, int4s_from, query, times, times_from
from storage.folding import drop_days, fold_once, note_closed_days
from storage.group import COPY_CHUNK_BYTES
from storage.partition_queries import PartitionQueries

_TRIES_MAX: Final = 20

_ROW: Final = np.dtype(
    [("columns", ">i2")]
    + [
        field
        for name, kind in (
            ("tenant", ">i4"),
            ("pack", ">i4"),
            ("tenure", ">i4"),
            ("starts", ">i8"),
            ("record", QUARTER),
        )
        for field in ((f"{name}_bytes", ">i4"), (name, kind))
    ]
)
"""A row of `quarters` in PostgreSQL's binary COPY format."""


class _MonthMissingError(Exception):
    """Quarters of months without a partition are to be stored."""

    def __init__(self, months: set[str]) -> None:
        super().__init__(months)
        self.months = months


@dataclass(frozen=True, slots=True, eq=False)
class Tenures:
    """Tenures in order of (pack, from), t of them.

    tenant, pack, number int32[t]; from_ms, to_ms int64[t], beyond all times where there is no bound.
    """

    tenant: Int32Array
    pack: Int32Array
    from_ms: Int64Array
    to_ms: Int64Array
    number: Int32Array


@dataclass(frozen=True, slots=True)
class CountingLimits:
    """notes_max: quarter-hours counted again in one transaction. packs_max: packs whose readings are read at once."""

    notes_max: int
    packs_max: int


class CountingStore:
    """One connection that counts a partition's quarter-hours.

    Not thread-safe: it belongs to the counter's thread.
    """

    def __init__(self, conninfo: str, partition_no: int, limits: CountingLimits) -> None:
        self._conninfo = conninfo
        self._partition_no = partition_no
        self._limits = limits
        self._queries: PartitionQueries | None = None
        self._months: set[str] = set()
        self._is_counter = False

    def close(self) -> None:
        """Let go of the connection, and with it of anything uncommitted."""
        if self._queries is not None:
            self._queries.connection.close()
            self._queries = None
            self._is_counter = False

    def count_once(
        self,
        before_commit: Callable[[], None] = lambda: None,
        after_commit: Callable[[], None] = lambda: None,
    ) -> bool:
        """Count the next closed quarter-hour, or the next noted ones, or fold days; whether there was anything.

        Nothing is done while another process counts this partition.
        before_commit and after_commit are called where there was. Raises psycopg.Error when the database is away. A
        step that meets another writer's starts again.
        """
        queries = self._connected()
        if not self._is_counter:
            self._is_counter = queries.one("windows.try_counter_lock")["pg_try_advisory_lock"]
        if not self._is_counter:
            return False
        for left in reversed(range(_TRIES_MAX)):
            try:
                with _snapshot(queries.connection):
                    did = self._step(queries)
                    if did:
                        before_commit()
            except _MonthMissingError as missing:
                self._make_months(queries, missing.months)
            except (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected):
                if left == 0:
                    raise
            else:
                if did:
                    after_commit()
                return did
        return True

    def _connected(self) -> PartitionQueries:
        if self._queries is None:
            connection = connect(self._conninfo, autocommit=True, row_factory=dict_row)
            adapt_columns(connection)
            connection.prepare_threshold = None
            self._queries = PartitionQueries(connection, self._partition_no)
            self._months = {row["month"] for row in self._queries.rows("windows.months")}
        return self._queries

    def _make_months(self, queries: PartitionQueries, months: set[str]) -> None:
        for month in sorted(months):
            starts = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
            queries.rows("windows.make_month", {"month": starts})
            self._months.add(month)

    def _step(self, queries: PartitionQueries) -> bool:
        marks = queries.rows("windows.marks")
        if not marks:
            return False
        (found,) = marks
        gap_ms, counted_before_ms = found["gap_s_max"] * 1000, found["counted_before_ms"]
        if counted_before_ms < found["closed_before_ms"]:
            self._count_closed(queries, counted_before_ms, gap_ms, found["last_pack"])
            return True
        parameters = {"counted_before": from_ms(counted_before_ms), "limit": self._limits.notes_max}
        pack, starts_ms = queries.columns("windows.notes", parameters)
        if pack is not None:
            self._count_noted(queries, pack, starts_ms, gap_ms)
            return True
        return fold_once(queries, counted_before_ms)

    def _count_closed(self, queries: PartitionQueries, starts_ms: int, gap_ms: int, last_pack: int) -> None:
        """Count a quarter-hour that was never counted, and move the mark behind it."""
        bounds_ms = np.array([starts_ms, starts_ms + QUARTER_MS], np.int64)
        for first in range(0, last_pack + 1, self._limits.packs_max):
            span = {
                "from": from_ms(starts_ms - gap_ms),
                "to": from_ms(starts_ms + QUARTER_MS + gap_ms),
                "first_pack": first,
                "behind_pack": first + self._limits.packs_max,
            }
            readings = queries.columns("windows.readings_between", span)
            if readings[0] is None:
                continue
            tenures = Tenures(*queries.columns("windows.tenures_between", span))
            self._store(queries, tenures, counted_of(_unpacked(readings), tenures, bounds_ms, gap_ms))
        queries.rows(
            "windows.delete_notes_of_span",
            {"from": from_ms(starts_ms), "to": from_ms(starts_ms + QUARTER_MS)},
        )
        moved = queries.rows("windows.move_mark", {"counted_before": from_ms(starts_ms + QUARTER_MS)})
        if not moved:
            raise psycopg.errors.SerializationFailure("the mark is not where the snapshot saw it")
        note_closed_days(queries, starts_ms, starts_ms + QUARTER_MS)

    def _count_noted(
        self, queries: PartitionQueries, pack: Int32Array, starts_ms: Int64Array, gap_ms: int
    ) -> None:
        """Count quarter-hours again, given in order of (pack, start); what has no readings any more goes."""
        spans = merged_spans(pack, starts_ms - gap_ms, starts_ms + QUARTER_MS + gap_ms)
        readings = queries.columns(
            "windows.readings_of_spans",
            {
                "pack": int4s(spans[0]),
                "starts": times(spans[1]),
                "ends": times(spans[2]),
                "from": from_ms(int(spans[1].min())),
                "to": from_ms(int(spans[2].max())),
            },
        )
        tenures = Tenures(*queries.columns("windows.tenures_of", {"packs": int4s(np.unique(pack))}))
        noted = {"pack": int4s(pack), "starts": times(starts_ms)}
        settled = _Settled.of(queries, noted)
        bounds = {"from": from_ms(int(starts_ms.min())), "to": from_ms(int(starts_ms.max()))}
        queries.rows("windows.delete_quarters", noted | bounds | settled.parameters())
        if readings[0] is not None and tenures.pack is not None:
            bounds_ms = np.unique(np.concatenate([starts_ms, starts_ms + QUARTER_MS]))
            found = counted_of(_unpacked(readings), tenures, bounds_ms, gap_ms)
            # Only noted ones: the neighbours' readings, and stretches between, were read in part.
            found = found.of(Notes(pack, starts_ms).among(tenures.pack[found.series], found.starts_ms))
            self._store(queries, tenures, found.of(~settled.among(tenures, found)))
        drop_days(
            queries,
            pack,
            starts_ms,
            tenures.pack,
            tenures.from_ms,
            tenures.to_ms,
            tenures.number,
            tenures.tenant,
        )
        queries.rows("windows.delete_notes", noted)

    def _store(self, queries: PartitionQueries, tenures: Tenures, found: Records) -> None:
        if len(found) == 0:
            return
        missing = {
            str(month)
            for month in np.unique(found.starts_ms.astype("datetime64[ms]").astype("datetime64[M]"))
        } - self._months
        if missing:
            raise _MonthMissingError(missing)
        rows = memoryview(_copy_rows(tenures, found)).cast("B")
        with queries.connection.cursor().copy(query("windows.copy_quarters")) as copy:
            copy.write(pgcopy.HEADER)
            for start in range(0, len(rows), COPY_CHUNK_BYTES):
                copy.write(rows[start : start + COPY_CHUNK_BYTES])
            copy.write(pgcopy.TRAILER)


@dataclass(frozen=True, slots=True, eq=False)
class _Settled:
    """Quarter-hours of tenants whose readings of then may be gone, k of them: they stay as they were counted.

    tenant int32[k], pack int32[k], starts_ms int64[k].
    """

    tenant: Int32Array
    pack: Int32Array
    starts_ms: Int64Array

    @classmethod
    def of(cls, queries: PartitionQueries, noted: dict[str, Any]) -> "_Settled":
        """Those among noted ones."""
        tenant, pack, starts_ms = queries.columns("windows.settled_for_good", noted)
        if tenant is None:
            return cls(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.int64))
        return cls(tenant, pack, starts_ms)

    def parameters(self) -> dict[str, Any]:
        return {
            "kept_tenant": int4s(self.tenant),
            "kept_pack": int4s(self.pack),
            "kept_starts": times(self.starts_ms),
        }

    def among(self, tenures: Tenures, found: Records) -> BoolArray:
        """bool[n]: which of n records, by the positions of their tenures, are these."""
        if len(self.tenant) == 0:
            return np.zeros(len(found), np.bool_)
        given = zip(
            tenures.tenant[found.series].tolist(),
            tenures.pack[found.series].tolist(),
            found.starts_ms.tolist(),
            strict=True,
        )
        kept = set(zip(self.tenant.tolist(), self.pack.tolist(), self.starts_ms.tolist(), strict=True))
        return np.fromiter((one in kept for one in given), np.bool_, len(found))


@contextmanager
def _snapshot(connection: psycopg.Connection[Any]) -> Iterator[None]:
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        yield


def _unpacked(packed: Sequence[bytes]) -> tuple[Any, ...]:
    tenant, pack, ts, *values = packed
    return int4s_from(tenant), int4s_from(pack), times_from(ts), *float4s_from(values)


def counted_of(readings: Sequence[Any], tenures: Tenures, bounds_ms: Int64Array, gap_ms: int) -> Records:
    """Records by the position of their tenure; readings of nobody's tenure are left out.

    readings: columns tenant int32[n], pack int32[n], ts_ms int64[n], and float32[n] of each measure.
    """
    tenant, pack, ts_ms, *values = readings
    holder = np.empty(len(pack), np.int32)
    if tenures.pack is None:
        holder[:] = -1
    else:
        find_tenures(
            tenant, pack, ts_ms, tenures.tenant, tenures.pack, tenures.from_ms, tenures.to_ms, holder
        )
    thousandths = thousandths_of(np.stack(values))
    if (holder < 0).any():
        held = holder >= 0
        holder, ts_ms, thousandths = holder[held], ts_ms[held], thousandths[:, held]
    return count_windows(Columns(holder, ts_ms, thousandths), bounds_ms, gap_ms)


def merged_spans(
    pack: Int32Array, starts_ms: Int64Array, ends_ms: Int64Array
) -> tuple[Int32Array, Int64Array, Int64Array]:
    """Spans of each pack with those that overlap or touch put together; given in order of (pack, start).

    pack int32[n], starts_ms and ends_ms int64[n].
    """
    begins = np.ones(len(pack), np.bool_)
    begins[1:] = (pack[1:] != pack[:-1]) | (starts_ms[1:] > ends_ms[:-1])
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(pack)) - 1
    return pack[first], starts_ms[first], ends_ms[last]


def _copy_rows(tenures: Tenures, found: Records) -> Any:
    rows = np.empty(len(found), _ROW)
    rows["columns"] = 5
    columns = {
        "tenant": tenures.tenant[found.series],
        "pack": tenures.pack[found.series],
        "tenure": tenures.number[found.series],
        "starts": (found.starts_ms - pgcopy.EPOCH_2000_MS) * 1000,
        "record": found.records,
    }
    for name, column in columns.items():
        rows[f"{name}_bytes"] = _ROW[name].itemsize
        rows[name] = column
    return rows.view(np.uint8)
