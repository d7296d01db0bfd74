"""A tenant's rows on their way from one cell's database into another's, with the numbers that they have there."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from domain.errors import MoveFailedError, MoveRefusedError
from storage import connections
from storage.cell_tables import MAPS, MOVED, Moved
from storage.database import query
from storage.days import class_table, partition_of

Connection = psycopg.Connection[dict[str, Any]]
Parameters = dict[str, Any]

_BY_PACK: Final = frozenset({"readings", "superseded_readings"})
"""Tables that are compared pack by pack."""

_FOLDED_DAYS: Final = 2
"""A day in any zone lies within so many days of UTC's."""


def connect(conninfo: str) -> Connection:
    """A connection for statements whose parameters are written into them, as COPY needs it."""
    return connections.connect(
        conninfo, autocommit=True, row_factory=dict_row, cursor_factory=psycopg.ClientCursor
    )


def rows(connection: Connection, name: str, parameters: Parameters | None = None) -> list[dict[str, Any]]:
    """All rows of a query of cells.sql; none for one that gives none."""
    cursor = connection.execute(query(f"cells.{name}"), parameters or {})
    return cursor.fetchall() if cursor.description else []


def one(connection: Connection, name: str, parameters: Parameters | None = None) -> dict[str, Any]:
    """The only row of a query of cells.sql."""
    (row,) = rows(connection, name, parameters)
    return row


@dataclass(frozen=True, slots=True)
class Compared:
    """What a table has of the tenant: rows, and a sum over their content; by pack where there are many of each."""

    rows: int
    content: Mapping[int, tuple[int, int]]


