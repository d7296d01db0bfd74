"""The alert log, as subscribers read it: a sequence per partition without gaps that are filled later (rule E20)."""

from typing import Any

import psycopg
from psycopg.rows import DictRow

from storage.database import query
from storage.transactions import Transaction

Positions = dict[int, int]
"""How far a reader has come: the last sequence number of each partition."""


async def positions_of_tenant(transaction: Transaction) -> Positions:
    """How far the tenant's events have come: all that this snapshot shows, and nothing later."""
    rows = await transaction.rows("alert_log.positions_of_tenant")
    return {row["partition_no"]: row["seq"] for row in rows}


async def positions(connection: psycopg.AsyncConnection[DictRow]) -> Positions:
    """How far each partition's sequence has come; on a connection of the ingest role."""
    cursor = await connection.execute(query("alert_log.positions"))
    return {row["partition_no"]: row["seq"] for row in await cursor.fetchall()}


async def mark_of_installation(connection: psycopg.AsyncConnection[DictRow]) -> str:
    """Eight hexadecimal digits by which the installation's sequences are told from those of another."""
    cursor = await connection.execute(query("alert_log.mark"))
    (row,) = await cursor.fetchall()
    return str(row["mark"])


async def events_of_tenant(
    transaction: Transaction, partition_no: int, after: int, until: int, limit: int
) -> list[DictRow]:
    """The tenant's events of a partition with after < seq <= until, in order, at most `limit`.

    Each row has the event (`seq`, `kind`, `reason`, `at`, `event_value`, `subject`, `assignee`, `comment`) and all
    columns of its alert as it is now. Sites aren't looked at: that is the caller's, by `Actor.sees_site`.
    """
    asked = {"partition_no": partition_no, "after": after, "until": until, "limit": limit}
    return await transaction.rows("alert_log.of_tenant", asked)


async def events_of_all(
    connection: psycopg.AsyncConnection[DictRow], partition_no: int, after: int, until: int, limit: int
) -> list[DictRow]:
    """The same of all tenants, each row with its `tenant_id`; on a connection of the ingest role."""
    asked: dict[str, Any] = {"partition_no": partition_no, "after": after, "until": until, "limit": limit}
    cursor = await connection.execute(query("alert_log.of_all"), asked)
    return await cursor.fetchall()
