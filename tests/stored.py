"""Readings put straight into the store, for tests of what follows from them, and a naive recount of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import psycopg
from psycopg.rows import tuple_row

from aggregations.quarters import MEASURE_FIELDS, records_from_bytes
from api.database_access import DatabaseAccess
from api.settings import Settings
from domain.clock import from_ms, to_ms
from domain.measures import MEASURE_INDEX, MEASURE_NAMES
from domain.windows import QUARTER_MS
from storage.counting import CountingLimits, CountingStore
from storage.database import INGEST_ROLE
from storage.days import STANDARD_CLASS, class_table
from storage.partition import PartitionStore
from tests.kernels import naive_rollup

GAP_MS = 300_000
Row = tuple[int, int, list[float | None]]
"""Pack, milliseconds, a value or None for each measure."""


@dataclass
class Stored:
    """A database whose readings a test writes itself, as the writer would: with notes behind the closing mark."""

    access: DatabaseAccess

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(
            self.access.admin,
            autocommit=True,
            row_factory=tuple_row,
            options="-c search_path=bpm -c timezone=UTC",
        )

    def counting(self, *, notes_max: int = 1000, packs_max: int = 1000) -> CountingStore:
        limits = CountingLimits(notes_max, packs_max)
        return CountingStore(self.access.as_role(INGEST_ROLE, Settings()), 0, limits)

    def prepare(self, closed_before: datetime) -> None:
        """The partition and its marks, both at one moment."""
        store = PartitionStore(self.access.as_role(INGEST_ROLE, Settings()), 0)
        store.take_over()
        store.close()
        with self.connect() as connection:
            connection.execute("UPDATE partitions SET closed_before = %s", (closed_before,))
            connection.execute("UPDATE window_marks SET counted_before = %s", (closed_before,))

    def tenant(self, name: str, class_no: int = STANDARD_CLASS) -> int:
        statement = "INSERT INTO tenants (name, retention_class) VALUES (%s, %s) RETURNING tenant_id"
        return int(self.value(statement, name, class_no))

    def table(self, tenant: int) -> str:
        """The table with the readings of the tenant's class."""
        return class_table(self.value("SELECT retention_class FROM tenants WHERE tenant_id = %s", tenant))

    def pack(self, tenant: int, name: str, site: str | None = None, held_from: str = "-infinity") -> int:
        pack = self.value(
            "INSERT INTO packs (tenant_id, external_id) VALUES (%s, %s) RETURNING pack_id", tenant, name
        )
        self.tenure(tenant, pack, site, held_from, "infinity")
        return int(pack)

    def site(self, tenant: int, name: str, zone: str) -> str:
        return str(
            self.value(
                "INSERT INTO sites (tenant_id, name, zone) VALUES (%s, %s, %s) RETURNING id",
                tenant,
                name,
                zone,
            )
        )

    def tenure(self, tenant: int, pack: int, site: str | None, held_from: str, held_to: str) -> int:
        return int(
            self.value(
                "INSERT INTO tenures (tenant_id, pack_id, site_id, held_from, held_to) VALUES (%s, %s, %s, %s, %s)"
                " RETURNING tenure_no",
                tenant, pack, site, held_from, held_to,
            )
        )  # fmt: skip

    def value(self, statement: str, *parameters: Any) -> Any:
        with self.connect() as connection:
            row = connection.execute(statement.encode(), parameters).fetchone()
        assert row is not None
        return row[0]

    def rows(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with self.connect() as connection:
            return connection.execute(statement.encode(), parameters).fetchall()

    def run(self, statement: str, *parameters: Any) -> None:
        with self.connect() as connection:
            connection.execute(statement.encode(), parameters)

    def insert(self, tenant: int, rows: Sequence[Row], *, batch_no: int = 1) -> None:
        """Readings, with the notes of E15, in one transaction."""
        self._make_partitions(tenant, [ts_ms for _, ts_ms, _ in rows])
        names = ", ".join(MEASURE_NAMES)
        with self.connect() as connection, connection.transaction(), connection.cursor() as cursor:
            with cursor.copy(
                f"COPY {self.table(tenant)} (tenant_id, pack_id, ts, batch_no, {names}) FROM STDIN".encode()
            ) as copy:
                for pack, ts_ms, values in rows:
                    copy.write_row((tenant, pack, from_ms(ts_ms), batch_no, *values))
            self._note(cursor, tenant, [(pack, ts_ms) for pack, ts_ms, _ in rows], batch_no)

    def delete(self, tenant: int, pack: int, ts_ms: int, *, batch_no: int = 2) -> None:
        with self.connect() as connection, connection.transaction(), connection.cursor() as cursor:
            statement = f"DELETE FROM {self.table(tenant)} WHERE pack_id = %s AND ts = %s"
            cursor.execute(statement.encode(), (pack, from_ms(ts_ms)))
            self._note(cursor, tenant, [(pack, ts_ms)], batch_no)

    def _note(
        self, cursor: psycopg.Cursor[Any], tenant: int, keys: Sequence[tuple[int, int]], batch_no: int
    ) -> None:
        row = cursor.execute("SELECT closed_before FROM partitions WHERE partition_no = 0").fetchone()
        assert row is not None
        closed_before_ms = to_ms(row[0])
        notes = {
            (pack, moment - moment % QUARTER_MS)
            for pack, ts_ms in keys
            for moment in (ts_ms - GAP_MS, ts_ms, ts_ms + GAP_MS)
            if moment - moment % QUARTER_MS < closed_before_ms
        }
        cursor.executemany(
            "INSERT INTO window_notes VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
            [(tenant, pack, from_ms(starts), batch_no) for pack, starts in sorted(notes)],
        )

    def _make_partitions(self, tenant: int, times_ms: Sequence[int]) -> None:
        store = PartitionStore(self.access.as_role(INGEST_ROLE, Settings()), 0)
        store.take_over()
        store.prepare_days(np.full(len(times_ms), tenant, np.int32), np.array(times_ms, np.int64))
        store.close()

    def close_before(self, moment: datetime) -> None:
        self.run("UPDATE partitions SET closed_before = greatest(closed_before, %s)", moment)

    def count_all(self, **limits: int) -> int:
        """Count until nothing is left; gives the number of steps."""
        store = self.counting(**limits)
        steps = 0
        while store.count_once():
            steps += 1
            assert steps < 10_000
        store.close()
        return steps

    def quarters(self) -> dict[tuple[int, int], bytes]:
        """Stored records by (tenure, start)."""
        found = self.rows("SELECT tenure_no, starts, record FROM quarters")
        return {(tenure, to_ms(starts)): record for tenure, starts, record in found}

    def assert_quarters_equal_a_recount(self) -> None:
        """Every stored quarter-hour below the mark equals the naive recount, and none is missing; for no notes left."""
        with self.connect() as connection:
            assert stored_quarters(connection) == recounted_quarters(connection)


def stored_quarters(connection: psycopg.Connection[Any]) -> dict[tuple[int, int], dict[str, Any]]:
    """Stored records by (tenure, start), as the naive twin gives them."""
    found = connection.execute("SELECT tenure_no, starts, record FROM quarters").fetchall()
    return {(tenure, to_ms(starts)): plain(record) for tenure, starts, record in found}


def recounted_quarters(connection: psycopg.Connection[Any]) -> dict[tuple[int, int], dict[str, Any]]:
    """What should be stored: a recount of all readings, of the quarter-hours below the mark."""
    (counted_before,) = connection.execute("SELECT min(counted_before) FROM window_marks").fetchone() or (
        None,
    )
    assert counted_before is not None
    names = ", ".join(f"round((readings.{name} * 1000.0::float8))::int" for name in MEASURE_NAMES)
    rows = connection.execute(
        f"SELECT tenure_no, ts, {names} FROM readings JOIN tenures USING (tenant_id, pack_id)"
        " WHERE held_from <= ts AND ts < held_to".encode()
    ).fetchall()
    given = [(tenure, to_ms(ts), list(values)) for tenure, ts, *values in rows]
    expected: dict[tuple[int, int], dict[str, Any]] = {}
    for tenure in {row[0] for row in given}:
        own = [row for row in given if row[0] == tenure]
        starts = sorted({ts_ms - ts_ms % QUARTER_MS for _, ts_ms, _ in own})
        bounds = sorted({*starts, *(start + QUARTER_MS for start in starts)})
        found = naive_rollup.rollup(
            own, bounds, GAP_MS, len(MEASURE_NAMES), MEASURE_INDEX["voltage_v"], MEASURE_INDEX["current_a"]
        )
        expected |= {(tenure, bounds[window]): record for (_, window), record in found.items()}
    return {key: record for key, record in expected.items() if key[1] < to_ms(counted_before)}


def plain(packed: bytes) -> dict[str, Any]:
    """A stored record as the naive twin gives it."""
    (record,) = records_from_bytes(packed)
    measures = []
    for name in MEASURE_NAMES:
        part = {field: int(record[name][field]) for field, _ in MEASURE_FIELDS}
        part["squares"], part["area"] = part.pop("sum_of_squares"), part.pop("twice_area")
        if part["count"] == 0:
            for field in ("minimum", "maximum", "first", "last", "first_ms", "last_ms"):
                part.pop(field)
        measures.append(part)
    others = (
        "charged",
        "discharged",
        "charged_energy",
        "discharged_energy",
        "covered_ms",
        "energy_covered_ms",
    )
    return {"measures": measures} | {name: int(record[name]) for name in others}


def moment(text: str) -> int:
    """Milliseconds of RFC 3339 text."""
    return to_ms(datetime.fromisoformat(text).astimezone(UTC))


def full_row(random: np.random.Generator, pack: int, ts_ms: int) -> Row:
    """A reading with some of the measures."""
    values: list[float | None] = [
        round(float(random.uniform(low, high)), 3) if random.random() < 0.8 else None
        for low, high in ((0, 100), (60, 110), (-20, 60), (300, 400), (-200, 200), (3, 4), (3, 4))
    ]
    if all(value is None for value in values):
        values[3] = 350.0
    return pack, ts_ms, values


def some_rows(seed: int, pack: int, starts: datetime, count: int, seconds: float) -> list[Row]:
    """Readings about `seconds` apart, with a gap now and then."""
    random = np.random.default_rng(seed)
    ts_ms, rows = to_ms(starts), []
    for _ in range(count):
        ts_ms += int(random.exponential(seconds) * 1000) + 1
        if random.random() < 0.02:
            ts_ms += int(timedelta(minutes=20) / timedelta(milliseconds=1))
        rows.append(full_row(random, pack, ts_ms))
    return rows
