"""The audit log as auditors read it."""

from dataclasses import asdict, dataclass
from datetime import datetime

from psycopg.rows import DictRow

from storage.cursors import Cursors
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


async def page(
    transaction: Transaction, wanted: Wanted, cursor: str | None, limit: int
) -> tuple[list[DictRow], str | None]:
    """Entries, the newest first, and the cursor of the next page."""
    asked = asdict(wanted) | {"before_id": _ENTRIES.decode_number(cursor), "limit": limit + 1}
    return _ENTRIES.page(await transaction.rows("audit.list", asked), limit, "id")
