"""What the partition's writer reads and writes for alert rules, within its transactions (rules E9, E12, E18)."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from domain.alert_rules import (
    AlertState,
    Flapping,
    Rule,
    RuleVersion,
    Scope,
    ScopeKind,
    Severity,
    Silence,
    SilenceKind,
    TenureScope,
    TransitionKind,
    read_condition,
)
from domain.alerts import AlertChanges, AlertTransition, RuleStatus, SavedRuleState, SetAside, Subject
from domain.clock import from_ms
from domain.packs import FOREVER_MS
from domain.readings import Int32Array, LiveReadings, RuleClocks, to_thousandths
from domain.tenancy import TenantId
from storage.database import int4s
from storage.partition_queries import PartitionQueries

CHANNEL = "bpm_alerts"
"""Of notifications that say how far a partition's alert sequence has come: `partition:sequence`."""

_NO_PACK = -1

Row = dict[str, Any]


def rules_of(queries: PartitionQueries, tenants: Sequence[TenantId]) -> tuple[list[Rule], list[Silence]]:
    """The rules with all their versions, and the silences, of some tenants."""
    given = {"tenants": list(tenants)}
    rules = rules_from(queries.rows("alerting.rules", given))
    silences = [
        Silence(
            id=row["id"],
            tenant_id=TenantId(row["tenant_id"]),
            kind=SilenceKind(row["kind"]),
            from_ms=row["from_ms"],
            to_ms=row["to_ms"],
            pack=row["pack_id"],
            site_id=row["site_id"],
            rule=row["rule_no"],
        )
        for row in queries.rows("alerting.silences", given)
    ]
    return rules, silences


def rules_from(rows: Iterable[Row]) -> list[Rule]:
    """Rules from rows of their versions, sorted by rule and number."""
    versions: dict[int, list[RuleVersion]] = {}
    firsts: dict[int, Row] = {}
    for row in rows:
        firsts.setdefault(row["rule_no"], row)
        versions.setdefault(row["rule_no"], []).append(version_from(row))
    return [
        Rule(number, TenantId(row["tenant_id"]), scope_from(row), tuple(versions[number]))
        for number, row in firsts.items()
    ]


def version_from(row: Row) -> RuleVersion:
    """A version of a rule from its row."""
    return RuleVersion(
        number=row["number"],
        effective_from_ms=row["effective_from_ms"],
        enabled=row["enabled"],
        severity=Severity(row["severity"]),
        condition=read_condition(row["condition"]),
        flapping=Flapping(row["flap_raises_max"], row["flap_window_s"]),
    )


def scope_from(row: Row) -> Scope:
    """A rule's scope from its row."""
    return Scope(ScopeKind(row["scope"]), row["site_id"] or row["model_id"], row["pack_id"])


def scopes_of(queries: PartitionQueries, tenures: Int32Array) -> list[TenureScope]:
    """Where the packs of some tenures stand."""
    if len(tenures) == 0:
        return []
    given = {"tenures": int4s(tenures), "forever_ms": FOREVER_MS}
    return scopes_from(queries.rows("alerting.scopes", given))


def scopes_from(rows: Iterable[Row]) -> list[TenureScope]:
    """Tenures' scopes from their rows."""
    return [
        TenureScope(
            number=row["tenure_no"],
            tenant_id=TenantId(row["tenant_id"]),
            pack=row["pack_id"],
            site_id=row["site_id"],
            model_id=row["model_id"],
            to_ms=row["to_ms"],
        )
        for row in rows
    ]


def load_clocks(queries: PartitionQueries) -> RuleClocks:
    """The clocks and last values as they were saved."""
    pack, tenant, tenure, clock_ms, last_ts_ms, last = queries.columns("alerting.load_clocks")
    if pack is None:
        return RuleClocks.none()
    return RuleClocks(pack, tenant, tenure, clock_ms, last_ts_ms.T, last.T)


def load_states(queries: PartitionQueries) -> list[SavedRuleState]:
    """Where the rules stood at the last commit."""
    return [
        SavedRuleState(
            tenant_id=TenantId(row["tenant_id"]),
            rule=row["rule_no"],
            version=row["rule_version"],
            subject=Subject(row["pack_id"])
            if row["pack_id"] != _NO_PACK
            else Subject(None, row["source"] or None),
            status=RuleStatus(row["status"]),
            flapping=row["flapping"],
            onset_ms=row["onset_ms"],
            clear_since_ms=row["clear_since_ms"],
            raises_ms=tuple(row["raises_ms"]),
        )
        for row in queries.rows("alerting.load_states")
    ]


def live_after(queries: PartitionQueries, batch_no: int) -> LiveReadings:
    """The live readings of later batches, in their order of arrival."""
    with queries.connection.transaction():
        # Without statistics of its newest rows the planner would read whole partitions instead of their BRIN.
        queries.connection.execute("SET LOCAL enable_seqscan = off")
        # Without them, too, it takes the later readings for a few, and would look for each one's batch among all.
        queries.connection.execute("SET LOCAL enable_nestloop = off")
        tenant, tenure, pack, ts_ms, arrived_ms, *values = queries.columns(
            "alerting.live_after", {"batch_no": batch_no}
        )
    if tenant is None:
        return LiveReadings.none()
    return LiveReadings(
        tenant,
        tenure,
        pack,
        ts_ms,
        arrived_ms,
        np.zeros(len(pack), np.int32),
        to_thousandths(np.stack(values)),
    )


