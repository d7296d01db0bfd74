"""Alerts that tell of too many refusals: raised and cleared from counts that all processes share.

Any process may do it: under the row of the tenant's partition, where alerts take their sequence (rules E7, E20), what
is to be done is looked at once more, so that it is done once.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from domain.alert_rules import (
    Flapping,
    SecurityEvents,
    Severity,
    TransitionKind,
    TransitionReason,
    condition_facts,
)
from domain.alerts import AlertChanges, AlertTransition, ClearByHand, Subject
from domain.clock import from_ms
from domain.errors import NotFoundError
from domain.security import WATCHED, SecurityKind, Thresholds
from domain.tenancy import TenantId
from storage.alert_actions import audit
from storage.alerting import write_changes
from storage.connections import connect
from storage.database import query
from storage.partition_queries import PartitionQueries
from storage.transactions import Pool

_SINCE: Final = timedelta(minutes=5)
"""A minute that had too many is told of so long after it began: a process that ended before may have left it."""

SEVERITY: Final = Severity.WARNING

Row = dict[str, Any]


def _asked(usual: Thresholds, now_ms: int, tenant: TenantId | None) -> Row:
    return {
        "kinds": [str(kind) for kind in usual.per_minute_max],
        "per_minute_max": list(usual.per_minute_max.values()),
        "since": from_ms(now_ms) - _SINCE,
        "tenant": tenant,
    }


def _over(rows: list[Row], usual: Thresholds, now_ms: int) -> list[Row]:
    return [row for row in rows if usual.with_own(row).is_over(now_ms, row["last_minute_ms"])]


async def tenants_due(pool: Pool, usual: Thresholds, now_ms: int) -> list[TenantId]:
    """The tenants of which an alert is to be raised or cleared."""
    asked = _asked(usual, now_ms, None)
    async with pool.connection() as connection:
        too_many = await (await connection.execute(query("security.too_many"), asked)).fetchall()
        open_ = await (await connection.execute(query("security.open_alerts"), asked)).fetchall()
    return sorted({row["tenant_id"] for row in [*too_many, *_over(open_, usual, now_ms)]})


class SecurityDesk:
    """Raises and clears these alerts, in connections of its own.

    partitions: over how many the packs are spread. usual: the thresholds of tenants that have chosen none.
    """

    def __init__(self, conninfo: str, partitions: int, usual: Thresholds) -> None:
        """conninfo: of the ingest role."""
        self._conninfo = conninfo
        self._partitions = partitions
        self._usual = usual

    def settle(self, tenant: TenantId, now_ms: int) -> None:
        """Raise the tenant's alerts that are due, and clear those that are over. Raises psycopg.Error."""
        with self._under_partition(tenant) as queries:
            if queries is None or not queries.rows("security.hold_tenant", {"tenant": tenant}):
                return
            asked = _asked(self._usual, now_ms, tenant)
            over = _over(queries.rows("security.open_alerts", asked), self._usual, now_ms)
            made = [_cleared(row, now_ms, TransitionReason.MEASURED) for row in over]
            made += [self._raised(queries, row, now_ms) for row in queries.rows("security.too_many", asked)]
            if made:
                write_changes(queries, AlertChanges(tuple(made)), None)

    def clear(self, asked: ClearByHand, now_ms: int) -> None:
        """Clear an open alert by hand. Raises NotFoundError when it isn't open, psycopg.Error."""
        with self._under_partition(asked.tenant_id) as queries:
            rows = []
            if queries is not None:
                rows = queries.rows("security.open_alerts", _asked(self._usual, now_ms, asked.tenant_id))
            found = [row for row in rows if row["id"] == asked.alert_id]
            if queries is None or not found:
                raise NotFoundError("no such alert is open")
            cleared = _cleared(found[0], now_ms, TransitionReason.BY_HAND)
            write_changes(queries, AlertChanges((cleared,)), None)
            audit(queries, asked, "cleared")

    def _raised(self, queries: PartitionQueries, row: Row, now_ms: int) -> AlertTransition:
        kind, own = SecurityKind(row["kind"]), self._usual.with_own(row)
        condition = SecurityEvents(kind, own.per_minute_max[kind], own.quiet_s)
        rule, version = _rule(queries, row["tenant_id"], condition, now_ms)
        return AlertTransition(
            tenant_id=TenantId(row["tenant_id"]),
            rule=rule,
            version=version,
            subject=Subject(None),
            kind=TransitionKind.RAISED,
            reason=TransitionReason.MEASURED,
            rule_ms=now_ms,
            onset_ms=now_ms,
            value=float(row["times"]),
            severity=SEVERITY,
            flapping=False,
            tenure=None,
            batch=None,
            security_kind=kind,
        )

    @contextmanager
    def _under_partition(self, tenant: TenantId) -> Iterator[PartitionQueries | None]:
        """A transaction that holds the tenant's partition; None while nobody has begun it."""
        number = tenant % self._partitions
        with (
            connect(self._conninfo, autocommit=True, row_factory=dict_row) as connection,
            connection.transaction(),
        ):
            queries = PartitionQueries(connection, number, self._partitions)
            yield queries if queries.rows("partition.lock") else None


def _cleared(row: Row, now_ms: int, reason: TransitionReason) -> AlertTransition:
    return AlertTransition(
        tenant_id=TenantId(row["tenant_id"]),
        rule=row["rule_no"],
        version=row["rule_version"],
        subject=Subject(None),
        kind=TransitionKind.CLEARED,
        reason=reason,
        rule_ms=now_ms,
        onset_ms=row["onset_ms"],
        value=None,
        severity=Severity(row["severity"]),
        flapping=False,
        tenure=None,
        batch=None,
        security_kind=SecurityKind(row["kind"]),
    )


def _rule(
    queries: PartitionQueries, tenant: TenantId, condition: SecurityEvents, now_ms: int
) -> tuple[int, int]:
    """The number of the tenant's rule of a kind, and of its version that says this; both are made where needed."""
    key = {"tenant": tenant, "kind": str(condition.event)}
    queries.rows("security.make_rule", key | {"name": WATCHED[condition.event]})
    found = queries.one("security.rule", key)
    facts = condition_facts(condition)
    if found["condition"] == facts:
        return found["rule_no"], found["number"]
    number = (found["number"] or 0) + 1
    flapping = Flapping()
    queries.rows(
        "security.make_version",
        {
            "tenant": tenant,
            "rule_no": found["rule_no"],
            "number": number,
            "at": from_ms(now_ms),
            "severity": str(SEVERITY),
            "condition": Jsonb(facts),
            "flap_raises_max": flapping.raises_max,
            "flap_window_s": flapping.window_s,
        },
    )
    return found["rule_no"], number
