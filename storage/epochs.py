"""Epochs of credentials: whoever holds an older one has been signed out."""

from typing import Any, Final

import psycopg
from psycopg.rows import DictRow

from domain.tenancy import TenantId
from storage.database import query
from storage.transactions import Pool, Transaction

CHANNEL: Final = "bpm_credentials"
"""Notified on each commit that ends credentials; the queries say the same name."""


def holder_of_subject(subject: str) -> str:
    """The holder whose epoch ends all credentials of a subject."""
    return f"subject:{subject}"


def holder_of_session(session: str) -> str:
    """The holder whose epoch ends the access tokens of a session."""
    return f"session:{session}"


async def raise_epoch(transaction: Transaction, holder: str) -> None:
    """End all access tokens that a holder of the actor's tenant has so far."""
    await transaction.rows("epochs.raise", {"holder": holder})


async def raise_epoch_of(
    connection: psycopg.AsyncConnection[DictRow], tenant_id: TenantId, holder: str
) -> None:
    """The same across tenants, in the connection's transaction."""
    await connection.execute(query("epochs.raise"), {"tenant_id": tenant_id, "holder": holder})


async def epoch_of(connection: psycopg.AsyncConnection[DictRow], tenant_id: TenantId, holder: str) -> int:
    """The epoch of a holder's next access token."""
    parameters: dict[str, Any] = {"tenant_id": tenant_id, "holder": holder}
    row = await (await connection.execute(query("epochs.of_holder"), parameters)).fetchone()
    return 0 if row is None else int(row["epoch"])


async def epochs(pool: Pool) -> list[DictRow]:
    """The epochs that older credentials may still live to see: tenant_id, holder, epoch, raised_at_s."""
    async with pool.connection() as connection:
        return await (await connection.execute(query("epochs.all"))).fetchall()
