"""Use cases of alerts."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from api.alerts.schemas import COUNTS, AlertsAsked, Happened, HistoryAsked, StatisticsAsked
from api.alerts.shown import shown
from api.call import Call
from api.idempotency import id_under_key
from domain.alert_rules import AlertState, read_condition, value_unit
from domain.alerts import AlertAction, AlertActionKind, ClearByHand
from domain.clock import to_ms
from domain.errors import ConflictError, ForbiddenError, InvalidRequestError, NotFoundError
from domain.policy import may_act_on_security_alerts
from storage import alert_history
from storage import alerts as stored

Row = dict[str, Any]

_HAPPENED_MAX = 1000


async def page(call: Call, asked: AlertsAsked) -> tuple[list[Row], str | None]:
    """Alerts, newest first, and the cursor of the next page. Raises InvalidRequestError (empty span)."""
    if asked.starts is not None and asked.ends is not None:
        _require_span(asked.starts, asked.ends)
    chosen = stored.AlertFilter(
        state=asked.state,
        severities=tuple(dict.fromkeys(asked.severity)) or None,
        pack=asked.pack,
        rule=asked.rule,
        site=asked.site,
        starts=asked.starts,
        ends=asked.ends,
        acknowledged=asked.acknowledged,
        assigned_to=asked.assigned_to,
        flapping=asked.flapping,
        muted=asked.muted,
    )
    scanned_max = call.engine.settings.alerts_scanned_max
    async with call.snapshot() as transaction:
        rows, after = await stored.page(transaction, chosen, asked.cursor, asked.limit, scanned_max)
    return [shown(row) for row in rows], after


def _require_span(starts: datetime, ends: datetime) -> None:
    if starts >= ends:
        raise InvalidRequestError("`from` is not before `to`", field="to")


async def history(call: Call, asked: HistoryAsked) -> tuple[list[Row], str | None]:
    """What happened in a span, and the cursor of the next page. Raises InvalidRequestError (empty span)."""
    _require_span(asked.starts, asked.ends)
    chosen = alert_history.HistoryFilter(
        asked.starts,
        asked.ends,
        asked.kind or None,
        asked.severity or None,
        asked.pack,
        asked.rule,
        asked.site,
    )
    scanned_max, newest_first = call.engine.settings.alerts_scanned_max, asked.order == "newest"
    async with call.snapshot() as transaction:
        rows, after = await alert_history.history(
            transaction, chosen, asked.cursor, asked.limit, scanned_max, newest_first=newest_first
        )
    return [_happened(row) for row in rows], after


def _happened(row: Row) -> Row:
    told = row | {"unit": value_unit(read_condition(row["condition"]))}
    return {name: told[name] for name in Happened.model_fields}


async def statistics(call: Call, asked: StatisticsAsked) -> Row:
    """Sums of the alerts of a span. Raises InvalidRequestError: an empty or too long span, or too many alerts."""
    _require_span(asked.starts, asked.ends)
    settings = call.engine.settings
    days_max = settings.statistics_days_max
    if asked.ends - asked.starts > timedelta(days=days_max):
        raise InvalidRequestError(f"more than {days_max} days", field="to", limit=days_max)
    async with call.snapshot() as transaction:
        total, *groups = await alert_history.statistics(
            transaction, asked.by, asked.starts, asked.ends, asked.limit + 1, settings.statistics_alerts_max
        )
    return {
        "from": asked.starts,
        "to": asked.ends,
        "by": asked.by,
        "total": _sums(total),
        "groups": [{"key": row["key"], "id": row["id"]} | _sums(row) for row in groups[: asked.limit]],
        "more": len(groups) > asked.limit,
    }


def _sums(row: Row) -> Row:
    counts = {name: row[name] for name in COUNTS}
    times = {f"time_to_{what}": _times(row, what) for what in ("acknowledge", "clear")}
    return counts | times


def _times(row: Row, what: str) -> Row:
    p50_s, p90_s, p99_s = row[f"{what}_s"] or (None, None, None)
    return {"mean_s": row[f"{what}_mean_s"], "p50_s": p50_s, "p90_s": p90_s, "p99_s": p99_s}


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

    Raises NotFoundError, ForbiddenError, KeyReusedError when the key stands for another action, UnavailableError.
    """
    alert = await _to_act_on(call, alert_id)
    action = AlertAction(
        id=uuid4() if key is None else id_under_key(call.actor, "alert-action", key),
        tenant_id=call.actor.tenant_id,
        alert_id=alert_id,
        kind=kind,
        subject=call.actor.subject,
        request_id=call.request_id,
        client_address=call.client_address,
        assignee=assignee,
        comment=comment,
    )
    await call.engine.runner.act_on_alert(action, alert["pack_id"])
    return await get(call, alert_id)


async def _to_act_on(call: Call, alert_id: UUID) -> Row:
    """The alert. Raises NotFoundError, ForbiddenError for one about refusals that may be the actor's own."""
    async with call.snapshot() as transaction:
        row = await stored.get(transaction, alert_id)
    if row["security_kind"] is not None and not may_act_on_security_alerts(call.actor):
        raise ForbiddenError("who acts by an access grant does nothing with security alerts")
    return row


async def clear(call: Call, alert_id: UUID) -> Row:
    """The alert, cleared by hand.

    Raises NotFoundError, ForbiddenError, ConflictError when it isn't open or is about a silence that goes on,
    UnavailableError.
    """
    row = await _to_act_on(call, alert_id)
    if row["state"] != AlertState.OPEN:
        raise ConflictError(f"the alert is {row['state']}")
    asked = ClearByHand(
        id=uuid4(),
        tenant_id=call.actor.tenant_id,
        alert_id=alert_id,
        rule=row["rule_no"],
        pack=row["pack_id"],
        onset_ms=to_ms(row["onset"]),
        subject=call.actor.subject,
        request_id=call.request_id,
        client_address=call.client_address,
    )
    clear = (
        call.engine.runner.clear_alert if row["security_kind"] is None else call.engine.security_alarms.clear
    )
    try:
        await clear(asked)
    except NotFoundError as error:
        raise ConflictError("the alert is not open any more") from error
    return await get(call, alert_id)
