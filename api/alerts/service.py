"""Use cases of alerts."""

from typing import Any
from uuid import UUID

from api.alerts.schemas import AlertsAsked
from api.call import Call
from domain.alert_rules import AlertState, read_condition, value_unit
from domain.alerts import ClearByHand
from domain.clock import to_ms
from domain.errors import ConflictError, NotFoundError
from storage import alerts as stored

Row = dict[str, Any]

_HIDDEN = frozenset({"alert_no", "rule_no", "pack_id", "condition"})
_TRANSITIONS_MAX = 1000


async def page(call: Call, asked: AlertsAsked) -> tuple[list[Row], str | None]:
    """Alerts, newest first, and the cursor of the next page."""
    chosen = stored.AlertFilter(asked.state, asked.severity, asked.pack, asked.rule)
    async with call.snapshot() as transaction:
        rows, after = await stored.page(transaction, chosen, asked.cursor, asked.limit)
    return [_public(row) for row in rows], after


async def get(call: Call, alert_id: UUID) -> Row:
    """The alert with its transitions. Raises NotFoundError."""
    async with call.snapshot() as transaction:
        row = await stored.get(transaction, alert_id)
        happened = await stored.transitions(transaction, row, _TRANSITIONS_MAX)
    return _public(row) | {"transitions": happened}


async def clear(call: Call, alert_id: UUID) -> Row:
    """The alert, cleared by hand. Raises NotFoundError, ConflictError when it isn't open, UnavailableError."""
    async with call.snapshot() as transaction:
        row = await stored.get(transaction, alert_id)
    if row["state"] != AlertState.OPEN:
        raise ConflictError(f"the alert is {row['state']}")
    asked = ClearByHand(
        tenant_id=call.actor.tenant_id,
        alert_id=alert_id,
        rule=row["rule_no"],
        pack=row["pack_id"],
        onset_ms=to_ms(row["onset"]),
        subject=call.actor.subject,
        request_id=call.request_id,
    )
    try:
        await call.engine.runner.clear_alert(asked)
    except NotFoundError as error:
        raise ConflictError("the alert is not open any more") from error
    return await get(call, alert_id)


def _public(row: Row) -> Row:
    shown = {name: value for name, value in row.items() if name not in _HIDDEN}
    muted = row["silence_id"] is not None
    return shown | {"muted": muted, "unit": value_unit(read_condition(row["condition"]))}
