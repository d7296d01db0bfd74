"""A pack's year at a reading a minute among other packs, cold and hot: how long its trends take, and pages read."""

import http.client
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa

from benchmarks.copying import copy_from_server_file, write_server_file
from benchmarks.fleet import FleetReadings, copy_rows, make_readings, pack_name
from benchmarks.ingest_field import Field, ingest_field
from benchmarks.report import Line, Report
from benchmarks.served import ServedEngine
from domain.clock import from_ms
from domain.windows import QUARTER_MS

STEP_MS = 60_000
DAY_MS = 86_400_000
PACKS, DAYS = 100, 365
HOT_ROUNDS = 5
ARROW = "application/vnd.apache.arrow.stream"
_BATCH_NO = -1
_COUNTED_S_MAX = 7200.0
_REPORTED_S_MAX = 15.0
_FLUSH_S, _IDLE_FLUSH_S = 1.1, 11.0
"""PostgreSQL's sessions tell the pages they read at most once a second, and what is left after ten seconds."""

_WAITING = (
    "SELECT counted_before < closed_before OR EXISTS (SELECT FROM window_notes)"
    " OR EXISTS (SELECT FROM days_to_fold) OR EXISTS (SELECT FROM groups_to_fold)"
    " FROM window_marks JOIN partitions USING (partition_no)"
)

QUESTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "every reading": ("trends", {}),
    "1,000 points, LTTB": ("trends", {"points": 1000}),
    "1,000 points, min-max": ("trends", {"points": 1000, "method": "min_max"}),
    "windows of a quarter-hour": ("trends", {"step": "PT15M"}),
    "windows of a day": ("trends", {"step": "P1D"}),
    "days beside all packs": ("trends", {"step": "P1D", "band": "all"}),
    "analysis of days": ("trends/analysis", {"step": "P1D", "threshold": 310}),
}


def measure(*, quick: bool, packs: int = PACKS, days: int = DAYS) -> list[Report]:
    """Write the readings in order of arrival, count them, and ask for another pack's year each time."""
    if quick:
        packs, days = min(packs, 10), min(days, 3)
    with ingest_field(packs, prefill_rows=packs) as field:
        first_ms = field.first_ms - days * DAY_MS
        began_s = time.monotonic()
        _write(field, packs, first_ms, days)
        written_s = time.monotonic() - began_s
        began_s = time.monotonic()
        _count(field, packs, first_ms, days)
        counted_s = time.monotonic() - began_s
        facts = (
            f"{packs * days * DAY_MS // STEP_MS:,} readings of 7 measures; they and their windows lie as they came",
            f"{_sizes(field)}; written in {written_s:.0f} s, counted and folded in {counted_s:.0f} s",
            "cold: PostgreSQL stopped, its files dropped from the machine's cache, started; another pack each time",
            f"hot: the median of {HOT_ROUNDS} of the same; pages of 8 KiB of tables and indexes, without catalogs",
        )
        lines, pages = [], []
        for number, name in enumerate(QUESTIONS):
            line, told = _asked(field, name, number % packs, first_ms)
            lines += line
            pages.append(told)
    return [Report(f"A pack's {days} days at 1/min among {packs} packs", "s", tuple(lines), (*facts, *pages))]


def _write(field: Field, packs: int, first_ms: int, days: int) -> None:
    """Days of readings as a fleet sends them, into daily partitions as a running engine makes them."""
    with field.admin() as connection:
        for day in range(days):
            starts_ms = first_ms + day * DAY_MS
            starts = from_ms(starts_ms)
            connection.execute(
                "SELECT make_readings_partition(0::smallint, %s, %s, %s)",
                (f"readings_{starts:%Y_%m_%d}", starts, starts + timedelta(days=1)),
            )
            path = write_server_file(field.engine.data_dir, "year", _rows(field, packs, starts_ms, day))
            copy_from_server_file(connection, path)
            path.unlink()
        connection.execute("VACUUM (ANALYZE) readings")


