"""A tenant is erased: every row of it, in every table, and a record that says so stays.

Which tables have rows of tenants is asked of the database itself, so that a table which is added later is erased too.
Of a pack that changed hands, each tenant's own readings and windows go with the tenant; the others keep theirs.

Rows go in slices that no writer waits for. Only what the owners of partitions remember goes while they wait, in one
short transaction; then they load again.
"""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
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
from domain.tenancy import TenantState
from storage.connections import connect
from storage.database import SCHEMA, adapt_columns, query
from storage.days import class_table
from storage.erasing_slices import BY_PACK, READINGS, Slices, Told, named
from storage.shared_packs import SharedPacks

BY_OTHER_NUMBERS: Final = {
    "rule_states": "rule_no IN (SELECT rule_no FROM rules WHERE tenant_id = %(tenant)s)",
    "correction_parts": "correction_no IN (SELECT correction_no FROM corrections WHERE tenant_id = %(tenant)s)",
    "corrected_packs": "pack_id = ANY(%(own)s)",
    "pack_state": "pack_id = ANY(%(own)s)",
    # Pictures of who has how many packs and alerts; the owners of partitions make them anew within seconds.
    "partition_reports": "true",
}
"""Tables without a tenant that hold something of one: which rows. own: packs that nobody else has or had."""

_OWN: Final = "tenant_id = %(tenant)s"

_LAST: Final = frozenset({"packs", "sites", "models", "tenants"})
"""Tables to which tenures refer. By its packs it is known what of the tenant is left, should the erasure end before."""

_LOOKS_MAX: Final = 3

Connection = psycopg.Connection[DictRow]


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


def erase(conninfo: str, name: str, by: str, told: Told, *, rows_max: int, now: bool = False) -> Erasure:
    """Erase a deleted tenant whose grace is over, or at once; goes on where a run before ended.

    conninfo: of the eraser role. by: who asked. told: is called with rows that are gone. rows_max: deleted by one
    transaction. Raises NotFoundError, ConflictError when the tenant isn't deleted or its grace isn't over,
    EraseFailedError.
    """
    with connect(conninfo, autocommit=True, row_factory=dict_row) as connection:
        adapt_columns(connection)
        connection.execute(query("hypertables.decompress_without_limit"))
        tenant = _begin(connection, name, by, now=now)
        slices = Slices(connection, tenant, rows_max, told)
        packs = _packs_of(connection, tenant)
        left: dict[str, int] = {}
        for _ in range(_LOOKS_MAX):
            # Rows that came behind their table's turn hold those to which they refer.
            with suppress(psycopg.errors.ForeignKeyViolation):
                _delete_all(slices, packs)
            left = rows_left(connection, tenant)
            if not left:
                break
            # What was being written meanwhile by somebody who had read before, and what lies with packs of others.
            packs = sorted({*_packs_of(connection, tenant), *_packs_left(connection, tenant, left)})
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


def _packs_of(connection: Connection, tenant: int) -> list[int]:
    return [row["pack_id"] for row in _rows(connection, "packs", {"tenant": tenant})]


def _packs_left(connection: Connection, tenant: int, left: Mapping[str, int]) -> set[int]:
    """The packs of rows that are left in the tables that go by them."""
    found: set[int] = set()
    for table in _tables_by_pack(connection):
        if f"{table}.tenant_id" in left:
            text = f"SELECT DISTINCT pack_id FROM {SCHEMA}.{table} WHERE tenant_id = %s"
            found |= {row["pack_id"] for row in connection.execute(text.encode(), (tenant,)).fetchall()}
    return found


def _tables_by_pack(connection: Connection) -> list[str]:
    """Tables that go by packs: those of BY_PACK, with readings of each class of retention."""
    classes = [
        class_table(row["class_no"]) for row in connection.execute(query("retention.classes")).fetchall()
    ]
    return classes + [table for table in BY_PACK if table != READINGS]


def _delete_all(slices: Slices, packs: list[int]) -> None:
    """Everything once: what goes by packs, all else but where they are, that with the owners, and the packs at last."""
    connection, tenant = slices.connection, slices.tenant
    shared = SharedPacks.of(connection, tenant)
    own = {"own": sorted(set(packs) - set(shared.packs))}
    for table in _tables_by_pack(connection):
        slices.by_pack(table, packs)
    keys = {row["table"]: row["key"] for row in _rows(connection, "keys")}
    for table, where in BY_OTHER_NUMBERS.items():
        slices.by_key(table, where, keys[table], own)
    first, last = _in_order(connection)
    for table in first:
        # By its tenures of shared packs it is known which of their values were the tenant's.
        where = _OWN if table != "tenures" else f"{_OWN} AND pack_id <> ALL(%(shared)s)"
        slices.by_key(table, where, keys[table], {"shared": shared.packs})
    shared.read()
    with connection.transaction():
        # The owners of partitions wait from here to the commit.
        _rows(connection, "lock_partitions")
        shared.forget()
        for table in ("corrected_packs", "pack_state"):
            slices.slice(table, BY_OTHER_NUMBERS[table], own)
        slices.slice("tenures", _OWN)
        _rows(connection, "tell_owners")
    for table in last:
        slices.by_key(table, _OWN, keys[table])


def _in_order(connection: Connection) -> tuple[list[str], list[str]]:
    """Tables with a tenant that don't go by packs, each before those that it refers to; those of _LAST apart."""
    tables = {row["table"] for row in _rows(connection, "tenant_columns") if row["column"] == "tenant_id"}
    tables = {table for table in tables if named(table) not in BY_PACK}
    sorter: TopologicalSorter[str] = TopologicalSorter({table: set() for table in tables})
    for row in _rows(connection, "references"):
        if row["child"] in tables and row["parent"] in tables:
            sorter.add(row["parent"], row["child"])
    ordered = list(sorter.static_order())
    return [table for table in ordered if table not in _LAST], [table for table in ordered if table in _LAST]


def _rows(connection: Connection, name: str, parameters: dict[str, Any] | None = None) -> list[DictRow]:
    cursor = connection.execute(query(f"erasing.{name}"), parameters or {})
    return cursor.fetchall() if cursor.description else []
