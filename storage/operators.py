"""Operators of the installation as records; each change writes an entry of the platform's log."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from psycopg.rows import DictRow, dict_row

from domain.errors import ConflictError, NotFoundError
from domain.operators import subject_of
from domain.users import UserState
from storage.connections import connect
from storage.database import query
from storage.epochs import holder_of_subject
from storage.platform_log import COMMAND, Connection, Done, note
from storage.users import Invitation


def invite(conninfo: str, login: str, invitation: Invitation) -> DictRow:
    """The new operator. Raises ConflictError when the login is taken."""
    with _connected(conninfo) as connection:
        rows = _rows(connection, "insert", {"login": login} | _parameters(invitation))
        if not rows:
            raise ConflictError("the login is taken in operators", field="login")
        _note(connection, rows[0], "invited")
        return rows[0]


def invite_again(conninfo: str, login: str, invitation: Invitation) -> DictRow:
    """The operator with a new invitation; the one before ends. Raises NotFoundError, ConflictError."""
    with _locked(conninfo, login) as (connection, before):
        if before["state"] == UserState.SUSPENDED:
            raise ConflictError("the operator is suspended: resume it first", field="state")
        _rows(connection, "invite", {"id": before["id"]} | _parameters(invitation))
        _note(connection, before, "invited_again")
        return _read(connection, login)


def every(conninfo: str) -> list[DictRow]:
    """All operators by login."""
    with _connected(conninfo) as connection:
        return _rows(connection, "list", {"login": None})


def suspend(conninfo: str, login: str) -> DictRow:
    """The operator, who can't sign in any more, and whose credentials end. Raises NotFoundError."""
    with _locked(conninfo, login) as (connection, before):
        if before["state"] != UserState.SUSPENDED:
            _rows(connection, "set_state", {"id": before["id"], "state": UserState.SUSPENDED})
            _end_credentials(connection, before)
            _note(connection, before, "suspended")
        return _read(connection, login)


def resume(conninfo: str, login: str) -> DictRow:
    """The operator as before it was suspended. Raises NotFoundError."""
    with _locked(conninfo, login) as (connection, before):
        if before["state"] == UserState.SUSPENDED:
            state = UserState.ACTIVE if before["has_password"] else UserState.INVITED
            _rows(connection, "set_state", {"id": before["id"], "state": state})
            _note(connection, before, "resumed")
        return _read(connection, login)


def delete(conninfo: str, login: str) -> DictRow:
    """The operator as it was; its credentials end, and of it only the id is left, in logs. Raises NotFoundError."""
    with _locked(conninfo, login) as (connection, before):
        _rows(connection, "delete", {"id": before["id"]})
        _end_credentials(connection, before)
        _note(connection, before, "deleted")
        return before


def _end_credentials(connection: Connection, operator: DictRow) -> None:
    _rows(connection, "end_sessions", {"id": operator["id"]})
    holder = holder_of_subject(subject_of(operator["id"]))
    connection.execute(query("epochs.raise_of_platform"), {"holder": holder})


def _note(connection: Connection, operator: DictRow, action: str) -> None:
    """Of the person, the entry says nothing."""
    note(connection, COMMAND, Done(f"operators.{action}", "operators", str(operator["id"])))


def _read(connection: Connection, login: str) -> DictRow:
    return _rows(connection, "list", {"login": login})[0]


@contextmanager
def _connected(conninfo: str) -> Iterator[Connection]:
    with connect(conninfo, row_factory=dict_row) as connection:
        yield connection


@contextmanager
def _locked(conninfo: str, login: str) -> Iterator[tuple[Connection, DictRow]]:
    with _connected(conninfo) as connection:
        rows = _rows(connection, "lock", {"login": login})
        if not rows:
            raise NotFoundError("there is no such operator", field="login")
        yield connection, rows[0]


def _rows(connection: Connection, name: str, parameters: dict[str, Any]) -> list[DictRow]:
    cursor = connection.execute(query(f"operators.{name}"), parameters)
    return cursor.fetchall() if cursor.description else []


def _parameters(invitation: Invitation) -> dict[str, Any]:
    return {"digest": invitation.digest, "expires_at": invitation.expires_at}