def _rows(field: Field, packs: int, starts_ms: int, seed: int) -> memoryview:
    readings = make_readings(packs, DAY_MS // STEP_MS, starts_ms, STEP_MS, seed=seed)
    order = np.lexsort((readings.position, readings.ts_ms))
    arrived = FleetReadings(
        readings.position[order], readings.ts_ms[order], np.ascontiguousarray(readings.thousandths[:, order])
    )
    return copy_rows(arrived, field.fleet, _BATCH_NO)


def _count(field: Field, packs: int, first_ms: int, days: int) -> None:
    """Let the engine count the year as if it had been up: a quarter-hour of all packs after the other.

    Raises TimeoutError after two hours.
    """
    with field.admin() as connection:
        with connection.transaction():
            connection.execute("TRUNCATE quarters, pack_days, group_days, days_to_fold, groups_to_fold")
            connection.execute("UPDATE window_marks SET counted_before = %s", (from_ms(first_ms),))
            ended = (from_ms(first_ms + days * DAY_MS),)
            connection.execute("UPDATE partitions SET closed_before = %s", ended)
            connection.execute("DELETE FROM day_marks")
        deadline_s = time.monotonic() + _COUNTED_S_MAX
        while (connection.execute(_WAITING).fetchone() or (True,))[0]:
            if time.monotonic() > deadline_s:
                raise TimeoutError("the readings were not counted")
            time.sleep(0.2)
        (stored,) = connection.execute(
            "SELECT count(*) FROM quarters WHERE starts >= %s AND starts < %s",
            (from_ms(first_ms), from_ms(first_ms + days * DAY_MS)),
        ).fetchone() or (0,)
        assert stored == packs * days * DAY_MS // QUARTER_MS, stored
        connection.execute("VACUUM (ANALYZE)")
        connection.execute("CHECKPOINT")


def _sizes(field: Field) -> str:
    sizes = []
    with field.admin() as connection:
        for table in ("readings_class_0", "quarters", "pack_days"):
            (size,) = connection.execute(
                "SELECT coalesce(sum(pg_total_relation_size(relid)), 0) FROM pg_partition_tree(%s::regclass)",
                (table,),
            ).fetchone() or (0,)
            sizes.append(f"{table} {int(size) / 1e6:,.0f} MB")
    return ", ".join(sizes)


def _asked(field: Field, name: str, position: int, first_ms: int) -> tuple[list[Line], str]:
    """Lines of one question, cold and hot, and the pages that each read."""
    _cool(field.engine)
    path, more = QUESTIONS[name]
    asked = {
        "pack": pack_name(position),
        "measure": "voltage_v",
        "from": from_ms(first_ms).astimezone(UTC).isoformat(),
        "to": from_ms(field.first_ms).astimezone(UTC).isoformat(),
    }
    # The first request of an engine makes its connections: it is none of those that are measured.
    _get(field, "/v1/packs?limit=1", "application/json")
    time.sleep(_IDLE_FLUSH_S)
    path = f"/v1/{path}?{urlencode(asked | more)}"
    cold_s, cold_pages, size = _measured(field, path)
    hot = [_measured(field, path) for _ in range(HOT_ROUNDS)]
    hot_s = [one for one, _, _ in hot]
    hot_line = Line(f"{name}, hot", float(np.median(hot_s)), min(hot_s), max(hot_s))
    told = (
        f"{name}: cold {cold_pages[0]:,} pages read and {cold_pages[1]:,} found in the cache;"
        f" hot {hot[-1][1][0]:,} and {hot[-1][1][1]:,}; {size:,} bytes answered"
    )
    return [Line(f"{name}, cold", cold_s, cold_s, cold_s), hot_line], told


def _cool(engine: ServedEngine) -> None:
    """Start the engine and its PostgreSQL again, with nothing of its files in the machine's cache."""
    engine.stop()
    for folder, _, files in os.walk(engine.data_dir):
        for file in files:
            with (Path(folder) / file).open("rb") as opened:
                os.fsync(opened.fileno())
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    engine.start()


def _measured(field: Field, path: str) -> tuple[float, tuple[int, int], int]:
    """Seconds, pages read and pages found in PostgreSQL's cache, and bytes of one request."""
    with _pages(field) as counted:
        began_s = time.perf_counter()
        body = _get(field, path, ARROW if path.startswith("/v1/trends?") else "application/json")
        took_s = time.perf_counter() - began_s
    if path.startswith("/v1/trends?"):
        assert len(pa.ipc.open_stream(body).read_all())
    return took_s, (counted[0], counted[1]), len(body)


def _get(field: Field, path: str, accept: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", field.engine.port, timeout=600)
    headers = {"Authorization": f"Bearer {field.token}", "Accept": accept}
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    assert response.status == http.client.OK, body[:500]
    return body


@contextmanager
def _pages(field: Field) -> Iterator[list[int]]:
    """Fills pages read and pages found in the cache by what is done within."""
    statement = (
        "SELECT sum(heap_blks_read + coalesce(idx_blks_read, 0)), sum(heap_blks_hit + coalesce(idx_blks_hit, 0)) "
        "FROM pg_statio_user_tables WHERE schemaname = 'bpm' AND (relname LIKE 'readings%' OR relname LIKE 'quarters%' "
        "OR relname IN ('pack_days', 'group_days'))"
    )

    def now() -> np.ndarray[Any, Any]:
        with field.admin() as connection:
            return np.array(connection.execute(statement).fetchone(), np.int64)

    counted: list[int] = []
    time.sleep(_FLUSH_S)
    before = now()
    yield counted
    deadline_s = time.monotonic() + _REPORTED_S_MAX
    after = now()
    while (after == before).all() and time.monotonic() < deadline_s:
        time.sleep(0.1)
        after = now()
    counted.extend((after - before).tolist())
