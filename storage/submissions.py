"""Batches on their way through the topic: how far the partitions have come, and their receipts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import DictRow, dict_row

from domain.clock import from_ms
from domain.readings import IncomingBatch
from domain.receipts import Receipt, ReceiptStatus
from domain.tenancy import TenantId
from storage.connections import connect_async
from storage.database import query
from storage.group import COMMITS_CHANNEL
from storage.receipts import receipt_of
from storage.transactions import Pool


@dataclass(frozen=True, slots=True)
class Entered:
    """A batch as it was first sent under its key: the hash of its body, and its receipt once it is committed."""

    body_hash: bytes | None
    receipt: Receipt | None


class Submissions:
    """What processes that send into the topic need of the store."""

    def __init__(self, pool: Pool, conninfo: str) -> None:
        self._pool = pool
        self._conninfo = conninfo

    async def enter(self, batch: IncomingBatch) -> Entered:
        """Note that a batch is sent, unless it was before. Raises psycopg.Error when the database is away."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(query("submissions.enter"), _row(batch))
            found = await cursor.fetchone()
            assert found is not None  # noqa: S101 - inserted, or there before
            receipt = await _receipt(connection, batch.tenant_id, batch.id)
        return Entered(found["body_hash"] if receipt is None else receipt[1], receipt and receipt[0])

    async def promise(self, batch: IncomingBatch, topic: str, sent: Mapping[int, Sequence[int]]) -> bool:
        """Note where a batch stands in the topic, name/id, whose receipt somebody is told to come back for.

        sent: the positions of its messages by partition. False when one of them was accepted as lost by now.
        """
        places = [(number, position) for number, positions in sent.items() for position in positions]
        row = _row(batch) | {
            "topic": topic,
            "partition_nos": [number for number, _ in places],
            "positions": [position for _, position in places],
        }
        async with self._pool.connection() as connection:
            found = await (await connection.execute(query("submissions.promise"), row)).fetchone()
        assert found is not None  # noqa: S101 - inserted, or changed
        return not found["lost"]

    async def is_undone(self, batch: IncomingBatch) -> bool:
        """Whether the batch's import takes no more readings."""
        wanted = {"tenant_id": batch.tenant_id, "id": batch.import_id}
        async with self._pool.connection() as connection:
            cursor = await connection.execute(query("submissions.undone"), wanted)
            return await cursor.fetchone() is not None

    async def receipt(self, tenant_id: TenantId, batch_id: UUID) -> Receipt | None:
        """The receipt of a batch of which every part is committed; None before."""
        async with self._pool.connection() as connection:
            found = await _receipt(connection, tenant_id, batch_id)
        return found and found[0]

    async def positions(self) -> dict[int, int]:
        """The position of each partition."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(query("submissions.positions"))
            return {row["partition_no"]: row["next"] for row in await cursor.fetchall()}

    async def log(self, *, held: bool = False) -> str:
        """The topic in which positions count, as name/id.

        held: not while another one is being adopted, so that what is in this one by now is seen by who adopts later.
        """
        name = "submissions.log_held" if held else "submissions.log"
        async with self._pool.connection() as connection:
            (row,) = await (await connection.execute(query(name))).fetchall()
        return str(row["topic"])

    async def listening(self) -> psycopg.AsyncConnection[DictRow]:
        """A connection on which notifications of commits arrive."""
        connection = await connect_async(self._conninfo, autocommit=True, row_factory=dict_row)
        await connection.execute(f"LISTEN {COMMITS_CHANNEL}")
        return connection


def _row(batch: IncomingBatch) -> dict[str, Any]:
    return {
        "tenant_id": batch.tenant_id,
        "id": batch.id,
        "subject": batch.subject,
        "body_hash": batch.body_hash,
        "arrived_at": from_ms(batch.arrived_at_ms),
        "registry_version": batch.registry_version,
        "received": batch.received,
        "ignored_keys": list(batch.ignored_keys),
    }


async def _receipt(
    connection: psycopg.AsyncConnection[DictRow], tenant_id: TenantId, batch_id: UUID
) -> tuple[Receipt, bytes | None] | None:
    cursor = await connection.execute(query("submissions.parts"), {"tenant_id": tenant_id, "id": batch_id})
    rows = await cursor.fetchall()
    receipt = receipt_of_parts(batch_id, rows)
    return None if receipt is None else (receipt, rows[0]["body_hash"])


def receipt_of_parts(batch_id: UUID, rows: Sequence[DictRow]) -> Receipt | None:
    """The receipt that a batch's own row holds, or all parts of one of its tries add up to; None before.

    rows: in order of arrival. A batch that is sent again after its packs have changed is cut anew.
    """
    tries: dict[object, list[DictRow]] = {}
    for row in rows:
        if row["id"] == batch_id:
            return receipt_of(row)
        tries.setdefault(row["arrived_at"], []).append(row)
    for parts in tries.values():
        if len(parts) == parts[0]["parts"]:
            return _sum(batch_id, [receipt_of(part) for part in parts])
    return None


def _sum(batch_id: UUID, parts: Sequence[Receipt]) -> Receipt:
    items = sorted((item for part in parts for item in part.items), key=lambda item: item.index)
    return Receipt(
        id=batch_id,
        status=ReceiptStatus.COMMITTED,
        received=sum(part.received for part in parts),
        accepted=sum(part.accepted for part in parts),
        duplicate=sum(part.duplicate for part in parts),
        quarantined=sum(part.quarantined for part in parts),
        late=sum(part.late for part in parts),
        conflicting=sum(part.conflicting for part in parts),
        items=tuple(items),
        ignored_keys=tuple(key for part in parts for key in part.ignored_keys),
        items_omitted=sum(part.items_omitted for part in parts),
    )
