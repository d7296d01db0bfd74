"""Epochs of credentials: whoever holds an older one has been signed out."""

from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg.rows import DictRow

from domain.tenancy import PLATFORM, TenantId
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


def holder_of_grant(grant: UUID) -> str:
    """The holder whose epoch ends what an operator does in a tenant by a grant."""
    return f"grant:{grant}"


async def raise_epoch(transaction: Transaction, holder: str) -> None:
    """End all access tokens that a holder of the actor's tenant has so far."""
    await transaction.rows("epochs.raise", {"holder": holder})


async def raise_epoch_of(
    connection: psycopg.AsyncConnection[DictRow], tenant_id: TenantId, holder: str
) -> None:
    """The same across tenants and of the platform, in the connection's transaction."""
    await connection.execute(query(_named("raise", tenant_id)), {"tenant_id": tenant_id, "holder": holder})


def _named(name: str, tenant_id: TenantId) -> str:
    return f"epochs.{name}_of_platform" if tenant_id == PLATFORM else f"epochs.{name}"


async def epoch_of(connection: psycopg.AsyncConnection[DictRow], tenant_id: TenantId, holder: str) -> int:
    """The epoch of a holder's next access token."""
    parameters: dict[str, Any] = {"tenant_id": tenant_id, "holder": holder}
    row = await (await connection.execute(query(_named("of_holder", tenant_id)), parameters)).fetchone()
    return 0 if row is None else int(row["epoch"])


async def epochs(pool: Pool) -> list[DictRow]:
    """The epochs that older credentials may still live to see: tenant_id, holder, epoch, raised_at_s.

    tenant_id is PLATFORM for operators of the installation.
    """
    async with pool.connection() as connection:
        return await (await connection.execute(query("epochs.all"))).fetchall()
