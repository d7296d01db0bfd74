"""All that a tenant has, in one snapshot, as files that any tool reads: NDJSON, and Parquet by month.

Which rows are a tenant's is said once, in `cell_tables.MOVED`: a table that moves with its tenant is exported too, and
so are those of STAYING, which don't move, unless it stands in NOT_EXPORTED with the reason.
"""

import hashlib
import io
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from psycopg.rows import dict_row, tuple_row

from aggregations.quarters import Records, records_from_bytes
from aggregations.windows import measure_columns, pack_columns, totals_of
from domain.errors import ExportFailedError, ExportRefusedError, NotFoundError
from domain.measures import MEASURE_NAMES, MEASURES
from domain.redaction import redacted
from storage.cell_tables import MOVED, Moved
from storage.connections import connect
from storage.database import SCHEMA, query

MANIFEST: Final = "manifest.json"
README: Final = "README.md"
PARTIAL: Final = ".partial"

NOT_EXPORTED: Final = {
    "submissions": "bodies on their way to be committed; their readings and receipts are exported once they are",
    "corrected_packs": "the engine's note of what it has to look at again",
    "pack_state": "the engine's memory of the newest readings",
    "rule_states": "the engine's memory of what rules have seen",
    "window_notes": "the engine's note of what it has to count again",
    "pack_days": "folded from quarters, in a form of the engine's own",
    "group_days": "folded from quarters, in a form of the engine's own",
    "days_to_fold": "the engine's note of what it has to fold",
    "groups_to_fold": "the engine's note of what it has to fold",
    "closed_changes": "the engine's mark of which kept answers still hold",
    "alert_clearances": "what is asked of the engine for some seconds; it is in the audit log",
    "sessions": "digests of refresh tokens, which hold until their users sign out",
    "security_counts": "counts of minutes for thresholds; what was refused is in security_events",
    "rate_buckets": "what of its rates was left at a moment",
    "tickets": "digests of tickets, which hold for half a minute",
    "correction_parts": "how far the engine was with corrections; they themselves are exported",
    "partitions": "of the installation, of no tenant",
    "partition_reports": "of the installation, of no tenant",
    "lost_ranges": "of the installation, of no tenant",
    "source_positions": "of the installation, of no tenant",
    "window_marks": "of the installation, of no tenant",
    "dispatch_positions": "of the installation, of no tenant",
    "alert_topic_positions": "of the installation, of no tenant",
}
"""Tables of a tenant or of the engine's parts that hold nothing of its own, each with the reason."""

STAYING: Final = (Moved("access_grants"), Moved("security_events"))
"""Those that a tenant leaves behind when it moves to another installation, and that are its own all the same."""

READINGS: Final = ("readings", "superseded_readings")
WINDOWS: Final = "quarters"

_ROWS_A_GROUP: Final = 250_000
_ROWS_AT_ONCE: Final = 10_000
_CSV_BLOCK_BYTES: Final = 4 << 20
_TS: Final = pa.timestamp("ms", "UTC")

_OWN: Final = (
    "t.tenant_id = %(tenant)s AND t.pack_id IN (SELECT pack_id FROM packs WHERE tenant_id = %(tenant)s)"
)
"""By the index of packs, which the tenant alone has not."""

