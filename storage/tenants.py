"""Tenants as customers: suspended and resumed, deleted with a grace and taken back."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import DictRow, dict_row

from domain.cells import Placement
from domain.errors import ConflictError, NotFoundError
from domain.operators import Doer
from domain.tenancy import STANDARD_RETENTION, TenantState
from domain.usage import Quotas
from storage import access_grants, retention_classes
from storage.connections import connect
from storage.cursors import Cursors
from storage.database import query
from storage.platform_log import COMMAND, Done, note

Connection = psycopg.Connection[DictRow]

_TENANTS = Cursors("tenants")


@dataclass(frozen=True, slots=True)
class Changed:
    """A tenant's state, and whether the command changed it. erased_from: when the grace of a deletion ends."""

    state: TenantState
    changed: bool
    erased_from: datetime | None = None


def every(conninfo: str) -> list[dict[str, Any]]:
    """All tenants by name."""
    with connect(conninfo, row_factory=dict_row) as connection:
        return _rows(connection, "list", {"name": None, "after": None, "limit": None})


def page(conninfo: str, cursor: str | None, limit: int) -> tuple[list[DictRow], str | None]:
    """Tenants by name, and the cursor of the next page. Raises InvalidRequestError (cursor)."""
    asked = {"name": None, "after": _TENANTS.decode(cursor), "limit": limit + 1}
    with connect(conninfo, row_factory=dict_row) as connection:
        return _TENANTS.page(_rows(connection, "list", asked), limit, "name")


def get(conninfo: str, name: str) -> DictRow:
    """The tenant as a customer. Raises NotFoundError."""
    with connect(conninfo, row_factory=dict_row) as connection:
        rows = _rows(connection, "list", {"name": name, "after": None, "limit": 1})
    if not rows:
        raise _absent(name)
    return rows[0]


def create(
    conninfo: str,
    name: str,
    *,
    register_unknown_packs: bool,
    retention_class: str = STANDARD_RETENTION,
    by: Doer = COMMAND,
) -> bool:
    """Whether the tenant is new; a known one is left as it is.

    Raises InvalidRequestError (retention_class), psycopg.errors.CheckViolation for the name.
    """
    with connect(conninfo, row_factory=dict_row) as connection:
        class_no = retention_classes.number_of(connection, retention_class)
        given = {"name": name, "register": register_unknown_packs, "class_no": class_no}
        made = connection.execute(query("registry.create_tenant"), given).fetchone()
        if made is not None:
            after = {"register_unknown_packs": register_unknown_packs, "retention_class": retention_class}
            _audit(connection, made | {"name": name}, "created", after, by)
    return made is not None


def suspend(conninfo: str, name: str, reason: str, by: Doer = COMMAND) -> Changed:
    """Let nobody of the tenant in, and nothing of it change, until it is resumed; its access grants end.

    Raises NotFoundError, ConflictError when it is being deleted or isn't here.
    """
    with _locked(conninfo, name) as (connection, tenant):
        state = TenantState(tenant["state"])
        if state is TenantState.SUSPENDED:
            return Changed(state, changed=False)
        _require(tenant, TenantState.ACTIVE)
        _change(connection, tenant, "suspend", "suspended", {"reason": reason}, by)
        access_grants.end_all(connection, tenant["tenant_id"], by)
    return Changed(TenantState.SUSPENDED, changed=True)


def resume(conninfo: str, name: str, by: Doer = COMMAND) -> Changed:
    """Serve a suspended tenant again. Raises NotFoundError, ConflictError when it is being deleted."""
    with _locked(conninfo, name) as (connection, tenant):
        if tenant["state"] == TenantState.ACTIVE:
            return Changed(TenantState.ACTIVE, changed=False)
        _require(tenant, TenantState.SUSPENDED)
        _change(connection, tenant, "resume", "resumed", {}, by)
    return Changed(TenantState.ACTIVE, changed=True)


def delete(conninfo: str, name: str, grace_days: float, by: Doer = COMMAND) -> Changed:
    """Let the tenant be erased after a grace; until then it can be taken back. Its access grants end.

    Raises NotFoundError, ConflictError while it is on its way to another cell.
    """
    with _locked(conninfo, name) as (connection, tenant):
        state = TenantState(tenant["state"])
        if state in (TenantState.DELETING, TenantState.ERASING):
            return Changed(state, changed=False, erased_from=tenant["erased_from"])
        _require(
            tenant, TenantState.ACTIVE, TenantState.SUSPENDED, placements=(Placement.HERE, Placement.MOVED)
        )
        rows = _change(connection, tenant, "delete", "deleting", {"grace_days": grace_days}, by)
        access_grants.end_all(connection, tenant["tenant_id"], by)
    return Changed(TenantState.DELETING, changed=True, erased_from=rows[0]["erased_from"])


