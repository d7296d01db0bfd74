"""Rules of the growth of what is set aside: counts by second of arrival, by tenant or source (rule E18)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from domain.alert_rules import (
    GROWTH_WINDOW_S_MAX,
    QuarantineGrowth,
    Rule,
    RuleVersion,
    TransitionKind,
    TransitionReason,
)
from domain.alerts import AlertChanges, AlertTransition, RuleStatus, SavedRuleState, SetAside, Subject
from domain.clock import MILLISECONDS_PER_SECOND
from domain.errors import NotFoundError
from domain.readings import BatchResult
from domain.receipts import Mode
from domain.tenancy import TenantId
from streams.alerting import silenced
from streams.rule_book import RuleBook


@dataclass(slots=True)
class TenantGrowth:
    """What a tenant's newest live batches brought: by source and second of arrival, and the latest arrival."""

    clock_ms: int = 0
    items: dict[str, dict[int, int]] = field(default_factory=dict)

    def copied(self) -> "TenantGrowth":
        """The same, to be changed apart."""
        return TenantGrowth(self.clock_ms, {source: dict(counts) for source, counts in self.items.items()})

    def add(self, batch: SetAside) -> None:
        """Count a batch, and move the clock to its arrival."""
        self.clock_ms = max(self.clock_ms, batch.arrived_ms)
        if batch.items:
            counts = self.items.setdefault(batch.source, {})
            second = batch.arrived_ms // MILLISECONDS_PER_SECOND
            counts[second] = counts.get(second, 0) + batch.items
            if len(counts) > 2 * GROWTH_WINDOW_S_MAX:
                oldest = self.clock_ms // MILLISECONDS_PER_SECOND - GROWTH_WINDOW_S_MAX
                self.items[batch.source] = {at: count for at, count in counts.items() if at > oldest}

    def within(self, condition: QuarantineGrowth) -> int:
        """Items set aside within the condition's window before the clock."""
        after = self.clock_ms // MILLISECONDS_PER_SECOND - condition.window_s
        chosen = [counts for source, counts in self.items.items() if condition.source in (None, source)]
        return sum(count for counts in chosen for second, count in counts.items() if second > after)


@dataclass(slots=True)
class GrowthMemory:
    """Growth by tenant, and the rules whose alert is open."""

    tenants: dict[TenantId, TenantGrowth] = field(default_factory=dict)
    raised: dict[int, SavedRuleState] = field(default_factory=dict)

    @staticmethod
    def restored(states: Iterable[SavedRuleState]) -> "GrowthMemory":
        """The memory as far as it is saved; `replay` brings the counts."""
        return GrowthMemory(raised={state.rule: state for state in states if state.subject.pack is None})

    def replay(self, batches: Iterable[SetAside]) -> None:
        """Count batches that the rules have seen before."""
        for batch in batches:
            self.tenants.setdefault(batch.tenant_id, TenantGrowth()).add(batch)


@dataclass(frozen=True, slots=True)
class GrowthOutcome:
    """What a group makes of the growth of its tenants; nothing of it is in the memory before `apply`."""

    tenants: dict[TenantId, TenantGrowth]
    raised: dict[int, SavedRuleState]
    changes: AlertChanges

    def apply(self, memory: GrowthMemory) -> None:
        """Let the memory be what the outcome says, after COMMIT."""
        memory.tenants |= self.tenants
        memory.raised = self.raised


def set_aside_by(results: Sequence[BatchResult]) -> list[SetAside | None]:
    """How many readings each batch of a group had set aside; None for imports, and for what is judged again."""
    return [
        SetAside(
            result.batch.tenant_id,
            result.batch.source,
            result.batch.arrived_at_ms,
            result.receipt.quarantined,
        )
        if result.batch.mode is Mode.LIVE and not result.batch.redriven
        else None
        for result in results
    ]