Connection = psycopg.Connection[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class File:
    """A file of an export, by its path inside of it."""

    path: str
    rows: int
    size_bytes: int
    sha256: str


@dataclass(slots=True)
class Exported:
    """What an export holds: of each table its files."""

    tenant: str
    made_at: datetime
    tables: dict[str, list[File]] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return sum(one.rows for files in self.tables.values() for one in files)


def exported_tables() -> dict[str, Moved]:
    """The tables of an export, in their order."""
    return {table.name: table for table in (*MOVED, *STAYING) if table.name not in NOT_EXPORTED}


def export_tenant(
    conninfo: str, name: str, directory: Path, engine_version: str, told: Callable[[str, int], None]
) -> Exported:
    """Write everything of a tenant into a new directory, in one snapshot of the database.

    It appears under its name when it is whole, and not before: a directory is a complete export. told: is called
    with each table's name and rows. Raises NotFoundError, ExportRefusedError, ExportFailedError.
    """
    directory = directory.expanduser().absolute()
    if directory.exists():
        raise ExportRefusedError(f"{directory} is there already: name a new directory", field="to")
    partial = directory.with_name(f".{directory.name}{PARTIAL}")
    try:
        # What a killed export left.
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700, parents=True)
        try:
            with _snapshot(conninfo, name) as (connection, tenant):
                done = _write_all(connection, tenant, name, partial, engine_version, told)
            _sync(partial)
            partial.rename(directory)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    except OSError as error:
        raise ExportFailedError(f"{directory} can't be written: {error}") from error
    return done


@contextmanager
def _snapshot(conninfo: str, name: str) -> Iterator[tuple[Connection, int]]:
    """A connection that sees one state of the database, and the tenant's number."""
    with (
        connect(
            conninfo, autocommit=True, row_factory=dict_row, cursor_factory=psycopg.ClientCursor
        ) as connection,
        connection.transaction(),
    ):
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        found = connection.execute(query("cells.tenant"), {"name": name}).fetchone()
        if found is None:
            raise NotFoundError(f"there is no tenant {name}", field="tenant")
        yield connection, found["tenant_id"]


def _write_all(
    connection: Connection,
    tenant: int,
    name: str,
    folder: Path,
    engine_version: str,
    told: Callable[[str, int], None],
) -> Exported:
    done = Exported(name, datetime.now(UTC))
    tables = {"tenants": Moved("tenants")} | exported_tables()
    for table in tables.values():
        if table.name in READINGS:
            files = _write_readings(connection, tenant, table.name, folder)
        elif table.name == WINDOWS:
            files = _write_windows(connection, tenant, folder)
        else:
            files = [_write_records(connection, tenant, table, folder)]
        _require_all(connection, tenant, table, sum(one.rows for one in files))
        done.tables[table.name] = files
        told(table.name, sum(one.rows for one in files))
    (folder / README).write_text(_readme(connection, done, engine_version), encoding="utf-8")
    (folder / MANIFEST).write_bytes(_manifest(done, engine_version))
    return done


def _require_all(connection: Connection, tenant: int, table: Moved, rows: int) -> None:
    """Raises ExportFailedError unless as many rows were written as the snapshot has of the tenant."""
    found = connection.execute(
        f"SELECT count(*) AS rows FROM {SCHEMA}.{table.name} AS t WHERE {table.where}", {"tenant": tenant}
    ).fetchone()
    if found is None or found["rows"] != rows:
        raise ExportFailedError(f"{table.name} has {found and found['rows']} rows, {rows} were written")


# Records


def _write_records(connection: Connection, tenant: int, table: Moved, folder: Path) -> File:
    """One line of JSON for each row, without what is secret."""
    path = folder / f"{table.name}.ndjson"
    rows = 0
    asked = f"SELECT to_jsonb(t)::text AS row FROM {SCHEMA}.{table.name} AS t WHERE {table.where}"
    with _streamed(connection, asked, {"tenant": tenant}) as found, path.open("wb") as file:
        for (text,) in found:
            file.write(orjson.dumps(redacted(orjson.loads(text)), option=orjson.OPT_APPEND_NEWLINE))
            rows += 1
    return _file(folder, path, rows)


@contextmanager
def _streamed(connection: Connection, asked: str, given: Mapping[str, Any]) -> Iterator[Any]:
    """Rows as tuples, which the server hands over some at a time."""
    with psycopg.ServerCursor(connection, "exported", row_factory=tuple_row) as cursor:
        cursor.itersize = _ROWS_AT_ONCE
        cursor.execute(asked.encode(), given)
        yield cursor


# Readings and windows, by month


