"""What tenants used, by day: read for them, and requests added to it."""

from collections.abc import Mapping
from datetime import date
from typing import Any

import psycopg
from psycopg.rows import DictRow, dict_row

from domain.errors import NotFoundError
from domain.tenancy import TenantId
from domain.usage import UsedToday
from storage.cursors import Cursors, no_cursor
from storage.database import query
from storage.transactions import Pool, Transaction

_PERIODS = Cursors("usage")


async def page(
    transaction: Transaction, by: str, starts: date | None, ends: date | None, cursor: str | None, limit: int
) -> tuple[list[DictRow], str | None]:
    """Periods with anything in them, in order, and the cursor of the next page. by: day or month."""
    asked = {"by": by, "from": starts, "to": ends, "after": _after(cursor), "limit": limit + 1}
    return _PERIODS.page(await transaction.rows("usage.list", asked), limit, "period")


def _after(cursor: str | None) -> date | None:
    key = _PERIODS.decode(cursor)
    try:
        return None if key is None else date.fromisoformat(key)
    except ValueError as error:
        raise no_cursor() from error


def periods(conninfo: str, name: str, by: str, starts: date | None, ends: date | None) -> list[DictRow]:
    """All periods of a tenant, for who runs the installation. Raises NotFoundError."""
    asked = {"by": by, "from": starts, "to": ends, "after": None, "limit": None}
    with psycopg.connect(conninfo, row_factory=dict_row) as connection:
        tenant = connection.execute(query("registry.tenant"), {"name": name}).fetchone()
        if tenant is None:
            raise NotFoundError(f"there is no tenant {name}", field="tenant")
        return connection.execute(query("usage.list"), asked | {"tenant_id": tenant["tenant_id"]}).fetchall()


async def today(pool: Pool, tenant_id: TenantId, day: date) -> UsedToday:
    """What a tenant has used of a day."""
    async with pool.connection() as connection:
        cursor = await connection.execute(query("usage.today"), {"tenant_id": tenant_id, "day": day})
        row: dict[str, Any] = await cursor.fetchone() or {}
    return UsedToday(row["readings"], row["requests"])


async def add_requests(pool: Pool, counted: Mapping[tuple[TenantId, date], int]) -> None:
    """Add requests that were counted, in one statement."""
    given = {
        "tenant": [tenant for tenant, _ in counted],
        "day": [day for _, day in counted],
        "requests": list(counted.values()),
    }
    async with pool.connection() as connection:
        await connection.execute(query("usage.count_requests"), given)
