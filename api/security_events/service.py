"""Use cases of security events and their thresholds."""

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


async def thresholds(call: Call) -> Row:
    """What the tenant has chosen, and what holds."""
    async with call.snapshot() as transaction:
        return _thresholds(call, await security.own_thresholds(transaction))


async def change_thresholds(call: Call, version: int, changes: Row) -> Row:
    """The same, after a change. Raises PreconditionFailedError."""
    async with call.transaction() as transaction:
        return _thresholds(call, await security.change_thresholds(transaction, version, changes))


def _thresholds(call: Call, own: Row) -> Row:
    holding = call.engine.security_alarms.usual.with_own(own)
    counts = {f"{kind}_per_minute_max": limit for kind, limit in holding.per_minute_max.items()}
    return {
        "own": {name: own[name] for name in security.OWN_NAMES},
        "holding": counts | {"quiet_s": holding.quiet_s},
        "version": own["version"],
    }


def _public(row: Row) -> Row:
    return {name: value for name, value in row.items() if name != "event_no"} | {"at": rfc3339(row["at"])}
