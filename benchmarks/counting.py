"""Counting a closed quarter-hour of a large fleet, and short steps of one pack's day, beside reading the rows alone."""

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from psycopg.rows import dict_row

from api.cli.context import SERVICE_LOGIN
from api.database_access import DatabaseAccess, prepare_database
from api.settings import Settings
from benchmarks.copying import copy_binary
from benchmarks.fleet import FleetReadings, Registered, copy_rows, make_readings
from benchmarks.measuring import Contender, alternate, seconds_of
from benchmarks.report import Goal, Report, compare
from domain.clock import to_ms
from domain.measures import MEASURE_NAMES
from domain.tenancy import PARTITION_ZERO, Actor, TenantId
from domain.windows import QUARTER_MS
from storage.counting import CountingLimits, CountingStore
from storage.database import APP_ROLE, INGEST_ROLE, adapt_columns, query
from storage.embedded_postgres import EmbeddedConfig, EmbeddedPostgres
from storage.partition import PartitionStore
from storage.transactions import Transaction
from storage.windows import pack_windows

STEP_MS = 60_000
FLOOR = "COPY of its rows"
_WITH_MARGINS = "COPY of its rows and of both margins"
_COUNT = "count, store and move the mark"
_GROUP_BY = "SQL GROUP BY"
_MARGIN = timedelta(seconds=300)
_CHUNK_PACKS = 10_000
_READINGS_MAX = 1_000_000
_FIGURES = ", ".join(
    f"count({name}), min({name}), max({name}), sum({name}), sum({name} * {name})" for name in MEASURE_NAMES
)


def measure(*, quick: bool) -> list[Report]:
    """Fill a database of its own, then count the same quarter-hour again and again."""
    packs, rounds = (5_000, 2) if quick else (100_000, 5)
    with _database() as access:
        starts = (datetime.now(UTC) - timedelta(hours=3)).replace(minute=0, second=0, microsecond=0)
        fleet = _fill(access, packs, starts)
        return [_counted(access, packs, starts, rounds), _short_steps(access, fleet, starts, rounds)]


@contextmanager
def _database() -> Iterator[DatabaseAccess]:
    with tempfile.TemporaryDirectory(prefix="bpm-benchmark-") as folder:
        Path(folder).chmod(0o755)
        server = EmbeddedPostgres(EmbeddedConfig(data_dir=Path(folder) / "postgres"), lambda _: None)
        connections = server.start()
        try:
            access = DatabaseAccess(connections.admin, connections.service)
            prepare_database(access, SERVICE_LOGIN)
            yield access
        finally:
            server.stop()


def _connect(access: DatabaseAccess, role: str = INGEST_ROLE) -> psycopg.Connection[Any]:
    return psycopg.connect(access.as_role(role, Settings()), autocommit=True)


def _fill(access: DatabaseAccess, packs: int, starts: datetime) -> Registered:
    """Packs with a reading a minute over an hour around the quarter-hour, and one with a reading a second for a day."""
    store = PartitionStore(access.as_role(INGEST_ROLE, Settings()), PARTITION_ZERO)
    store.take_over()
    day_ms = to_ms(starts) - 24 * 3_600_000
    store.prepare_days(
        np.zeros(3, np.int32), np.array([day_ms, to_ms(starts), to_ms(starts) + 3_600_000], np.int64)
    )
    store.close()
    with psycopg.connect(access.admin, autocommit=True, options="-c search_path=bpm") as connection:
        connection.execute("INSERT INTO tenants (name) VALUES ('bench')")
        connection.execute(
            "INSERT INTO packs (tenant_id, external_id) SELECT 1, 'P-' || n FROM generate_series(1, %s) AS n",
            (packs + 1,),
        )
        connection.execute(
            "INSERT INTO tenures (tenant_id, pack_id, held_from) SELECT 1, pack_id, '-infinity' FROM packs"
        )
    fleet = Registered(1, np.arange(packs + 1, dtype=np.int32))
    with _connect(access) as connection:
        # A minute of all packs after the other, as they arrive.
        for minute in range(-15, 30):
            readings = make_readings(packs, 1, to_ms(starts) + minute * STEP_MS, STEP_MS, seed=minute + 100)
            copy_binary(connection, copy_rows(readings, fleet, minute + 100))
        day = make_readings(1, 86_400, day_ms, 1000, seed=7)
        alone = FleetReadings(np.full(86_400, packs, np.int32), day.ts_ms, day.thousandths)
        copy_binary(connection, copy_rows(alone, fleet, 500))
    with psycopg.connect(access.admin, autocommit=True, options="-c search_path=bpm") as connection:
        connection.execute("VACUUM (ANALYZE) readings")
    return fleet


def _set_marks(access: DatabaseAccess, starts: datetime) -> None:
    with psycopg.connect(access.admin, autocommit=True, options="-c search_path=bpm") as connection:
        connection.execute("TRUNCATE quarters, window_notes")
        ends = starts + timedelta(milliseconds=QUARTER_MS)
        connection.execute("UPDATE partitions SET closed_before = %s", (ends,))
        connection.execute("UPDATE window_marks SET counted_before = %s", (starts,))


