"""What tenants used, by day: read for them, and requests added to it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from psycopg.rows import DictRow, dict_row

from domain.errors import NotFoundError
from domain.tenancy import TenantId
from domain.usage import UsedToday
from storage.connections import connect
from storage.cursors import Cursors, no_cursor
from storage.database import query
from storage.transactions import Pool, Transaction

_PERIODS = Cursors("usage")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which periods: days or months (by) of starts <= day < ends, behind a cursor; without a limit all."""

    by: str
    starts: date | None = None
    ends: date | None = None
    cursor: str | None = None
    limit: int | None = None

    def parameters(self) -> dict[str, Any]:
        """Those of the query. Raises InvalidRequestError (cursor)."""
        beyond = None if self.limit is None else self.limit + 1
        return {
            "by": self.by,
            "from": self.starts,
            "to": self.ends,
            "after": _after(self.cursor),
            "limit": beyond,
        }

    def page(self, rows: list[DictRow]) -> tuple[list[DictRow], str | None]:
        """The rows, and the cursor of the next page."""
        return (rows, None) if self.limit is None else _PERIODS.page(rows, self.limit, "period")


async def page(transaction: Transaction, wanted: Wanted) -> tuple[list[DictRow], str | None]:
    """Periods with anything in them, in order, and the cursor of the next page."""
    return wanted.page(await transaction.rows("usage.list", wanted.parameters()))


def _after(cursor: str | None) -> date | None:
    key = _PERIODS.decode(cursor)
    try:
        return None if key is None else date.fromisoformat(key)
    except ValueError as error:
        raise no_cursor() from error


def page_of(conninfo: str, name: str, wanted: Wanted) -> tuple[list[DictRow], str | None]:
    """The same of a tenant, for who runs the installation. Raises NotFoundError."""
    asked = wanted.parameters()
    with connect(conninfo, row_factory=dict_row) as connection:
        tenant = connection.execute(query("registry.tenant"), {"name": name}).fetchone()
        if tenant is None:
            raise NotFoundError(f"there is no tenant {name}", field="tenant")
        of_tenant = asked | {"tenant_id": tenant["tenant_id"]}
        return wanted.page(connection.execute(query("usage.list"), of_tenant).fetchall())


async def today(pool: Pool, tenant_id: TenantId, day: date) -> UsedToday:
    """What a tenant has used of a day."""
    async with pool.connection() as connection:
        cursor = await connection.execute(query("usage.today"), {"tenant_id": tenant_id, "day": day})
        row: dict[str, Any] = await cursor.fetchone() or {}
    return UsedToday(row["readings"], row["requests"], row["received_bytes"])


async def add_requests(pool: Pool, counted: Mapping[tuple[TenantId, date], int]) -> None:
    """Add requests that were counted, in one statement."""
    given = {
        "tenant": [tenant for tenant, _ in counted],
        "day": [day for _, day in counted],
        "requests": list(counted.values()),
    }
    async with pool.connection() as connection:
        await connection.execute(query("usage.count_requests"), given)
