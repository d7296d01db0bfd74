"""What people do with alerts, written by the partition's writer in the sequence of its alerts."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from psycopg.rows import dict_row

from domain.alerts import AlertAction, AlertActionKind, ClearByHand
from domain.clock import from_ms
from domain.errors import KeyReusedError, NotFoundError
from domain.tenancy import TenantId
from storage.alerting import notify
from storage.connections import connect
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
            "client_address": done.client_address,
            "site": queries.one("alerting.site_of_alert", {"tenant_id": done.tenant_id, "id": done.alert_id})[
                "site"
            ],
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


def clearances(queries: PartitionQueries) -> list[ClearByHand]:
    """The alerts that people clear, of which the partition's owner has been asked by other processes."""
    return [
        ClearByHand(
            id=row["id"],
            tenant_id=TenantId(row["tenant_id"]),
            alert_id=row["alert_id"],
            rule=row["rule_no"],
            pack=row["pack_id"],
            onset_ms=row["onset_ms"],
            subject=row["subject"],
            request_id=row["request_id"],
            client_address=row["client_address"],
        )
        for row in queries.rows("alerting.clearances")
    ]


def answer_clearance(queries: PartitionQueries, asked: ClearByHand, *, was_open: bool) -> None:
    """Say what became of a clearance, to the process that asked; nothing where that is this one."""
    queries.rows(
        "alerting.answer_clearance", {"tenant_id": asked.tenant_id, "id": asked.id, "was_open": was_open}
    )


class AlertDesk:
    """What processes that own no partition do with alerts, in connections of their own.

    partitions: over how many the packs are spread.
    """

    def __init__(self, conninfo: str, partitions: int) -> None:
        self._conninfo = conninfo
        self._partitions = partitions

    def act(self, action: AlertAction, pack: int | None, at: datetime) -> None:
        """Write an action in the sequence of its partition, whose row is locked for it (rule E7).

        Raises NotFoundError, KeyReusedError, psycopg.Error when the database is away.
        """
        with self._queries(action.tenant_id, pack) as queries, queries.connection.transaction():
            queries.rows("partition.lock")
            write_action(queries, action, at)

    def ask(self, asked: ClearByHand) -> None:
        """Ask the owner of the alert's partition to clear it."""
        with self._queries(asked.tenant_id, asked.pack) as queries:
            row = {name: getattr(asked, name) for name in ("tenant_id", "id", "alert_id", "rule", "pack")}
            row |= {
                "onset": from_ms(asked.onset_ms),
                "subject": asked.subject,
                "request_id": asked.request_id,
                "client_address": asked.client_address,
            }
            queries.rows("alerting.ask_clearance", row)

    def answer(self, asked: ClearByHand) -> bool | None:
        """Whether the alert was open; None while the owner hasn't come to it."""
        with self._queries(asked.tenant_id, asked.pack) as queries:
            rows = queries.rows("alerting.clearance", {"tenant_id": asked.tenant_id, "id": asked.id})
        return bool(rows[0]["was_open"]) if rows else None

    @contextmanager
    def _queries(self, tenant_id: TenantId, pack: int | None) -> Iterator[PartitionQueries]:
        partition_no = (tenant_id if pack is None else pack) % self._partitions
        with connect(self._conninfo, autocommit=True, row_factory=dict_row) as connection:
            yield PartitionQueries(connection, partition_no, self._partitions)