@dataclass(slots=True)
class Copy:
    """One attempt to copy a tenant: a snapshot of the source, and a transaction of the target.

    told: is called with each table's name, with bytes when it is copied, and with rows when it is compared.
    """

    source: Connection
    target: Connection
    tenant: int
    told: Callable[[str, str, int], None]
    counts: dict[str, int] = field(default_factory=dict)
    _readings: str = ""
    given: Parameters = field(default_factory=dict)

    def run(self, arrived_from: str, reseal: Callable[[int, UUID, bytes, int], bytes]) -> int:
        """Copy and compare; the tenant's number in the target, where nothing is committed yet.

        reseal: a channel's secret of the source's tenant for the target's. Raises MoveFailedError when the two differ.
        """
        facts, there = one(self.source, "facts"), one(self.target, "facts")
        row = one(self.source, "tenant_row", {"tenant": self.tenant})
        arrived = one(self.target, "arrive", row | {"arrived_from": arrived_from})["tenant_id"]
        counted_before = min(facts["counted_before"], there["counted_before"])
        self.given |= {
            "tenant": self.tenant,
            "to_tenant": arrived,
            "partitions": facts["partitions"],
            "to_partitions": there["partitions"],
            "counted_before": counted_before,
            "folded_before": (counted_before - timedelta(days=_FOLDED_DAYS)).date(),
        }
        for table in MOVED:
            self._copy(table)
        for lost in rows(self.source, "lost_ranges"):
            rows(self.target, "put_lost_range", lost)
        for table in MOVED:
            self._compare(table)
        self._reseal(reseal)
        return int(arrived)

    def make_room(self) -> None:
        """Give the tenant's rows their numbers in the target, and the target partitions for them.

        In transactions of their own: numbers that are not used are lost, and partitions stay empty.
        """
        self._make_maps()
        self._shift()
        facts = one(self.target, "facts")
        ours = one(self.source, "retention_class", {"tenant": self.tenant})
        class_no: int = one(self.target, "retention_class_named", ours)["class_no"]
        self._readings = class_table(class_no)
        days = [row["day"] for row in rows(self.source, "days", {"tenant": self.tenant})]
        if facts["hypertables"]:
            text = query("cells.make_chunks").replace(b"{readings}", self._readings.encode())
            for day in sorted(days):
                with self.target.transaction():
                    self.target.execute(text, {"day": datetime.combine(day, time(), UTC)})
            return
        first_day: date = facts["first_day"]
        ranges = {partition_of(day, first_day, class_no) for day in days}
        for wanted in sorted(ranges, key=lambda found: found.starts):
            bounds = {"starts": wanted.starts, "ends": wanted.ends}
            at_midnight = {name: datetime.combine(value, time(), UTC) for name, value in bounds.items()}
            self.target.execute(
                query("readings.make_partition"), {"class_no": class_no, "name": wanted.name} | at_midnight
            )
        for row in rows(self.source, "months", {"tenant": self.tenant}):
            self.target.execute(query("windows.make_month"), row)

    def finish(self) -> None:
        """Note what is to be counted there, and tell the owners; commit soon, since they wait."""
        rows(self.target, "note_days", self.given)
        rows(self.target, "note_groups", self.given)
        rows(self.target, "lock_partitions")
        rows(self.target, "note_quarters", self.given | {"batch_no": self.given["lowest_batch_no"]})
        rows(self.target, "tell_owners")

    def _make_maps(self) -> None:
        for name, (table, column, sequence) in MAPS.items():
            old = [
                row["old"]
                for row in self.source.execute(
                    f"SELECT {column} AS old FROM bpm.{table} WHERE tenant_id = %s ORDER BY 1", (self.tenant,)
                )
            ]
            new = [
                row["new"]
                for row in self.target.execute(
                    "SELECT nextval(%s::regclass) AS new FROM generate_series(1, %s)",
                    (f"bpm.{sequence}", len(old)),
                )
            ]
            self.source.execute(
                f"CREATE TEMP TABLE moving_{name} (old bigint PRIMARY KEY, new bigint NOT NULL)"
            )
            with self.source.cursor().copy(f"COPY moving_{name} FROM STDIN") as into:
                for pair in zip(old, sorted(new), strict=True):
                    into.write_row(pair)
            self.source.execute(f"ANALYZE moving_{name}")

    def _shift(self) -> None:
        """Let batches and events keep their order, below all numbers of the target."""
        facts = one(self.source, "facts")
        blocks = rows(self.source, "blocks")
        batches = blocks[0]["last_batch_no"] + 1 - facts["arrived_batch_no"]
        events = [row["alert_seq"] + 1 - facts["arrived_seq"] for row in blocks]
        taken = one(self.target, "take_blocks", {"batches": batches, "events": sum(events)})
        self.given["batches_down"] = blocks[0]["last_batch_no"] + 1 - taken["batch_no"]
        self.given["lowest_batch_no"] = taken["batch_no"] - batches
        self.source.execute(
            "CREATE TEMP TABLE moving_log (partition_no integer PRIMARY KEY, down bigint NOT NULL)"
        )
        end = taken["seq"]
        for row, count in zip(blocks, events, strict=True):
            self.source.execute(
                "INSERT INTO moving_log VALUES (%s, %s)", (row["partition_no"], row["alert_seq"] + 1 - end)
            )
            end -= count

    def _columns(self, table: Moved) -> dict[str, str]:
        found = rows(self.source, "columns", {"table": table.name})
        return {row["name"]: row["type"] for row in found if row["name"] not in table.left}

    def _copy(self, table: Moved) -> None:
        columns = self._columns(table)
        names = ", ".join(f'"{name}"' for name in columns)
        into_table = self._readings if table.name == "readings" else table.name
        taken = f"COPY ({table.source(columns)}) TO STDOUT (FORMAT BINARY)"
        size = 0
        with (
            self.source.cursor().copy(taken, self.given) as out,
            self.target.cursor().copy(f"COPY bpm.{into_table} ({names}) FROM STDIN (FORMAT BINARY)") as into,
        ):
            for block in out:
                into.write(block)
                size += len(block)
        self.told("copied", table.name, size)

    def _compare(self, table: Moved) -> None:
        columns = self._columns(table)
        ours = self._seen(self.source, table, table.source(columns))
        theirs = self._seen(self.target, table, table.target(columns))
        if ours != theirs:
            differ = sum(ours.content.get(key) != found for key, found in theirs.content.items())
            raise MoveFailedError(
                f"{table.name} differs after the copy: {ours.rows} rows here, {theirs.rows} there, {differ} sums differ"
            )
        self.counts[table.name] = ours.rows
        self.told("compared", table.name, ours.rows)

    def _seen(self, connection: Connection, table: Moved, select: str) -> Compared:
        key = "pack_id" if table.name in _BY_PACK else "0"
        found = connection.execute(
            f"SELECT {key} AS key, count(*) AS rows, sum(hashtextextended(x::text, 0)::numeric) AS content"
            f" FROM ({select}) AS x GROUP BY 1",
            self.given,
        ).fetchall()
        content = {row["key"]: (row["rows"], int(row["content"])) for row in found}
        return Compared(sum(count for count, _ in content.values()), content)

    def _reseal(self, reseal: Callable[[int, UUID, bytes, int], bytes]) -> None:
        for row in rows(self.source, "sealed_secrets", {"tenant": self.tenant}):
            sealed = {
                name: None
                if row[name] is None
                else reseal(self.tenant, row["id"], row[name], self.given["to_tenant"])
                for name in ("secret", "former_secret")
            }
            rows(self.target, "put_secrets", self.given | {"id": row["id"]} | sealed)


