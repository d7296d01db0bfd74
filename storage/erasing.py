"""A tenant is erased: every row of it, in every table, and a record that says so stays.

Which tables have rows of tenants is asked of the database itself, so that a table which is added later is erased too.
Of a pack that changed hands, each tenant's own readings and windows go with the tenant; the others keep theirs.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from graphlib import TopologicalSorter
from typing import Any, Final
from uuid import UUID

import orjson
import psycopg
from psycopg.rows import DictRow, dict_row

from domain.cells import Placement
from domain.errors import ConflictError, EraseFailedError, NotFoundError
from domain.measures import MEASURES
from domain.readings import ABSENT, NEVER_MS
from domain.tenancy import TenantState
from storage.database import SCHEMA, query

_OWN_PACKS: Final = (
    "pack_id IN (SELECT pack_id FROM packs WHERE tenant_id = %(tenant)s) AND pack_id NOT IN"
    " (SELECT pack_id FROM packs WHERE tenant_id <> %(tenant)s)"
)

BY_OTHER_NUMBERS: Final = {
    "rule_states": "rule_no IN (SELECT rule_no FROM rules WHERE tenant_id = %(tenant)s)",
    "correction_parts": "correction_no IN (SELECT correction_no FROM corrections WHERE tenant_id = %(tenant)s)",
    "corrected_packs": _OWN_PACKS,
    "pack_state": _OWN_PACKS,
    # Pictures of who has how many packs and alerts; the owners of partitions make them anew within seconds.
    "partition_reports": "true",
}
"""Tables without a tenant that hold something of one: which rows."""

_LARGE: Final = ("readings", "superseded_readings", "quarters")
"""Deleted before all else, some packs at a time, so that no transaction takes long."""

_PACKS_AT_ONCE: Final = 50

_SOME_PACKS: Final = (
    "tenant_id = %(tenant)s AND pack_id = ANY(%(packs)s) AND pack_id >= %(first)s AND pack_id <= %(last)s"
)
"""With bounds, since TimescaleDB passes over no batch of its columns for a list."""

_LOOKS_MAX: Final = 3

Connection = psycopg.Connection[DictRow]
Told = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Erasure:
    """What was erased of whom. erased_rows: of each table. installation: where."""

    id: UUID
    installation: UUID
    tenant_no: int
    tenant_name: str
    tenant_made_at: datetime
    asked_by: str
    began_at: datetime
    erased_at: datetime
    erased_rows: dict[str, int]

    @property
    def digest(self) -> str:
        """SHA-256 of all of it, in hexadecimal."""
        return hashlib.sha256(orjson.dumps(asdict(self), option=orjson.OPT_SORT_KEYS)).hexdigest()


def erase(conninfo: str, name: str, by: str, told: Told, *, now: bool = False) -> Erasure:
    """Erase a deleted tenant whose grace is over, or at once; goes on where a run before ended.

    conninfo: of the eraser role. by: who asked. told: is called with tables and rows that are gone. Raises
    NotFoundError, ConflictError when the tenant isn't deleted or its grace isn't over, EraseFailedError.
    """
    with psycopg.connect(conninfo, autocommit=True, row_factory=dict_row) as connection:
        connection.execute(query("hypertables.decompress_without_limit"))
        tenant = _begin(connection, name, by, now=now)
        _delete_large(connection, tenant, told)
        for _ in range(_LOOKS_MAX):
            with connection.transaction():
                _delete_all(connection, tenant, told)
            # What was being written meanwhile by somebody who had read before.
            left = rows_left(connection, tenant)
            if not left:
                break
        else:
            raise EraseFailedError(f"rows of {name} come again: {left}; run the command again")
        (done,) = _rows(connection, "finish", {"tenant": tenant})
        return next(one for one in erasures(connection) if one.id == done["id"])


def erasures(connection: Connection) -> list[Erasure]:
    """What was erased here, the oldest first."""
    return [Erasure(**row) for row in _rows(connection, "list")]


def still_there(connection: Connection, known: Erasure) -> bool:
    """Whether a database has a tenant that was erased: it was made from an older backup."""
    return bool(_rows(connection, "still_there", asdict(known)))


def rows_left(connection: Connection, tenant: int) -> dict[str, int]:
    """Rows that hold the tenant's number, by table and column: looked for in every column that could."""
    found = {}
    with connection.transaction():
        for row in _rows(connection, "tenant_columns"):
            counted = connection.execute(
                f'SELECT count(*) AS rows FROM {SCHEMA}."{row["table"]}" WHERE "{row["column"]}" = %s',
                (tenant,),
            ).fetchone()
            if counted and counted["rows"]:
                found[f"{row['table']}.{row['column']}"] = counted["rows"]
    return found


