"""Readings and quarters as hypertables of TimescaleDB, where the extension is there when the database is made.

The readings of each class of retention, and `bpm.quarters`, are hypertables, written by the ingest role and read by
nobody else; `bpm.readings` is a view of all classes. The app has no right on them, since TimescaleDB has no columnstore
under row-level security. It finds views of the same names in the schema `bpm_tenant`, first in its search path, which
hold to its tenant. So one set of queries serves both layouts. Decision record: docs/decisions/0010-timescaledb.md.
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.rows import dict_row, tuple_row

from storage.connections import connect
from storage.database import APP_ROLE, OWNER_ROLE, SCHEMA, TENANT_SCHEMA, query
from storage.days import class_table

DIRECT_COMPRESS_ROWS_MIN: Final = 10_000
"""A COPY of fewer rows goes in as rows: each COPY makes batches of its own, and small ones compress badly."""


@dataclass(frozen=True, slots=True)
class StorageClass:
    """One hypertable and how it is kept.

    chunk: how long a chunk is. order_by: the order in columns; None while the class stays in rows.
    """

    name: str
    time: str
    chunk: str
    order_by: str | None


READINGS: Final = StorageClass("readings", "ts", "1 day", "pack_id, ts")

WINDOWS: Final = StorageClass("quarters", "starts", "1 month", None)
"""In rows: a recount deletes by (pack, start), for which a whole month in columns would be unpacked."""

CLASSES: Final = (READINGS, WINDOWS)
"""Those of a new database. A later migration puts `readings` into the class of retention that is always there."""


def described(connection: psycopg.Connection[Any]) -> str:
    """How a migrated database keeps its readings, in words; the connection finds the schema."""
    row = connection.execute(query("hypertables.installed")).fetchone()
    made, version = row if row is not None else (False, None)
    if made:
        return f"readings are hypertables of TimescaleDB {version}"
    if version is not None:
        return "readings are native partitions: TimescaleDB came after the first readings, or after an older version"
    return "readings are native partitions"


def make_where_possible(connection: psycopg.Connection[Any]) -> bool:
    """Make the hypertables in a new database with the extension; whether that was done.

    In the transaction of the migration that decides on the layout, as the owner. A database that has been written to
    keeps its partitions.
    """
    can = connection.execute(query("hypertables.can_be_made")).fetchone()
    if can is None or not can[0]:
        return False
    connection.execute("RESET ROLE")
    names = {
        "tenant": sql.Identifier(TENANT_SCHEMA),
        "owner": sql.Identifier(OWNER_ROLE),
        "app": sql.Identifier(APP_ROLE),
    }
    connection.execute(sql.SQL("CREATE SCHEMA {tenant} AUTHORIZATION {owner}").format(**names))
    connection.execute(sql.SQL("SET LOCAL ROLE {owner}").format(**names))
    connection.execute(sql.SQL("GRANT USAGE ON SCHEMA {tenant} TO {app}").format(**names))
    connection.execute(query("hypertables.make").replace(b"{timescale}", schema_of_extension(connection)))
    for made in CLASSES:
        make_hypertable(connection, made)
        connection.execute(query("hypertables.make_view").replace(b"{name}", made.name.encode()))
    return True


def make_hypertable(connection: psycopg.Connection[Any], made: StorageClass) -> None:
    """Make a hypertable of an empty table, with how it is kept; as the owner."""
    parameters = {"name": f"{SCHEMA}.{made.name}", "time": made.time, "chunk": made.chunk}
    text = query("hypertables.make_class").replace(b"{timescale}", schema_of_extension(connection))
    connection.execute(text, parameters)
    if made.order_by is not None:
        connection.execute(
            sql.SQL(
                "ALTER TABLE {} SET (timescaledb.compress, timescaledb.compress_segmentby = '',"
                " timescaledb.compress_orderby = {})"
            ).format(sql.Identifier(made.name), sql.Literal(made.order_by))
        )
        _keep_bounds(connection, made)


def schema_of_extension(connection: psycopg.Connection[Any]) -> bytes:
    """Where TimescaleDB's functions are, as SQL has it."""
    with connection.cursor(row_factory=tuple_row) as cursor:
        row = cursor.execute(query("hypertables.schema_of_extension")).fetchone()
    return sql.Identifier(row[0] if row else "public").as_string(connection).encode()


def _keep_bounds(connection: psycopg.Connection[Any], made: StorageClass) -> None:
    """Bounds of what lies together; not in old versions. A restart passes over most batches, an erasure over others."""
    option = sql.SQL("ALTER TABLE {} SET (timescaledb.sparse_index = 'minmax(batch_no), minmax(tenant_id)')")
    with suppress(psycopg.DataError, psycopg.ProgrammingError), connection.transaction():
        connection.execute(option.format(sql.Identifier(made.name)))


@dataclass(frozen=True, slots=True)
class Settled:
    """What one look did. chunk: what was put in columns; None when nothing was due."""

    chunk: str | None


def settle(conninfo: str, ended_before: datetime) -> Settled | None:
    """Put the oldest chunk in columns that is counted and ended before a moment; None where there are no hypertables.

    Does nothing while another process does it. Counting reads rows as they came in a fraction of the time.
    """
    with connect(conninfo, row_factory=dict_row) as connection, connection.transaction():
        (found,) = connection.execute(query("hypertables.marks")).fetchall()
        if not found["hypertables"]:
            return None
        (turn,) = connection.execute(query("hypertables.take_turn")).fetchall()
        if not turn["mine"] or found["counted_before"] is None:
            return Settled(None)
        before = min(ended_before, found["counted_before"])
        for class_no in found["classes"]:
            asked = {"name": class_table(class_no), "ended_before": before}
            (done,) = connection.execute(query("hypertables.store_in_columns"), asked).fetchall()
            if done["chunk"] is not None:
                return Settled(done["chunk"])
        return Settled(None)
