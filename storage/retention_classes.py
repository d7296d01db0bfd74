"""Classes of retention: for how long the readings of some tenants are kept, each in a table of its own.

The class `standard` is always there; a setting says its days. Decision record:
docs/decisions/0014-retention-classes.md.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import psycopg
from psycopg.rows import DictRow, dict_row

from domain.errors import (
    ConflictError,
    DatabaseRefusedError,
    InvalidRequestError,
    NotFoundError,
    UnavailableError,
)
from domain.tenancy import STANDARD_RETENTION
from storage import hypertables
from storage.connections import connect
from storage.database import OWNER_ROLE, SCHEMA, query
from storage.days import class_table
from storage.platform_log import COMMAND, Done, note

_LOCK_S_MAX: Final = 1
"""The view of all classes is made anew: requests wait for whoever waits for it, so it is tried again instead."""

_TRIES_MAX: Final = 30

Connection = psycopg.Connection[DictRow]


def every(conninfo: str) -> list[DictRow]:
    """All classes by number, with their days and lines, their tenants, and what was dropped of them."""
    with connect(conninfo, row_factory=dict_row) as connection:
        return of(connection)


def of(connection: psycopg.Connection[Any]) -> list[DictRow]:
    """The same over a connection."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query("retention.overview")).fetchall()


def number_of(connection: Connection, name: str) -> int:
    """The number of a class. Raises InvalidRequestError (retention_class)."""
    numbers = {
        row["name"]: row["class_no"] for row in connection.execute(query("retention.classes")).fetchall()
    }
    if name not in numbers:
        raise InvalidRequestError(
            f"there is no retention class {name}", field="retention_class", limit=", ".join(numbers)
        )
    return int(numbers[name])


def create(admin: str, name: str, keep_days: int | None) -> None:
    """Make a class with a table of its own; keep_days: None keeps readings for good.

    admin: as for a migration, as everywhere here. Raises ConflictError when the name is taken, UnavailableError while
    requests read readings all the time, DatabaseRefusedError.
    """

    def made(connection: Connection) -> None:
        given = {"name": name, "keep_days": keep_days}
        try:
            row = connection.execute(query("retention.create_class"), given).fetchone()
        except psycopg.errors.UniqueViolation as error:
            raise ConflictError("the name is taken in retention classes", field="name") from error
        assert row is not None  # noqa: S101 - INSERT … RETURNING
        number = {"class_no": row["class_no"]}
        connection.execute(query("retention.make_class_table"), number)
        if row["hypertables"]:
            kept_so = replace(hypertables.READINGS, name=class_table(row["class_no"]))
            hypertables.make_hypertable(connection, kept_so)
        connection.execute(query("retention.remake_view"))
        _note(connection, "created", name, {"keep_days": keep_days})

    _change(admin, made)


def set_days(admin: str, name: str, keep_days: int | None) -> None:
    """Keep a class's readings for so long from now on. Days that are archived stay so.

    Raises NotFoundError, ConflictError for the standard class.
    """

    def changed(connection: Connection) -> None:
        _require_own(name)
        if not connection.execute(
            query("retention.set_class_days"), {"name": name, "keep_days": keep_days}
        ).rowcount:
            raise _absent(name)
        _note(connection, "changed", name, {"keep_days": keep_days})

    _change(admin, changed)


def delete(admin: str, name: str) -> None:
    """Delete a class that no tenant is of, with its empty table.

    Raises NotFoundError, ConflictError for the standard class and while a tenant is of it, UnavailableError while
    requests read readings all the time.
    """

    def gone(connection: Connection) -> None:
        _require_own(name)
        try:
            row = connection.execute(query("retention.delete_class"), {"name": name}).fetchone()
        except psycopg.errors.ForeignKeyViolation as error:
            raise ConflictError(
                f"there are tenants of the retention class {name}: they must be erased, or of another class, before",
                field="name",
            ) from error
        if row is None:
            raise _absent(name)
        connection.execute(query("retention.remake_view"))
        connection.execute(f"DROP TABLE {SCHEMA}.{class_table(row['class_no'])}".encode())
        _note(connection, "deleted", name, None)

    _change(admin, gone)


def _change(admin: str, work: Callable[[Connection], None]) -> None:
    """Do it as the owner, in one transaction. Raises UnavailableError, DatabaseRefusedError."""
    for _ in range(_TRIES_MAX):
        try:
            with connect(admin, row_factory=dict_row) as connection:
                connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_S_MAX}s'")
                connection.execute(f"SET LOCAL ROLE {OWNER_ROLE}")
                connection.execute(f"SET LOCAL search_path = {SCHEMA}")
                work(connection)
                return
        except psycopg.errors.LockNotAvailable:
            continue
        except psycopg.errors.InsufficientPrivilege as error:
            raise DatabaseRefusedError(
                f"this login can't act as {OWNER_ROLE}; use the one that migrates ({error.diag.message_primary})"
            ) from error
    raise UnavailableError(
        "requests read readings all the time, so that the view of all classes can't be made anew"
    )


def _require_own(name: str) -> None:
    if name == STANDARD_RETENTION:
        raise ConflictError(
            f"the retention class {name} is always there; BPM_READINGS_KEEP_DAYS says for how long it keeps readings",
            field="name",
        )


def _note(connection: Connection, action: str, name: str, after: dict[str, Any] | None) -> None:
    note(connection, COMMAND, Done(f"retention_classes.{action}", "retention_classes", name, after))


def _absent(name: str) -> NotFoundError:
    return NotFoundError(f"there is no retention class {name}", field="name")
