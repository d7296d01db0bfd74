"""Connections: who connects as what, and columns that travel as arrays."""

import re
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg import postgres
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Dumper, Loader
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Format

from domain.measures import MEASURE_NAMES

APP_ROLE = "bpm_app"
"""Serves requests: no superuser, bound by row-level security."""

INGEST_ROLE = "bpm_ingest"
"""Writes telemetry of all tenants, past row-level security, with the tenant taken from the pack's tenure."""

RETENTION_ROLE = "bpm_retention"
"""Drops audit entries and days of readings that were kept for long enough; the only role that may."""

ERASER_ROLE = "bpm_eraser"
"""Erases tenants: deletes from every table. The serving login can't take it up."""

OWNER_ROLE = "bpm_owner"
"""Owns everything, logs in never."""

SCHEMA = "bpm"

TENANT_SCHEMA = "bpm_tenant"
"""Where the app finds views of the hypertables; there is none without them."""

_PLANNER = "-c timescaledb.enable_skipscan=off -c jit=off"
"""With skip scans, TimescaleDB 2.28.3 and 2.29.2 end DISTINCT under row-level security by an error.

Plans over many partitions, or whose other ways are forbidden, cost so much on paper that PostgreSQL compiles them: for
seconds to a minute at a restart, where the query itself takes a tenth of a second.
"""

CONNECT_S_MAX = 10
_KEEPALIVES_S = 10
_KEEPALIVES_MAX = 3
_UNANSWERED_S_MAX = 30
"""A host that vanished, which ends no connection, is noticed after so long, on either side; and so is a server that
stands still."""


def lasting(conninfo: str) -> str:
    """The connection string with which a server that can't be reached, or has vanished, is noticed.

    >>> lasting("dbname=bpm connect_timeout=3").split()[:3]
    ['dbname=bpm', 'connect_timeout=3', 'keepalives_idle=10']
    """
    limits: dict[str, Any] = {
        "connect_timeout": CONNECT_S_MAX,
        "keepalives_idle": _KEEPALIVES_S,
        "keepalives_interval": _KEEPALIVES_S,
        "keepalives_count": _KEEPALIVES_MAX,
        "tcp_user_timeout": _UNANSWERED_S_MAX * 1000,
    }
    return make_conninfo(conninfo, **(limits | conninfo_to_dict(conninfo)))


def conninfo_as(
    conninfo: str, role: str, *, application: str, statement_timeout_s: float = 0, lock_timeout_s: float = 0
) -> str:
    """The connection string with the role, schema and zone set from the first statement on.

    Timeouts of 0 mean none. Commits wait for the disk, whatever the server's default: an acknowledgement says so. The
    server notices a client that has vanished, which may hold locks, and ends no session because it is idle.
    """
    path = f"{TENANT_SCHEMA},{SCHEMA}" if role == APP_ROLE else SCHEMA
    options = (
        f"-c role={role} -c search_path={path} -c timezone=UTC {_PLANNER} "
        f"-c synchronous_commit=on -c statement_timeout={int(statement_timeout_s * 1000)}ms "
        f"-c lock_timeout={int(lock_timeout_s * 1000)}ms -c idle_session_timeout=0 "
        f"-c tcp_keepalives_idle={_KEEPALIVES_S} -c tcp_keepalives_interval={_KEEPALIVES_S} "
        f"-c tcp_keepalives_count={_KEEPALIVES_MAX} -c tcp_user_timeout={_UNANSWERED_S_MAX}s"
    )
    return make_conninfo(lasting(conninfo), options=options, application_name=application)


@cache
def query(name: str) -> bytes:
    """The text of the query `file.name` in storage/queries, where each query stands behind `-- name: …`.

    `{measures}` stands for the columns of all measures, `{absent_measures}` for as many without values,
    `{measure_arrays}` for their values as float4 arrays with NaN for absent, `{measure_bytes}` for the same to be
    read by `float4s_from`. Raises KeyError when there is none of that name.
    """
    file, _, wanted = name.partition(".")
    text = (resources.files("storage") / "queries" / f"{file}.sql").read_text(encoding="utf-8")
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    text = found[wanted].replace("{measures}", ", ".join(MEASURE_NAMES))
    text = text.replace("{absent_measures}", ", ".join(f"NULL::real AS {name}" for name in MEASURE_NAMES))
    text = text.replace("{measure_bytes}", ", ".join(map(_bytes_of, MEASURE_NAMES)))
    return text.replace("{measure_arrays}", ", ".join(map(array_of, MEASURE_NAMES))).encode()


def array_of(column: str) -> str:
    """The aggregate that brings a float4 column as one array, NaN for absent."""
    return f"array_agg(coalesce({column}, 'NaN'::real))"


def _bytes_of(column: str) -> str:
    """The aggregate that brings a float4 column as the bytes that COPY sends, without their lengths."""
    return f"string_agg(float4send(coalesce({column}, 'NaN'::real)), '')"


_PG_EPOCH_MS = 946_684_800_000
_HEADER_BYTES = 12
_DIMENSION_BYTES = 8


