"""What the services of simple records share: create, read, list, edit, each in one transaction."""

from typing import Any
from uuid import UUID

from api.call import Call
from storage.records import Records

Row = dict[str, Any]


class RecordService:
    """The use cases of one subject's records."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def create(self, call: Call, values: Row) -> Row:
        """The new record. Raises ConflictError when its name is taken."""
        async with call.transaction() as transaction:
            return await self._records.insert(transaction, values)

    async def get(self, call: Call, record_id: UUID) -> Row:
        """The record. Raises NotFoundError, also for what the actor's sites don't show."""
        async with call.snapshot() as transaction:
            return await self._records.get(transaction, record_id)

    async def page(self, call: Call, cursor: str | None, limit: int) -> tuple[list[Row], str | None]:
        """Records by name, and the cursor of the next page."""
        async with call.snapshot() as transaction:
            return await self._records.page(transaction, cursor, limit)

    async def change(self, call: Call, record_id: UUID, version: int, changes: Row) -> Row:
        """The changed record. Raises NotFoundError, PreconditionFailedError, ConflictError."""
        async with call.transaction() as transaction:
            return await self._records.update(transaction, record_id, version, changes)
