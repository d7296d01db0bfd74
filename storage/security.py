"""Security events as they are kept and listed, and leases of the buckets of rates."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import DictRow

from domain.security import SecurityKey
from domain.tenancy import TenantId
from storage.cursors import Cursors
from storage.database import query
from storage.transactions import Pool, Transaction

_EVENTS = Cursors("security")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events: those of starts <= at < ends that have all that is named."""

    starts: datetime | None = None
    ends: datetime | None = None
    kind: str | None = None
    subject: str | None = None
    address_prefix: str | None = None
    route: str | None = None


async def page(
    transaction: Transaction, wanted: Wanted, cursor: str | None, limit: int
) -> tuple[list[DictRow], str | None]:
    """Events, the newest first, and the cursor of the next page."""
    asked = asdict(wanted) | {"before_no": _EVENTS.decode_number(cursor), "limit": limit + 1}
    return _EVENTS.page(await transaction.rows("security.list", asked), limit, "event_no")


async def keep(pool: Pool, at: datetime, counted: Mapping[SecurityKey, int]) -> None:
    """Write what was counted within a second; of those without a tenant no subject."""
    of_tenants = [(key, times) for key, times in counted.items() if key.tenant_id is not None]
    of_platform = [(key, times) for key, times in counted.items() if key.tenant_id is None]
    async with pool.connection() as connection, connection.transaction():
        for name, rows in (("insert", of_tenants), ("insert_of_platform", of_platform)):
            if rows:
                columns: dict[str, Any] = {
                    "tenant_id": [key.tenant_id for key, _ in rows],
                    "kind": [str(key.kind) for key, _ in rows],
                    "subject": [key.subject for key, _ in rows],
                    "address_prefix": [key.address_prefix for key, _ in rows],
                    "route": [key.route or None for key, _ in rows],
                    "times": [times for _, times in rows],
                }
                await connection.execute(query(f"security.{name}"), columns | {"at": at})


async def drop_old(pool: Pool, before: datetime) -> None:
    """Drop events of before, and buckets that nobody has used for a day."""
    async with pool.connection() as connection:
        await connection.execute(query("security.drop_old"), {"before": before})
        await connection.execute(query("security.drop_idle_buckets"))


class RateStore:
    """The buckets that all processes share."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def lease(
        self, tenant_id: TenantId, kind: str, subject: str, *, wanted: float, per_s: float, burst: float
    ) -> float:
        """How much of what is wanted the bucket gave; it is taken out."""
        asked = {
            "tenant_id": tenant_id,
            "kind": kind,
            "subject": subject,
            "wanted": wanted,
            "per_s": per_s,
            "burst": burst,
        }
        async with self._pool.connection() as connection:
            row = await (await connection.execute(query("security.lease"), asked)).fetchone()
        return 0.0 if row is None else float(row["granted"])