def undelete(conninfo: str, name: str, by: Doer = COMMAND) -> Changed:
    """Take back a deletion: the tenant is as it was before. Raises NotFoundError, ConflictError: it is being erased."""
    with _locked(conninfo, name) as (connection, tenant):
        state = TenantState(tenant["state"])
        if state in (TenantState.ACTIVE, TenantState.SUSPENDED):
            return Changed(state, changed=False)
        _require(tenant, TenantState.DELETING, placements=tuple(Placement))
        _change(connection, tenant, "undelete", "undeleted", {}, by)
        after = _rows(connection, "lock", {"name": name})[0]["state"]
    return Changed(TenantState(after), changed=True)


def set_quotas(conninfo: str, name: str, change: Callable[[Quotas], Quotas], by: Doer = COMMAND) -> Quotas:
    """The tenant's quotas as they are from now on. Raises NotFoundError."""
    with _locked(conninfo, name) as (connection, tenant):
        number = {"tenant": tenant["tenant_id"]}
        row = connection.execute(query("usage.quotas"), number).fetchone()
        assert row is not None  # noqa: S101 - the row is locked
        before = Quotas(**row)
        after = change(before)
        if after != before:
            connection.execute(query("usage.set_quotas"), number | asdict(after))
            _audit(connection, tenant, "quotas_set", asdict(after), by)
    return after


def set_retention_class(conninfo: str, name: str, retention_class: str, by: Doer = COMMAND) -> bool:
    """Let a tenant without readings be of another class of retention; whether that is a change.

    Raises NotFoundError, InvalidRequestError (retention_class), ConflictError when readings of it are stored, or it
    isn't here.
    """
    with connect(conninfo, row_factory=dict_row) as connection:
        # In the order of groups, which hold their partition before their tenants.
        _rows(connection, "lock_partitions")
        found = _rows(connection, "lock", {"name": name})
        if not found:
            raise _absent(name)
        (tenant,) = found
        class_no = retention_classes.number_of(connection, retention_class)
        if tenant["retention_class"] == class_no:
            return False
        _require(tenant, TenantState.ACTIVE, TenantState.SUSPENDED)
        (stored,) = _rows(connection, "has_readings", {"tenant": tenant["tenant_id"]})
        if stored["has"]:
            raise ConflictError(
                f"readings of {name} are stored, which stay in the class that it is of: make another tenant of the"
                f" class {retention_class}, and let its packs send there",
                field="retention_class",
            )
        change = {"tenant": tenant["tenant_id"], "class_no": class_no}
        _rows(connection, "set_retention_class", change)
        _rows(connection, "tell_owners")
        _audit(connection, tenant, "retention_class_set", {"retention_class": retention_class}, by)
    return True


@contextmanager
def _locked(conninfo: str, name: str) -> Iterator[tuple[Connection, DictRow]]:
    """The tenant's row, held until the end. Raises NotFoundError."""
    with connect(conninfo, row_factory=dict_row) as connection:
        found = _rows(connection, "lock", {"name": name})
        if not found:
            raise _absent(name)
        yield connection, found[0]


def _require(
    tenant: DictRow, *states: TenantState, placements: tuple[Placement, ...] = (Placement.HERE,)
) -> None:
    """Raises ConflictError unless the tenant is in one of the states and places."""
    if tenant["placement"] not in placements:
        raise ConflictError(
            f"{tenant['name']} is {tenant['placement']}, for the cell {tenant['cell']}", field="tenant"
        )
    if tenant["state"] not in states:
        raise ConflictError(f"{tenant['name']} is {tenant['state']}", field="tenant")


def _change(
    connection: Connection, tenant: DictRow, how: str, action: str, after: dict[str, Any], by: Doer
) -> list[DictRow]:
    rows = _rows(connection, how, {"tenant": tenant["tenant_id"]} | after)
    _audit(connection, tenant, action, after, by)
    return rows


def _audit(connection: Connection, tenant: DictRow, action: str, after: dict[str, Any], by: Doer) -> None:
    done = Done(f"tenants.{action}", "tenants", tenant["name"], after)
    note(connection, by, done, tenant_id=tenant["tenant_id"])


def _absent(name: str) -> NotFoundError:
    return NotFoundError(f"there is no tenant {name}", field="tenant")


def _rows(connection: Connection, name: str, parameters: dict[str, Any] | None = None) -> list[DictRow]:
    cursor = connection.execute(query(f"tenants.{name}"), parameters or {})
    return cursor.fetchall() if cursor.description else []
