"""The audit log: read by auditors, and old entries dropped."""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from psycopg.rows import DictRow

from storage.connections import connect_async
from storage.cursors import Cursors
from storage.database import query
from storage.transactions import Transaction

_ENTRIES = Cursors("audit")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries: those of starts <= at < ends that have all that is named."""

    starts: datetime | None = None
    ends: datetime | None = None
    subject: str | None = None
    action: str | None = None
    resource: str | None = None
    resource_id: str | None = None
    request_id: str | None = None
    client_address: str | None = None
    site: str | None = None


async def page(
    transaction: Transaction, wanted: Wanted, cursor: str | None, limit: int
) -> tuple[list[DictRow], str | None]:
    """Entries, the newest first, and the cursor of the next page."""
    asked = asdict(wanted) | {"before_id": _ENTRIES.decode_number(cursor), "limit": limit + 1}
    return _ENTRIES.page(await transaction.rows("audit.list", asked), limit, "id")


async def drop(conninfo: str, now: datetime, keep: timedelta, limit: int) -> int:
    """How many entries older than `keep` were dropped, at most `limit` at once. Each tenant's log says so.

    conninfo: of the retention role. now: believed as far as the installation trusts a clock. The database refuses to
    drop any of the last 90 days.
    """
    async with await connect_async(conninfo) as connection:
        row = await (
            await connection.execute(query("audit.drop"), {"now": now, "keep": keep, "limit": limit})
        ).fetchone()
    return 0 if row is None else int(row[0])
