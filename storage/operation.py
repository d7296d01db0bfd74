"""What an operator asks of a database: how far it has come, what waits, what it holds; across all tenants."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg
from psycopg.rows import DictRow, dict_row

from domain.clock import MILLISECONDS_PER_SECOND, to_ms
from storage import retention_classes
from storage.database import query
from storage.migrate import migrations

_PACE_OVER: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Position:
    """How far a database has come.

    next: the position after the last committed group, by partition. batch_no: the largest committed batch number.
    arrived_at: when the newest batch arrived, None without any. migration: the number of the last one applied.
    """

    installation: str
    next: dict[int, int]
    batch_no: int
    arrived_at: datetime | None
    migration: int


def overview(connection: psycopg.Connection[Any], now: datetime, silent_after_s: int) -> dict[str, Any]:
    """What `bpm status` shows of the database, as JSON has it. The connection acts as the ingest role."""

    def rows(name: str, **parameters: Any) -> list[DictRow]:
        with connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query(f"operation.{name}"), parameters).fetchall()

    (source,) = rows("topic")
    (recount,) = rows("to_recount")
    (packs,) = rows("packs", silent_before_ms=to_ms(now) - silent_after_s * MILLISECONDS_PER_SECOND)
    (pace,) = rows("pace", since=now - _PACE_OVER)
    (deliveries,) = rows("deliveries")
    last_import = rows("last_import")
    return {
        "readings_per_s": round(pace["readings_per_s"], 3),
        "topic": source["topic"],
        "partitions": rows("partitions"),
        "quarters_to_recount": recount["quarters"],
        "packs": packs,
        "open_alerts": {
            "critical": 0,
            "warning": 0,
            "info": 0,
            **{row["severity"]: row["alerts"] for row in rows("open_alerts")},
        },
        "deliveries": deliveries,
        "retention_classes": retention_classes.of(connection),
        "last_import": last_import[0] if last_import else None,
    }


def position(connection: psycopg.Connection[Any]) -> Position:
    """How far the database has come, committed. The connection's search path leads to the schema."""
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(query("operation.position")).fetchone()
    if row is None:
        raise AssertionError("a query without FROM gives one row")
    following = {int(number): int(next_) for number, next_ in row["partitions"].items()}
    return Position(row["installation"], following, row["batch_no"], row["arrived_at"], row["migration"])


def latest_arrival(connection: psycopg.Connection[Any]) -> datetime | None:
    """When the newest batch arrived."""
    row = connection.execute(query("operation.latest_arrival")).fetchone()
    return None if row is None else row[0]


def unapplied(connection: psycopg.Connection[Any]) -> tuple[list[str], list[int]]:
    """Migrations that are missing, by name, and numbers of those that this version doesn't know."""
    applied = {number for number, _ in connection.execute(query("operation.migrations")).fetchall()}
    known = migrations()
    return (
        [f"{one.number:04}_{one.name}" for one in known if one.number not in applied],
        sorted(applied - {one.number for one in known}),
    )
