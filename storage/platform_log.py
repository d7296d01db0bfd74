"""The log of the platform: what was done to tenants as customers, to operators, to the installation. Only added to."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import Jsonb

from domain.operators import Doer
from storage.connections import connect
from storage.cursors import Cursors
from storage.database import query
from storage.transactions import Transaction

Connection = psycopg.Connection[DictRow]

COMMAND = Doer()
"""Who asks by a command."""

_ENTRIES = Cursors("platform log")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries: those of starts <= at < ends that have all that is named."""

    starts: datetime | None = None
    ends: datetime | None = None
    subject: str | None = None
    action: str | None = None
    resource: str | None = None
    resource_id: str | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """What was done to which record; after: what it says of it."""

    action: str
    resource: str
    resource_id: str
    after: dict[str, Any] | None = None


def note(connection: Connection, by: Doer, done: Done, *, tenant_id: int | None = None) -> None:
    """Write an entry in the connection's transaction; with a tenant, the same into its audit log."""
    told = _parameters(by, done)
    connection.execute(query("platform_log.note"), told)
    if tenant_id is not None:
        connection.execute(query("platform_log.note_in_tenant"), told | {"tenant": tenant_id})


async def note_within(transaction: Transaction, by: Doer, done: Done) -> None:
    """Write an entry in a transaction of the role that sees all tenants."""
    await transaction.rows("platform_log.note", _parameters(by, done))


def _parameters(by: Doer, done: Done) -> dict[str, Any]:
    return asdict(by) | asdict(done) | {"after": None if done.after is None else Jsonb(done.after)}


def page(conninfo: str, wanted: Wanted, cursor: str | None, limit: int) -> tuple[list[DictRow], str | None]:
    """Entries, the newest first, and the cursor of the next page. Raises InvalidRequestError (cursor)."""
    asked = asdict(wanted) | {"before_id": _ENTRIES.decode_number(cursor), "limit": limit + 1}
    with connect(conninfo, row_factory=dict_row) as connection:
        return _ENTRIES.page(connection.execute(query("platform_log.list"), asked).fetchall(), limit, "id")
