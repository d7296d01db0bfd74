"""The use case of security events."""

from typing import Any

from api.call import Call
from api.ranges import require_range
from api.security_events.schemas import Asked
from domain.clock import rfc3339
from storage import security

Row = dict[str, Any]


async def page(call: Call, asked: Asked) -> tuple[list[Row], str | None]:
    """Events, the newest first, and the cursor of the next page. Raises InvalidRequestError."""
    require_range(asked.starts, asked.ends)
    wanted = security.Wanted(**asked.model_dump(exclude={"limit", "cursor"}))
    async with call.snapshot() as transaction:
        rows, after = await security.page(transaction, wanted, asked.cursor, asked.limit)
    return [_public(row) for row in rows], after


def _public(row: Row) -> Row:
    return {name: value for name, value in row.items() if name != "event_no"} | {"at": rfc3339(row["at"])}
