"""The use case of the audit log."""

from typing import Any

from api.audit.schemas import Asked
from api.call import Call
from api.ranges import require_range
from domain.clock import rfc3339
from storage import audit

Row = dict[str, Any]


async def page(call: Call, asked: Asked) -> tuple[list[Row], str | None]:
    """Entries, the newest first, and the cursor of the next page. Raises InvalidRequestError."""
    require_range(asked.starts, asked.ends)
    wanted = audit.Wanted(**asked.model_dump(exclude={"limit", "cursor"}))
    async with call.snapshot() as transaction:
        rows, after = await audit.page(transaction, wanted, asked.cursor, asked.limit)
    return rows, after


def public(row: Row) -> Row:
    """An entry as it is shown."""
    return {name: value for name, value in row.items() if name != "id"} | {"at": rfc3339(row["at"])}
