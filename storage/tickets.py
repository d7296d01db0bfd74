"""Tickets for sockets: kept as hashes, used once."""

import hashlib
from datetime import datetime
from typing import Any

import orjson

from storage.database import query
from storage.transactions import Pool, Transaction


async def keep(
    transaction: Transaction, ticket: str, claims: dict[str, Any], now: datetime, expires_at: datetime
) -> None:
    """Keep a ticket with what its credential says, until it is used or expires."""
    await transaction.rows("tickets.drop_expired", {"now": now})
    text = orjson.dumps(claims).decode()
    await transaction.rows(
        "tickets.insert", {"digest": _digest(ticket), "claims": text, "expires_at": expires_at}
    )


async def use(pool: Pool, ticket: str, now: datetime) -> dict[str, Any] | None:
    """What the ticket's credential says, once; None for a ticket that is unknown, used or expired."""
    async with pool.connection() as connection:
        cursor = await connection.execute(query("tickets.use"), {"digest": _digest(ticket)})
        row = await cursor.fetchone()
    if row is None or row["expires_at"] <= now:
        return None
    return dict(row["claims"])


def _digest(ticket: str) -> bytes:
    return hashlib.sha256(ticket.encode()).digest()