def grow(batches: Sequence[SetAside | None], memory: GrowthMemory, book: RuleBook) -> GrowthOutcome:
    """What the rules of growth make of live batches, in their order. The memory stays as it is."""
    by_tenant: dict[TenantId, list[Rule]] = {}
    for rule in book.growth:
        by_tenant.setdefault(rule.tenant_id, []).append(rule)
    tenants: dict[TenantId, TenantGrowth] = {}
    raised = dict(memory.raised)
    made: list[AlertTransition] = []
    for position, batch in enumerate(batches):
        rules = None if batch is None else by_tenant.get(batch.tenant_id)
        if batch is None or rules is None:
            continue
        if batch.tenant_id not in tenants:
            tenants[batch.tenant_id] = memory.tenants.get(batch.tenant_id, TenantGrowth()).copied()
        growth = tenants[batch.tenant_id]
        growth.add(batch)
        for rule in rules:
            made += _step(rule, growth, raised, position)
    gone = {rule: state for rule, state in memory.raised.items() if rule not in raised}
    changes = AlertChanges(
        silenced(made, book),
        tuple(state for rule, state in raised.items() if memory.raised.get(rule) != state),
        tuple((rule, state.subject) for rule, state in gone.items()),
    )
    return GrowthOutcome(tenants, raised, changes)


def _step(
    rule: Rule, growth: TenantGrowth, raised: dict[int, SavedRuleState], position: int
) -> list[AlertTransition]:
    """Move one rule to the tenant's clock; `raised` is changed in place."""
    begun = [version for version in rule.versions if version.effective_from_ms <= growth.clock_ms]
    if not begun or not isinstance(begun[-1].condition, QuarantineGrowth):
        return []
    version, condition, now_ms = begun[-1], begun[-1].condition, growth.clock_ms
    happened: list[tuple[SavedRuleState, TransitionKind, TransitionReason, int | None]] = []
    state = raised.get(rule.number)
    if state is not None and state.version != version.number:
        reason = TransitionReason.SUPERSEDED if version.enabled else TransitionReason.DISABLED
        happened.append((raised.pop(rule.number), TransitionKind.CLEARED, reason, None))
        state = None
    items = growth.within(condition)
    if version.enabled and items > condition.items_max and state is None:
        raised[rule.number] = _raised(rule, version, condition, now_ms)
        happened.append((raised[rule.number], TransitionKind.RAISED, TransitionReason.MEASURED, items))
    elif items <= condition.items_max and state is not None:
        happened.append((raised.pop(rule.number), TransitionKind.CLEARED, TransitionReason.MEASURED, items))
    return [
        AlertTransition(
            tenant_id=rule.tenant_id,
            rule=rule.number,
            version=was.version,
            subject=was.subject,
            kind=kind,
            reason=reason,
            rule_ms=now_ms,
            onset_ms=now_ms if was.onset_ms is None else was.onset_ms,
            value=None if value is None else float(value),
            severity=version.severity,
            flapping=False,
            tenure=None,
            batch=position,
        )
        for was, kind, reason, value in happened
    ]


def growth_cleared_by_hand(
    memory: GrowthMemory, rule: int, onset_ms: int, now_ms: int, book: RuleBook
) -> GrowthOutcome:
    """The outcome that clears the open alert of a rule of growth with this onset.

    Raises NotFoundError when no such alert is open. The memory stays as it is.
    """
    state = memory.raised.get(rule)
    version = None if state is None else book.version(rule, state.version)
    if state is None or version is None or state.onset_ms != onset_ms:
        raise NotFoundError("no such alert is open")
    cleared = AlertTransition(
        tenant_id=state.tenant_id,
        rule=rule,
        version=state.version,
        subject=state.subject,
        kind=TransitionKind.CLEARED,
        reason=TransitionReason.BY_HAND,
        rule_ms=now_ms,
        onset_ms=onset_ms,
        value=None,
        severity=version.severity,
        flapping=False,
        tenure=None,
        batch=None,
    )
    left = {number: one for number, one in memory.raised.items() if number != rule}
    return GrowthOutcome({}, left, AlertChanges((cleared,), (), ((rule, state.subject),)))


def _raised(rule: Rule, version: RuleVersion, condition: QuarantineGrowth, now_ms: int) -> SavedRuleState:
    return SavedRuleState(
        tenant_id=rule.tenant_id,
        rule=rule.number,
        version=version.number,
        subject=Subject(None, condition.source),
        status=RuleStatus.RAISED,
        flapping=False,
        onset_ms=now_ms,
        clear_since_ms=None,
        raises_ms=(),
    )
