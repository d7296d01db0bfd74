"""One way to a connection for requests: a transaction that belongs to an actor."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
import psycopg
from psycopg.rows import DictRow, dict_row, tuple_row
from psycopg_pool import AsyncConnectionPool

from domain.redaction import redacted
from domain.tenancy import Actor
from storage.connections import AsyncConnection
from storage.database import adapt_columns, query

Pool = AsyncConnectionPool[psycopg.AsyncConnection[DictRow]]


def open_pool(conninfo: str, *, connections_max: int, wait_s_max: float) -> Pool:
    """A pool, not yet open; waiting longer than `wait_s_max` for a connection raises PoolTimeout."""

    async def configure(connection: psycopg.AsyncConnection[DictRow]) -> None:
        adapt_columns(connection)

    return AsyncConnectionPool(
        conninfo,
        connection_class=AsyncConnection[DictRow],
        kwargs={"row_factory": dict_row, "autocommit": True},
        configure=configure,
        check=AsyncConnectionPool.check_connection,
        min_size=1,
        max_size=connections_max,
        timeout=wait_s_max,
        open=False,
    )


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction on behalf of an actor; row-level security holds it to the actor's tenant."""

    connection: psycopg.AsyncConnection[DictRow]
    actor: Actor
    request_id: str
    client_address: str | None = None

    async def rows(
        self, name: str, parameters: dict[str, Any] | None = None, *, binary: bool = False
    ) -> list[DictRow]:
        """All rows of the query `file.name`.

        Among its parameters by themselves are `tenant_id`, and `sites`: the names of those to which the actor is
        limited, or NULL.
        """
        sites = None if self.actor.sites is None else sorted(self.actor.sites)
        given = {"tenant_id": self.actor.tenant_id, "sites": sites} | (parameters or {})
        cursor = await self.connection.execute(query(name), given, binary=binary)
        return await cursor.fetchall() if cursor.description else []

    async def one(
        self, name: str, parameters: dict[str, Any] | None = None, *, binary: bool = False
    ) -> DictRow | None:
        """The only row, or None."""
        rows = await self.rows(name, parameters, binary=binary)
        return rows[0] if rows else None

    async def columns(self, name: str, parameters: dict[str, Any]) -> tuple[Any, ...]:
        """The only row of a query that gathers each column as an array; `tenant_id` is a parameter by itself."""
        given = {"tenant_id": self.actor.tenant_id} | parameters
        async with self.connection.cursor(row_factory=tuple_row) as cursor:
            await cursor.execute(query(name), given, binary=True, prepare=False)
            return await cursor.fetchone() or ()

    async def audit(
        self, action: str, resource: str, resource_id: str, before: DictRow | None, after: DictRow | None
    ) -> None:
        """Write who changed what into the audit log, in this transaction; what is sensitive is left out.

        The entry's site is the record's, as it is afterwards; that of one that is gone as it was.
        """
        await self.rows(
            "records.audit",
            {
                "subject": self.actor.subject,
                "action": action,
                "resource": resource,
                "resource_id": resource_id,
                "before": _json(before),
                "after": _json(after),
                "request_id": self.request_id,
                "client_address": self.client_address,
                "site": _site(resource, after or before or {}),
            },
        )


def _json(row: DictRow | None) -> str | None:
    return None if row is None else orjson.dumps(redacted(row), default=str).decode()


def _site(resource: str, row: DictRow) -> str | None:
    """The site of a record: itself, the one that it is at, or the one that it is for."""
    if resource == "sites":
        return str(row["name"])
    if row.get("scope") == "site":
        return str(row["scope_name"])
    return row.get("site")


class Transactions:
    """Begins transactions for actors."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @asynccontextmanager
    async def begin(
        self, actor: Actor, request_id: str, *, read_only: bool = False, client_address: str | None = None
    ) -> AsyncIterator[Transaction]:
        """A transaction that commits when left cleanly. One snapshot serves all reads of a read-only one."""
        async with self._pool.connection() as connection, connection.transaction():
            if read_only:
                await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            await connection.execute(query("records.set_tenant"), {"tenant": str(actor.tenant_id)})
            yield Transaction(connection, actor, request_id, client_address)