class _Months:
    """Files of Parquet, one for each month, filled in any order: rows go in when there are enough for a group."""

    def __init__(self, folder: Path, time: str) -> None:
        self._folder = folder
        self._time = time
        self._waiting: dict[str, list[pa.Table]] = {}
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._rows: dict[str, int] = {}

    def add(self, table: pa.Table) -> None:
        """Put rows where their month is."""
        months = pc.strftime(table[self._time], format="%Y-%m")
        for month in pc.unique(months).to_pylist():
            part = table.filter(pc.equal(months, month))
            waiting = self._waiting.setdefault(month, [])
            waiting.append(part)
            self._rows[month] = self._rows.get(month, 0) + len(part)
            if sum(map(len, waiting)) >= _ROWS_A_GROUP:
                self._flush(month)

    def _flush(self, month: str) -> None:
        table = pa.concat_tables(self._waiting.pop(month))
        if month not in self._writers:
            self._folder.mkdir(exist_ok=True)
            self._writers[month] = pq.ParquetWriter(
                self._folder / f"{month}.parquet", table.schema, compression="zstd"
            )
        self._writers[month].write_table(table)

    def files(self) -> list[File]:
        """The files, whole."""
        for month in sorted(self._waiting):
            self._flush(month)
        for writer in self._writers.values():
            writer.close()
        return [
            _file(self._folder.parent, self._folder / f"{month}.parquet", self._rows[month])
            for month in sorted(self._writers)
        ]