def _begin(connection: Connection, name: str, by: str, *, now: bool) -> int:
    """The number of a tenant that is being erased from now on: that can't be taken back."""
    with connection.transaction():
        found = _rows(connection, "lock", {"name": name})
        if not found:
            unfinished = _rows(connection, "unfinished", {"name": name})
            if not unfinished:
                raise NotFoundError(f"there is no tenant {name}", field="tenant")
            return int(unfinished[0]["tenant_no"])
        (tenant,) = found
        if tenant["placement"] not in (Placement.HERE, Placement.MOVED):
            raise ConflictError(f"{name} is on its way to another cell", field="tenant")
        if tenant["state"] not in (TenantState.DELETING, TenantState.ERASING):
            raise ConflictError(f"{name} is {tenant['state']}: delete it first", field="tenant")
        if tenant["state"] == TenantState.DELETING and not now and not tenant["grace_is_over"]:
            raise ConflictError(
                f"{name} can be taken back until {tenant['erased_from']:%Y-%m-%d %H:%M} UTC", field="tenant"
            )
        given = {"tenant": tenant["tenant_id"], "name": name, "made_at": tenant["created_at"], "by": by}
        _rows(connection, "begin", given)
        _rows(connection, "note", given)
    return int(tenant["tenant_id"])


def _delete_large(connection: Connection, tenant: int, told: Told) -> None:
    packs = [row["pack_id"] for row in _rows(connection, "packs", {"tenant": tenant})]
    for table in _LARGE:
        for start in range(0, len(packs), _PACKS_AT_ONCE):
            some = packs[start : start + _PACKS_AT_ONCE]
            with connection.transaction():
                _delete(
                    connection,
                    tenant,
                    table,
                    _SOME_PACKS,
                    told,
                    {"packs": some, "first": some[0], "last": some[-1]},
                )


def _delete_all(connection: Connection, tenant: int, told: Told) -> None:
    """Everything that is left, in one transaction, in which the owners of partitions wait; then they load again."""
    _rows(connection, "lock_partitions")
    for pack in _rows(connection, "shared_packs", {"tenant": tenant}):
        _delete(
            connection,
            tenant,
            "readings",
            "tenant_id = %(tenant)s AND pack_id = %(pack)s",
            told,
            {"pack": pack["pack_id"]},
        )
        _forget_latest(connection, pack["pack_id"])
    for table, where in BY_OTHER_NUMBERS.items():
        _delete(connection, tenant, table, where, told)
    for table in _children_first(connection):
        _delete(connection, tenant, table, "tenant_id = %(tenant)s", told)
    _rows(connection, "tell_owners")


def _delete(
    connection: Connection,
    tenant: int,
    table: str,
    where: str,
    told: Told,
    more: dict[str, Any] | None = None,
) -> None:
    gone = connection.execute(
        f'DELETE FROM {SCHEMA}."{table}" WHERE {where}'.encode(), {"tenant": tenant} | (more or {})
    ).rowcount
    if gone:
        _rows(connection, "count", {"tenant": tenant, "table": table, "rows": gone})
        told(table, gone)


def _children_first(connection: Connection) -> Iterator[str]:
    """All tables with a tenant, each before those that it refers to."""
    tables = {row["table"] for row in _rows(connection, "tenant_columns") if row["column"] == "tenant_id"}
    sorter: TopologicalSorter[str] = TopologicalSorter({table: set() for table in tables})
    for row in _rows(connection, "references"):
        if row["child"] in tables and row["parent"] in tables:
            sorter.add(row["parent"], row["child"])
    return iter(tuple(sorter.static_order()))


def _forget_latest(connection: Connection, pack: int) -> None:
    """Let the memory of a shared pack hold what is stored now."""
    ts_ms, thousandths = [], []
    for measure in MEASURES:
        row = connection.execute(
            f"SELECT (extract(epoch FROM ts) * 1000)::int8 AS ts_ms, {measure.name} AS value FROM {SCHEMA}.readings"
            f" WHERE pack_id = %s AND {measure.name} IS NOT NULL ORDER BY ts DESC LIMIT 1",
            (pack,),
        ).fetchone()
        ts_ms.append(NEVER_MS if row is None else row["ts_ms"])
        thousandths.append(int(ABSENT) if row is None else round(row["value"] * 1000))
    _rows(connection, "forget_latest", {"pack": pack, "latest_ts_ms": ts_ms, "latest": thousandths})


def _rows(connection: Connection, name: str, parameters: dict[str, Any] | None = None) -> list[DictRow]:
    cursor = connection.execute(query(f"erasing.{name}"), parameters or {})
    return cursor.fetchall() if cursor.description else []
