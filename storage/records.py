"""Sites and models: records that differ in their columns only, kept by one class."""

from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from domain.errors import (
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    PreconditionFailedError,
)
from storage.cursors import Cursors
from storage.transactions import Transaction


class Records:
    """Records of one subject, with their queries in `queries/{subject}.sql` and an audit row for each change."""

    def __init__(
        self,
        subject: str,
        *,
        columns: tuple[str, ...],
        registry_columns: frozenset[str] = frozenset(),
        day_columns: frozenset[str] = frozenset(),
    ) -> None:
        """columns: those that a client sets. registry_columns: those by which readings are judged, or answers about
        them are asked for or given: answers that are kept hold for one version of the registry.

        day_columns: those on which days of packs depend; the query `note_days` has them folded again.
        """
        self.subject = subject
        self._cursors = Cursors(subject)
        self._columns = columns
        self._registry_columns = registry_columns
        self._day_columns = day_columns

    async def insert(self, transaction: Transaction, values: dict[str, Any]) -> DictRow:
        """The new record. Raises ConflictError when the name is taken."""
        try:
            row = await transaction.one(f"{self.subject}.insert", _adapted(values))
        except psycopg.errors.UniqueViolation as error:
            raise ConflictError(f"the name is taken in {self.subject}", field="name") from error
        assert row is not None  # noqa: S101 - INSERT … RETURNING
        await transaction.audit(f"{self.subject}.created", self.subject, str(row["id"]), None, row)
        return row

    async def get(self, transaction: Transaction, record_id: UUID) -> DictRow:
        """The record. Raises NotFoundError."""
        row = await transaction.one(f"{self.subject}.get", {"id": record_id})
        if row is None:
            raise NotFoundError(f"no such record in {self.subject}")
        return row

    async def page(
        self, transaction: Transaction, cursor: str | None, limit: int
    ) -> tuple[list[DictRow], str | None]:
        """Records in order of their name, and the cursor of the next page."""
        parameters = {"after": self._cursors.decode(cursor), "limit": limit + 1}
        rows = await transaction.rows(f"{self.subject}.list", parameters)
        return self._cursors.page(rows, limit, "name")

    async def update(
        self, transaction: Transaction, record_id: UUID, version: int, changes: dict[str, Any]
    ) -> DictRow:
        """The changed record. Raises NotFoundError, PreconditionFailedError (stale version), ConflictError."""
        before = await transaction.one(f"{self.subject}.lock", {"id": record_id})
        if before is None:
            raise NotFoundError(f"no such record in {self.subject}")
        require_version(before["version"], version)
        values = {name: before[name] for name in self._columns} | changes
        try:
            row = await transaction.one(f"{self.subject}.update", {"id": record_id} | _adapted(values))
        except psycopg.errors.UniqueViolation as error:
            raise ConflictError(f"the name is taken in {self.subject}", field="name") from error
        except psycopg.errors.CheckViolation as error:
            raise InvalidRequestError(
                "the voltage limits contradict each other", field="voltage_min_v"
            ) from error
        if self._registry_columns & changes.keys():
            await transaction.rows("records.registry_changed")
        assert row is not None  # noqa: S101 - the row is locked
        if any(row[name] != before[name] for name in self._day_columns):
            await transaction.rows(f"{self.subject}.note_days", {"id": record_id})
        await transaction.audit(f"{self.subject}.changed", self.subject, str(record_id), before, row)
        return row

    async def delete(self, transaction: Transaction, record_id: UUID) -> None:
        """Forget the record, where records are deleted. Raises NotFoundError."""
        before = await transaction.one(f"{self.subject}.lock", {"id": record_id})
        if before is None:
            raise NotFoundError(f"no such record in {self.subject}")
        await transaction.rows(f"{self.subject}.delete", {"id": record_id})
        await transaction.audit(f"{self.subject}.deleted", self.subject, str(record_id), before, None)

    async def known(self, transaction: Transaction, names: set[str]) -> set[str]:
        """Those of the names that are taken."""
        rows = await transaction.rows(f"{self.subject}.by_name", {"given": sorted(names)})
        return {row["given"] for row in rows}

    async def ids_of(
        self, transaction: Transaction, given: set[str | None], field: str
    ) -> dict[str | None, UUID | None]:
        """The ids of records by name or id; None for None. Raises NotFoundError naming the field."""
        wanted = sorted(name for name in given if name is not None)
        rows = await transaction.rows(f"{self.subject}.by_name", {"given": wanted}) if wanted else []
        found: dict[str | None, UUID | None] = {row["given"]: row["id"] for row in rows}
        missing = [name for name in wanted if name not in found]
        if missing:
            raise NotFoundError(f"there is no such {field}", field=field)
        return found | {None: None}

    async def id_of(self, transaction: Transaction, given: str | None, field: str) -> UUID | None:
        """The id of the record with this name or id; None for None. Raises NotFoundError naming the field."""
        return (await self.ids_of(transaction, {given}, field))[given]


SITES = Records(
    "sites",
    columns=("name", "region", "zone"),
    registry_columns=frozenset({"name", "zone"}),
    day_columns=frozenset({"zone"}),
)

MODELS = Records(
    "models",
    columns=("name", "chemistry", "rated_capacity_ah", "voltage_min_v", "voltage_max_v", "limits"),
    registry_columns=frozenset({"name", "limits"}),
)


def require_version(stored: int, given: int) -> None:
    """Raises PreconditionFailedError unless an edit is based on the stored version."""
    if stored != given:
        raise PreconditionFailedError(
            f"the record is at version {stored}, the edit is based on {given}", field="If-Match", limit=stored
        )


def _adapted(values: dict[str, Any]) -> dict[str, Any]:
    return {name: Jsonb(value) if isinstance(value, dict) else value for name, value in values.items()}