class _Copied(io.RawIOBase):
    """What COPY sends, to be read like a file."""

    def __init__(self, blocks: psycopg.Copy) -> None:
        self._blocks = iter(blocks)
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        while not self._left:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._left = memoryview(block)
        count = min(len(into), len(self._left))
        into[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


def _write_readings(connection: Connection, tenant: int, name: str, folder: Path) -> list[File]:
    """The pack by its external id, the time, and what was measured; with what the engine knows of the row."""
    columns = {
        row["name"]: row["type"] for row in connection.execute(query("cells.columns"), {"table": name})
    }
    more = [one for one in columns if one not in ("tenant_id", "pack_id", "ts", *MEASURE_NAMES)]
    types = {"pack": pa.string(), "ts": pa.int64()} | dict.fromkeys(MEASURE_NAMES, pa.float32())
    types |= {one: pa.bool_() if columns[one] == "boolean" else pa.int64() for one in more}
    chosen = ", ".join(f"t.{one}" for one in (*MEASURE_NAMES, *more))
    asked = (
        f"COPY (SELECT packs.external_id, (extract(epoch FROM ts) * 1000)::int8, {chosen}"
        f" FROM {SCHEMA}.{name} AS t JOIN packs ON packs.tenant_id = t.tenant_id AND packs.pack_id = t.pack_id"
        f" WHERE {_OWN}) TO STDOUT (FORMAT CSV, FORCE_QUOTE (external_id))"
    )
    months = _Months(folder / name, "ts")
    with connection.cursor().copy(asked, {"tenant": tenant}) as blocks:
        for table in _read_csv(_Copied(blocks), types):
            months.add(table.set_column(1, "ts", table["ts"].cast(_TS)))
    return months.files()


def _read_csv(source: io.RawIOBase, types: dict[str, pa.DataType]) -> Iterator[pa.Table]:
    buffered = io.BufferedReader(source, _CSV_BLOCK_BYTES)
    if not buffered.peek(1):
        return
    with pa.csv.open_csv(
        pa.PythonFile(buffered, mode="r"),
        read_options=pa.csv.ReadOptions(column_names=list(types), block_size=_CSV_BLOCK_BYTES),
        parse_options=pa.csv.ParseOptions(newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(
            column_types=types,
            null_values=[""],
            true_values=["t"],
            false_values=["f"],
            strings_can_be_null=False,
        ),
    ) as batches:
        for batch in batches:
            yield pa.Table.from_batches([batch])


def _write_windows(connection: Connection, tenant: int, folder: Path) -> list[File]:
    """Each stored quarter-hour of a pack, with the columns that windows have in the API."""
    asked = (
        "SELECT packs.external_id, t.tenure_no, (extract(epoch FROM starts) * 1000)::int8, record"
        f" FROM {SCHEMA}.{WINDOWS} AS t JOIN packs ON packs.tenant_id = t.tenant_id AND packs.pack_id = t.pack_id"
        f" WHERE {_OWN}"
    )
    months = _Months(folder / WINDOWS, "ts")
    with _streamed(connection, asked, {"tenant": tenant}) as found:
        while rows := found.fetchmany(_ROWS_AT_ONCE):
            months.add(_windows_table(*zip(*rows, strict=True)))
    return months.files()


def _windows_table(
    packs: tuple[str, ...], tenures: tuple[int, ...], starts_ms: tuple[int, ...], records: tuple[bytes, ...]
) -> pa.Table:
    found = Records(
        np.zeros(len(packs), np.int32), np.array(starts_ms, np.int64), records_from_bytes(b"".join(records))
    )
    totals = totals_of(found)
    columns: dict[str, Any] = {
        "pack": pa.array(packs, pa.string()),
        "ts": pa.array(starts_ms, pa.int64()).cast(_TS),
        "tenure_no": pa.array(tenures, pa.int64()),
    }
    told = [measure_columns(totals, name) for name in MEASURE_NAMES] + [pack_columns(totals)]
    for some in told:
        for column, (values, present) in some.items():
            made = pa.array(values, mask=~present)
            columns[column] = made.cast(_TS) if column.endswith("_ts") else made
    return pa.table(columns)


# What stands beside the data


def _file(folder: Path, path: Path, rows: int) -> File:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return File(str(path.relative_to(folder)), rows, path.stat().st_size, digest)


def _manifest(done: Exported, engine_version: str) -> bytes:
    tables = {
        name: {
            "rows": sum(one.rows for one in files),
            "files": [
                {"path": one.path, "rows": one.rows, "size_bytes": one.size_bytes, "sha256": one.sha256}
                for one in files
            ],
        }
        for name, files in done.tables.items()
    }
    told = {
        "tenant": done.tenant,
        "made_at": done.made_at.isoformat(),
        "engine_version": engine_version,
        "tables": tables,
        "left_out": NOT_EXPORTED,
    }
    return orjson.dumps(told, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


_UNITS: Final = {measure.name: f"{measure.description}, in {measure.unit}" for measure in MEASURES}


def _readme(connection: Connection, done: Exported, engine_version: str) -> str:
    lines = [
        f"# Export of {done.tenant}",
        "",
        f"Made on {done.made_at:%Y-%m-%d %H:%M:%S} UTC by the BPM-OS engine {engine_version}, in one snapshot.",
        "",
        f"`{MANIFEST}` has the rows and the SHA-256 of each file. Times are UTC. Secrets stand as `[redacted]`.",
        "",
        "- `*.ndjson`: a JSON object a line, as the row is stored.",
        "- `*/YYYY-MM.parquet`: the rows of a month. `pack` is the external id.",
        "",
    ]
    for name, files in done.tables.items():
        lines += [f"## {name}", "", f"{sum(one.rows for one in files):,} rows.", ""]
        if name == WINDOWS:
            lines += [
                "A quarter-hour of a pack each, from `ts` on, with the columns of `GET /v1/aggregates`.",
                "",
            ]
            continue
        lines += ["| Column | Type | |", "|---|---|---|"]
        for row in connection.execute(query("tenants.described_columns"), {"table": name}).fetchall():
            told = _UNITS.get(row["name"], row["comment"] or "")
            lines.append(f"| `{row['name']}` | {row['type']} | {' '.join(told.split())} |")
        lines.append("")
    return "\n".join(lines)


def _sync(folder: Path) -> None:
    """Let the disk have everything before the name says that it is whole."""
    for path in [*folder.rglob("*"), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