def _counted(access: DatabaseAccess, packs: int, starts: datetime, rounds: int) -> Report:
    store = CountingStore(
        access.as_role(INGEST_ROLE, Settings()), PARTITION_ZERO, CountingLimits(5_000, 200_000)
    )
    ends = starts + timedelta(milliseconds=QUARTER_MS)

    def counted() -> float:
        _set_marks(access, starts)
        return _once(store.count_once)

    names = ", ".join(("tenant_id", "pack_id", "ts", *MEASURE_NAMES))
    rows, wider = _rows_between(starts, ends), _rows_between(starts - _MARGIN, ends + _MARGIN)
    with _connect(access) as connection:
        contenders = [
            Contender(_WITH_MARGINS, lambda: _once(lambda: _copy_out(connection, f"SELECT {names} {wider}"))),
            Contender(_COUNT, counted),
            Contender(FLOOR, lambda: _once(lambda: _copy_out(connection, f"SELECT {names} {rows}"))),
            Contender(
                _GROUP_BY,
                lambda: _once(
                    lambda: connection.execute(
                        f"SELECT pack_id, {_FIGURES} {rows} GROUP BY pack_id".encode()
                    ).fetchall()
                ),
            ),
        ]
        samples = alternate(contenders, rounds)
    store.close()
    with psycopg.connect(access.admin, options="-c search_path=bpm") as connection:
        (stored,) = connection.execute("SELECT count(*) FROM quarters").fetchone() or (0,)
    assert stored == packs, stored
    lines = compare(samples, (FLOOR, _WITH_MARGINS, _GROUP_BY))
    ours = {line.name: line for line in lines}[_COUNT]
    return Report(
        f"Counting a closed quarter-hour of {packs:,} packs, {15 * packs:,} readings",
        "s",
        lines,
        (
            "the readings of 300 s on both sides are read too, as ends of lines: two thirds more rows",
            "every pack's record is stored and committed",
        ),
        (Goal("to the floor", 1.5, ours.against[FLOOR], at_least=False),),
    )


def _rows_between(starts: datetime, ends: datetime) -> str:
    return f"FROM readings WHERE ts >= '{starts.isoformat()}' AND ts < '{ends.isoformat()}'"


def _once(work: Callable[[], Any]) -> float:
    return seconds_of(work, at_least_s=0.0)


def _copy_out(connection: psycopg.Connection[Any], statement: str) -> int:
    size = 0
    with connection.cursor().copy(f"COPY ({statement}) TO STDOUT (FORMAT BINARY)".encode()) as copy:
        for part in copy:
            size += len(part)
    return size


def _short_steps(access: DatabaseAccess, fleet: Registered, starts: datetime, rounds: int) -> Report:
    pack = int(fleet.numbers[-1])
    from_ms = to_ms(starts) - 24 * 3_600_000
    bounds_ms = np.arange(from_ms, from_ms + 86_400_001, STEP_MS)
    first = starts - timedelta(days=1)
    rows = f"FROM readings WHERE pack_id = {pack} AND ts >= '{first.isoformat()}' AND ts < '{starts.isoformat()}'"
    names = ", ".join(("ts", *MEASURE_NAMES))
    actor = Actor("benchmark", TenantId(1), "bench", frozenset())

    async def answered() -> int:
        connection = await psycopg.AsyncConnection.connect(
            access.as_role(APP_ROLE, Settings()), autocommit=True, row_factory=dict_row
        )
        adapt_columns(connection)
        async with connection, connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            await connection.execute(query("records.set_tenant"), {"tenant": "1"})
            found = await pack_windows(Transaction(connection, actor, ""), pack, bounds_ms, _READINGS_MAX)
        assert found.complete
        assert int(found.totals["voltage_v"]["count"].sum()) == len(bounds_ms[:-1]) * 60
        return found.readings

    with _connect(access) as connection:
        grouped = f"SELECT date_bin('1 minute', ts, '2000-01-01'), {_FIGURES} {rows} GROUP BY 1".encode()
        contenders = [
            Contender("windows of a minute", lambda: _once(lambda: asyncio.run(answered()))),
            Contender(FLOOR, lambda: _once(lambda: _copy_out(connection, f"SELECT {names} {rows}"))),
            Contender(_GROUP_BY, lambda: _once(lambda: connection.execute(grouped).fetchall())),
        ]
        samples = alternate(contenders, rounds)
    lines = compare(samples, (FLOOR, _GROUP_BY))
    return Report(
        "Steps of a minute on request, one pack's day of a reading a second",
        "s",
        lines,
        ("connecting is in it; under row-level security, as the engine asks",),
        (Goal("to the floor", 1.5, lines[0].against[FLOOR], at_least=False),),
    )
