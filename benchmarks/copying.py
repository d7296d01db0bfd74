"""Peers and floors of ingest: the same rows straight into the table, a transaction for each body."""

import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, LiteralString

import adbc_driver_postgresql.dbapi as adbc
import psycopg
import pyarrow as pa
from psycopg import sql

from domain.measures import MEASURE_NAMES
from kernels import pgcopy

COLUMNS = ("tenant_id", "pack_id", "ts", "batch_no", "item_no", *MEASURE_NAMES)
_NAMED = sql.SQL(", ").join(map(sql.Identifier, COLUMNS))
_CHUNK_BYTES = 1 << 20


def _copy_from_client(form: LiteralString) -> sql.Composed:
    return sql.SQL("COPY readings_class_0 ({}) FROM STDIN (FORMAT {})").format(_NAMED, sql.SQL(form))


def copy_binary(connection: psycopg.Connection[Any], body: memoryview) -> None:
    """Rows already in binary form, by a client: the floor."""
    with connection.cursor().copy(_copy_from_client("BINARY")) as copy:
        copy.write(pgcopy.HEADER)
        for start in range(0, len(body), _CHUNK_BYTES):
            copy.write(body[start : start + _CHUNK_BYTES])
        copy.write(pgcopy.TRAILER)


def copy_text(connection: psycopg.Connection[Any], rows: Sequence[tuple[Any, ...]]) -> None:
    """Rows as Python tuples, which psycopg turns into text."""
    with connection.cursor().copy(_copy_from_client("TEXT")) as copy:
        for row in rows:
            copy.write_row(row)


def copy_from_server_file(connection: psycopg.Connection[Any], path: Path) -> None:
    """Rows in a file that the server reads itself; only an administrator may."""
    statement = sql.SQL("COPY readings_class_0 ({}) FROM {} (FORMAT BINARY)").format(
        _NAMED, sql.Literal(str(path))
    )
    connection.execute(statement)


def timed_commits(connection: psycopg.Connection[Any], write: Any, bodies: Sequence[Any]) -> float:
    """Seconds to write and commit the bodies, one after the other."""
    began_s = time.monotonic()
    for body in bodies:
        with connection.transaction():
            write(connection, body)
    return time.monotonic() - began_s


def timed_commits_side_by_side(
    connections: Sequence[psycopg.Connection[Any]], bodies: Sequence[memoryview]
) -> float:
    """Seconds to write the bodies over several connections at once, with no order between them."""
    count = len(connections)
    threads = [
        threading.Thread(target=timed_commits, args=(connection, copy_binary, bodies[number::count]))
        for number, connection in enumerate(connections)
    ]
    began_s = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.monotonic() - began_s


def timed_adbc(conninfo: str, tables: Sequence[pa.Table]) -> float:
    """Seconds to append Arrow tables by ADBC, each in a transaction of its own."""
    with adbc.connect(conninfo) as connection, connection.cursor() as cursor:
        began_s = time.monotonic()
        for table in tables:
            cursor.adbc_ingest("readings_class_0", table, mode="append", db_schema_name="bpm")
            connection.commit()
        return time.monotonic() - began_s


def write_server_file(folder: Path, name: str, body: memoryview) -> Path:
    """A file of rows that the server's account can read, beside its data."""
    path = folder / name
    path.write_bytes(pgcopy.HEADER + body + pgcopy.TRAILER)
    owner = folder.stat()
    shutil.chown(path, owner.st_uid, owner.st_gid)
    return path
