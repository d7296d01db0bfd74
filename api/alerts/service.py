"""Use cases of alerts."""

from typing import Any
from uuid import UUID, uuid4

from api.alerts.schemas import AlertsAsked
from api.alerts.shown import shown
from api.call import Call
from api.idempotency import id_under_key
from domain.alert_rules import AlertState
from domain.alerts import AlertAction, AlertActionKind, ClearByHand
from domain.clock import to_ms
from domain.errors import ConflictError, NotFoundError
from storage import alerts as stored

Row = dict[str, Any]

_HAPPENED_MAX = 1000


async def page(call: Call, asked: AlertsAsked) -> tuple[list[Row], str | None]:
    """Alerts, newest first, and the cursor of the next page."""
    chosen = stored.AlertFilter(asked.state, asked.severity, asked.pack, asked.rule)
    async with call.snapshot() as transaction:
        rows, after = await stored.page(transaction, chosen, asked.cursor, asked.limit)
    return [shown(row) for row in rows], after


async def get(call: Call, alert_id: UUID) -> Row:
    """The alert with its transitions and actions. Raises NotFoundError."""
    async with call.snapshot() as transaction:
        row = await stored.get(transaction, alert_id)
        transitions = await stored.transitions(transaction, row, _HAPPENED_MAX)
        actions = await stored.actions(transaction, alert_id, _HAPPENED_MAX)
    return shown(row) | {"transitions": transitions, "actions": actions}


async def act(
    call: Call,
    alert_id: UUID,
    kind: AlertActionKind,
    key: str | None,
    *,
    assignee: str | None = None,
    comment: str | None = None,
) -> Row:
    """The alert, after somebody did something with it. The same key again changes nothing.

    Raises NotFoundError, KeyReusedError when the key stands for another action, UnavailableError.
    """
    async with call.snapshot() as transaction:
        await stored.get(transaction, alert_id)
    action = AlertAction(
        id=uuid4() if key is None else id_under_key(call.actor, "alert-action", key),
        tenant_id=call.actor.tenant_id,
        alert_id=alert_id,
        kind=kind,
        subject=call.actor.subject,
        request_id=call.request_id,
        assignee=assignee,
        comment=comment,
    )
    await call.engine.runner.act_on_alert(action)
    return await get(call, alert_id)


async def clear(call: Call, alert_id: UUID) -> Row:
    """The alert, cleared by hand.

    Raises NotFoundError, ConflictError when it isn't open or is about a silence that goes on, UnavailableError.
    """
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
