"""What the services of simple records share: create, read, list, edit, each in one transaction."""

from typing import Any
from uuid import UUID

from api.bootstrap import Engine
from domain.tenancy import Actor
from storage.records import Records

Row = dict[str, Any]


class RecordService:
    """The use cases of one subject's records."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def create(self, engine: Engine, actor: Actor, request_id: str, values: Row) -> Row:
        """The new record. Raises ConflictError when its name is taken."""
        async with engine.transactions.begin(actor, request_id) as transaction:
            return await self._records.insert(transaction, values)

    async def get(self, engine: Engine, actor: Actor, request_id: str, record_id: UUID) -> Row:
        """The record. Raises NotFoundError, also for what the actor's sites don't show."""
        async with engine.transactions.begin(actor, request_id, read_only=True) as transaction:
            return await self._records.get(transaction, record_id)

    async def page(
        self, engine: Engine, actor: Actor, request_id: str, cursor: str | None, limit: int
    ) -> tuple[list[Row], str | None]:
        """Records by name, and the cursor of the next page."""
        async with engine.transactions.begin(actor, request_id, read_only=True) as transaction:
            return await self._records.page(transaction, cursor, limit)

    async def change(
        self, engine: Engine, actor: Actor, request_id: str, record_id: UUID, version: int, changes: Row
    ) -> Row:
        """The changed record. Raises NotFoundError, PreconditionFailedError, ConflictError."""
        async with engine.transactions.begin(actor, request_id) as transaction:
            return await self._records.update(transaction, record_id, version, changes)