def _element(dtype: str) -> np.dtype[Any]:
    return np.dtype([("bytes", ">i4"), ("value", dtype)])


class _ArrayLoader(Loader):
    """Arrays without nulls as NumPy columns; reads PostgreSQL's binary array format at once."""

    format = Format.BINARY
    dtype: str
    native: type[np.generic]

    def load(self, data: Buffer) -> Any:
        raw = bytes(data)
        dimensions = int.from_bytes(raw[:4], "big")
        if dimensions == 0:
            return np.empty(0, self.native)
        body = _HEADER_BYTES + dimensions * _DIMENSION_BYTES
        shape = np.frombuffer(raw[_HEADER_BYTES:body], ">i4")[::2]
        values = np.frombuffer(raw, _element(self.dtype), offset=body)["value"]
        return values.astype(self.native).reshape(shape)


class _Int4ArrayLoader(_ArrayLoader):
    dtype, native = ">i4", np.int32


class _Int8ArrayLoader(_ArrayLoader):
    dtype, native = ">i8", np.int64


class _Float4ArrayLoader(_ArrayLoader):
    dtype, native = ">f4", np.float32


class _TimeArrayLoader(_Int8ArrayLoader):
    """timestamptz[] as milliseconds since 1970."""

    def load(self, data: Buffer) -> Any:
        return super().load(data) // 1000 + _PG_EPOCH_MS


def int4s_from(packed: bytes) -> npt.NDArray[np.int32]:
    """A column of int4 that came as `string_agg(int4send(…), '')`: a third less time than as an array."""
    return np.frombuffer(packed, ">i4").astype(np.int32)


def times_from(packed: bytes) -> npt.NDArray[np.int64]:
    """A column of timestamptz that came as `string_agg(timestamptz_send(…), '')`, as milliseconds since 1970."""
    return np.frombuffer(packed, ">i8") // 1000 + _PG_EPOCH_MS


def float4s_from(packed: Sequence[bytes]) -> npt.NDArray[np.float32]:
    """Columns of float4 that came as `{measure_bytes}`: float32[columns, n], NaN for absent."""
    values = np.empty((len(packed), len(packed[0]) // 4), np.float32)
    for row, column in zip(values, packed, strict=True):
        row[:] = np.frombuffer(column, ">f4")
    return values


class Int4s(np.ndarray[Any, np.dtype[np.int32]]):
    """A column to be sent as int4[]."""


class Int8s(np.ndarray[Any, np.dtype[np.int64]]):
    """A column to be sent as int8[]."""


class Times(np.ndarray[Any, np.dtype[np.int64]]):
    """A column of microseconds since 2000, to be sent as timestamptz[]."""


def int4s(column: npt.ArrayLike) -> Int4s:
    """The column as a parameter of type int4[]."""
    return np.ascontiguousarray(column, np.int32).view(Int4s)


def int8s(column: npt.ArrayLike) -> Int8s:
    """The column as a parameter of type int8[]."""
    return np.ascontiguousarray(column, np.int64).view(Int8s)


def times(column_ms: npt.NDArray[np.int64]) -> Times:
    """Milliseconds since 1970 as a parameter of type timestamptz[]."""
    return ((np.ascontiguousarray(column_ms, np.int64) - _PG_EPOCH_MS) * 1000).view(Times)


class _ArrayDumper(Dumper):
    """One-dimensional NumPy columns as PostgreSQL's binary arrays."""

    format = Format.BINARY
    dtype: str
    element: str

    def __init__(self, cls: type, context: AdaptContext | None = None) -> None:
        super().__init__(cls, context)
        self.oid = postgres.types[self.element].array_oid

    def dump(self, obj: Any) -> Buffer:
        body = np.empty(obj.size, _element(self.dtype))
        body["bytes"] = body.dtype["value"].itemsize
        body["value"] = obj
        header = np.array([1, 0, postgres.types[self.element].oid, obj.size, 1], ">i4")
        return header.tobytes() + body.tobytes()


class _Int4ArrayDumper(_ArrayDumper):
    dtype, element = ">i4", "int4"


class _Int8ArrayDumper(_ArrayDumper):
    dtype, element = ">i8", "int8"


class _TimeArrayDumper(_ArrayDumper):
    dtype, element = ">i8", "timestamptz"


def adapt_columns(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> None:
    """Let int4[], int8[], float4[] and timestamptz[] arrive as NumPy columns here, and leave from them.

    Arrives only in binary results: pass `binary=True` to `execute`.
    """
    adapters = connection.adapters
    for element, loader in (
        ("int4", _Int4ArrayLoader),
        ("int8", _Int8ArrayLoader),
        ("float4", _Float4ArrayLoader),
        ("timestamptz", _TimeArrayLoader),
    ):
        adapters.register_loader(postgres.types[element].array_oid, loader)
    adapters.register_dumper(Int4s, _Int4ArrayDumper)
    adapters.register_dumper(Int8s, _Int8ArrayDumper)
    adapters.register_dumper(Times, _TimeArrayDumper)
