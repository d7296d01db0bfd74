"""What people do with alerts, written by the partition's writer in the sequence of its alerts."""

from datetime import datetime

from domain.alerts import AlertAction, AlertActionKind, ClearByHand
from domain.errors import KeyReusedError, NotFoundError
from storage.alerting import notify
from storage.partition_queries import PartitionQueries


def write_action(queries: PartitionQueries, action: AlertAction, at: datetime) -> None:
    """Write an action with the next number of the sequence; nothing when it is known or changes nothing.

    Raises NotFoundError when there is no such alert, KeyReusedError when its id stands for another action.
    """
    key = {"tenant_id": action.tenant_id, "alert_id": action.alert_id, "id": action.id}
    found = queries.rows("alerting.lock_alert", key)
    if not found:
        raise NotFoundError("there is no such alert")
    (alert,) = found
    if _known(queries, action) or _changes_nothing(action, alert["acknowledged_by"], alert["assigned_to"]):
        return
    seq = queries.one("alerting.take_sequence", {"count": 1})["before"] + 1
    row = key | {
        "seq": seq,
        "kind": str(action.kind),
        "subject": action.subject,
        "assignee": action.assignee,
        "comment": action.comment,
        "at": at,
    }
    queries.rows("alerting.insert_action", row)
    queries.rows("alerting.show_action", row)
    audit(queries, action, str(action.kind))
    notify(queries, seq)


def audit(queries: PartitionQueries, done: AlertAction | ClearByHand, what: str) -> None:
    """Write who did what with an alert into the audit log."""
    queries.rows(
        "records.audit",
        {
            "tenant_id": done.tenant_id,
            "subject": done.subject,
            "action": f"alerts.{what}",
            "resource": "alerts",
            "resource_id": str(done.alert_id),
            "before": None,
            "after": None,
            "request_id": done.request_id,
        },
    )


def _known(queries: PartitionQueries, action: AlertAction) -> bool:
    found = queries.rows("alerting.find_action", {"tenant_id": action.tenant_id, "id": action.id})
    if not found:
        return False
    if any(value != getattr(action, name) for name, value in found[0].items()):
        raise KeyReusedError("this Idempotency-Key was used for another action")
    return True


def _changes_nothing(action: AlertAction, acknowledged_by: str | None, assigned_to: str | None) -> bool:
    if action.kind is AlertActionKind.ACKNOWLEDGED:
        return acknowledged_by is not None
    return action.kind is AlertActionKind.ASSIGNED and assigned_to == action.assignee