def audit(connection: Connection, tenant: int, name: str, action: str, after: Parameters) -> None:
    """Write into the tenant's audit log what was done with it."""
    rows(connection, "audit", {"tenant": tenant, "name": name, "action": action, "after": Jsonb(after)})


@contextmanager
def snapshot(connection: Connection) -> Iterator[None]:
    """One snapshot for everything that is read; temporary tables are gone at the end."""
    with connection.transaction(force_rollback=True):
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        yield


def require_other(here: Mapping[str, Any], there: Mapping[str, Any]) -> None:
    """Raises MoveRefusedError when both are one installation."""
    if here["id"] == there["id"]:
        raise MoveRefusedError("the cell is this installation itself", field="to")


def require_alike(here: Mapping[str, Any], there: Mapping[str, Any]) -> None:
    """Raises MoveRefusedError when two installations don't fit together: what both say of themselves."""
    for side, facts in (("this cell", here), ("the other cell", there)):
        if facts["topic"] is None:
            raise MoveRefusedError(
                f"{side} takes readings in without Kafka: only cells with a topic exchange tenants"
            )
        if facts["partitions_made"] == 0 or facts["counted_before"] is None:
            raise MoveRefusedError(f"no worker has run on {side} yet")
    if here["gap_s_max"] != there["gap_s_max"]:
        raise MoveRefusedError("the other cell has another longest gap", limit=str(here["gap_s_max"]))


def require_same_class(here: Connection, there: Connection, tenant: int) -> None:
    """Raises MoveRefusedError when the other installation doesn't have the tenant's class of retention just so."""
    ours = one(here, "retention_class", {"tenant": tenant})
    theirs = rows(there, "retention_class_named", ours)
    if not theirs:
        raise MoveRefusedError(
            f"the other cell has no retention class {ours['name']}: make it there", field="retention_class"
        )
    for name, said in (
        ("keep_days", "keeps its readings for other days"),
        ("archived_before", "has other archived days"),
    ):
        if ours[name] != theirs[0][name]:
            raise MoveRefusedError(
                f"the retention class {ours['name']} of the other cell {said}",
                field="retention_class",
                limit=str(ours[name]),
            )


def require_own_packs(connection: Connection, tenant: int) -> None:
    """Raises MoveRefusedError when another tenant has or had packs of this one: their history can't be split."""
    shared: Sequence[dict[str, Any]] = rows(connection, "shared_packs", {"tenant": tenant})
    if shared:
        raise MoveRefusedError(
            "packs were handed over from or to another tenant: " + ", ".join(row["pack"] for row in shared)
        )