def quarantined_since(
    queries: PartitionQueries, moment_ms: int, tenants: Sequence[TenantId]
) -> list[SetAside]:
    """What live batches that arrived later brought that was set aside, as it was committed."""
    if not tenants:
        return []
    given = {"tenants": list(tenants), "since": from_ms(moment_ms)}
    return [
        SetAside(TenantId(row["tenant_id"]), row["source"], row["arrived_ms"], row["quarantined"])
        for row in queries.rows("alerting.quarantined_since", given)
    ]


def write_changes(
    queries: PartitionQueries, changes: AlertChanges, numbers: npt.NDArray[np.int64] | None
) -> None:
    """Transitions with the partition's next sequence numbers, the alerts they make, and the states.

    numbers: the group's batch numbers, to which the transitions refer; None when no batch brought them.
    """
    made = changes.transitions
    if made:
        before = queries.one("alerting.take_sequence", {"count": len(made)})["before"]
        queries.rows("alerting.insert_transitions", _columns(_transition_rows(made, before, numbers)))
        opened, closed = fold_alerts(made, before)
        if opened:
            queries.rows("alerting.open_alerts", _columns(opened))
        if closed:
            queries.rows("alerting.close_alerts", _columns(closed))
        notify(queries, before + len(made))
    if changes.states:
        queries.rows("alerting.keep_states", _columns([_state_row(state) for state in changes.states]))
    if changes.gone:
        gone = [{"rule_no": rule} | _subject_key(subject) for rule, subject in changes.gone]
        queries.rows("alerting.forget_states", _columns(gone))


def notify(queries: PartitionQueries, seq: int) -> None:
    """Say how far the sequence has come, to whom listens when this transaction commits."""
    queries.rows("alerting.notify", {"channel": CHANNEL, "payload": f"{queries.partition_no}:{seq}"})


def _columns(rows: Sequence[Row]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


def _moment(ms: int | None) -> datetime | None:
    return None if ms is None else from_ms(ms)


def _identity(one: AlertTransition) -> Row:
    return {
        "tenant_id": one.tenant_id,
        "rule_no": one.rule,
        "rule_version": one.version,
        "pack_id": one.subject.pack,
        "source": one.subject.source,
        "onset": from_ms(one.onset_ms),
    }


def _transition_rows(
    made: Sequence[AlertTransition], before: int, numbers: npt.NDArray[np.int64] | None
) -> list[Row]:
    return [
        _identity(one)
        | {
            "seq": before + position,
            "kind": str(one.kind),
            "reason": str(one.reason),
            "rule_time": from_ms(one.rule_ms),
            "value": one.value,
            "flapping": one.flapping,
            "tenure_no": one.tenure,
            "batch_no": None if one.batch is None or numbers is None else int(numbers[one.batch]),
        }
        for position, one in enumerate(made, start=1)
    ]


def fold_alerts(made: Sequence[AlertTransition], before: int) -> tuple[list[Row], list[Row]]:
    """What transitions make of alerts: rows of those that begin, and of those begun earlier that end."""
    opened: dict[tuple[Any, ...], Row] = {}
    closed: dict[tuple[Any, ...], Row] = {}
    for position, one in enumerate(made, start=1):
        identity = _identity(one)
        key = tuple(identity.values())
        if one.kind is TransitionKind.LATE:
            opened.setdefault(key, _opened(one, identity, before + position))
        elif one.kind in (TransitionKind.RAISED, TransitionKind.PROVISIONAL):
            closed.pop(key, None)
            opened[key] = _opened(one, identity, before + position)
        elif one.kind in (TransitionKind.CLEARED, TransitionKind.WITHDRAWN):
            withdrawn = one.kind is TransitionKind.WITHDRAWN
            ended = {
                "state": str(AlertState.WITHDRAWN if withdrawn else AlertState.CLEARED),
                "cleared_at": from_ms(one.rule_ms),
                "clear_reason": str(one.reason),
                "seq": before + position,
            }
            if key in opened:
                opened[key] |= ended
            else:
                closed[key] = identity | ended
    return list(opened.values()), list(closed.values())


def _opened(one: AlertTransition, identity: Row, seq: int) -> Row:
    late = one.kind is TransitionKind.LATE
    return identity | {
        "tenure_no": one.tenure,
        "raised_at": from_ms(one.rule_ms),
        # A late breach is over by the time that it is known: it stands for itself alone.
        "cleared_at": from_ms(one.rule_ms) if late else None,
        "state": str(AlertState.CLEARED if late else AlertState.OPEN),
        "clear_reason": str(one.reason) if late else None,
        "severity": str(one.severity),
        "value": one.value,
        "flapping": one.flapping,
        "late": late,
        "provisional": one.kind is TransitionKind.PROVISIONAL,
        "silence_id": one.silence_id,
        "maintenance": one.maintenance,
        "security_kind": None if one.security_kind is None else str(one.security_kind),
        "seq": seq,
    }


def _subject_key(subject: Subject) -> Row:
    pack = _NO_PACK if subject.pack is None else subject.pack
    return {"pack_id": pack, "source": subject.source or ""}


def _state_row(state: SavedRuleState) -> Row:
    return {
        "rule_no": state.rule,
        **_subject_key(state.subject),
        "rule_version": state.version,
        "status": str(state.status),
        "flapping": state.flapping,
        "onset": _moment(state.onset_ms),
        "clear_since": _moment(state.clear_since_ms),
        "raises": ",".join(from_ms(moment).isoformat() for moment in state.raises_ms),
    }
