"""Rules at the writer's side: what it remembers, and how a group's readings pass through them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from domain.alert_rules import GROWTH_WINDOW_S_MAX, MissingData, Rule, Silence
from domain.alerts import AlertAction, AlertChanges, AlertTransition, ClearByHand
from domain.clock import MILLISECONDS_PER_SECOND
from domain.readings import Int32Array, LiveReadings, Outcome, RuleClocks
from domain.tenancy import TenantId, TenantVersions
from kernels.rule_records import NEVER_MS
from streams.alerting import RuleOutcome, evaluate
from streams.overdue import cleared_by_hand, overdue
from streams.ports import Group, Store
from streams.quarantine_growth import GrowthMemory, GrowthOutcome, grow, growth_cleared_by_hand, set_aside_by
from streams.rule_book import RuleBook
from streams.rule_memory import RuleMemory

_GROWTH_LOADED_MS: Final = 2 * GROWTH_WINDOW_S_MAX * MILLISECONDS_PER_SECOND


@dataclass(frozen=True, slots=True, eq=False)
class Ruled:
    """What rules made of a group; applied after COMMIT."""

    readings: RuleOutcome
    growth: GrowthOutcome | None
    transitions: tuple[AlertTransition, ...]


@dataclass(slots=True)
class _TenantRules:
    """The rules of a tenant, and of which versions of its rules and registry they are."""

    versions: TenantVersions
    rules: list[Rule]
    silences: list[Silence]


class Ruling:
    """The rules' memory and book of one partition's writer, to whose thread it belongs.

    Everything in it follows from the store: `load` brings it back, also after an error of unknown outcome.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._memory = RuleMemory()
        self._growth = GrowthMemory()
        self._book = RuleBook([])
        self._tenants: dict[TenantId, _TenantRules] = {}
        self._happened: list[AlertTransition] = []

    def load(self) -> LiveReadings:
        """Remember what the store says of the last commit, and nothing else.

        Gives the live readings that were committed since the clocks were saved.
        """
        clocks, states, later = self._store.load_rules()
        self._memory = RuleMemory.restored(clocks, states, later)
        self._growth = GrowthMemory.restored(states)
        self._book, self._tenants = RuleBook([]), {}
        self._happened = []
        return later

    def take_happened(self) -> list[AlertTransition]:
        """The transitions that were committed since this was asked last, in their order."""
        happened, self._happened = self._happened, []
        return happened

    def touched(self) -> RuleClocks:
        """Clocks and last values that changed since `saved` was last called."""
        return self._memory.touched()

    def saved(self, clocks: RuleClocks) -> None:
        """Forget that these were changed."""
        self._memory.saved(clocks)

    def prepare(
        self, group: Group, versions: Mapping[TenantId, TenantVersions], live: LiveReadings, now_ms: int
    ) -> None:
        """Learn what the group's rules need: before `Group.write`, which adds to what is counted here."""
        self._follow(group, versions, now_ms)
        self._learn(group, live.tenure)

    def run(self, group: Group, outcome: Outcome) -> Ruled:
        """Run the rules over a group's readings and write what they change, in the group's transaction."""
        readings = evaluate(outcome.live, self._memory, self._book)
        changes = readings.changes(self._book, outcome.live)
        growth = None
        if self._book.growth:
            # What is about no pack belongs to one partition, that of its tenant.
            growth = grow(
                [
                    one if one is not None and group.is_home_of(one.tenant_id) else None
                    for one in set_aside_by(outcome.results)
                ],
                self._growth,
                self._book,
            )
            changes = changes.joined(growth.changes)
        if changes:
            group.write_alerts(changes)
        return Ruled(readings, growth, changes.transitions)

    def apply(self, ruled: Ruled) -> None:
        """Remember what a group changed; after COMMIT."""
        ruled.readings.apply(self._memory)
        if ruled.growth is not None:
            ruled.growth.apply(self._growth)
        self._happened += ruled.transitions

    def time_out(self, now_ms: int, up_since_ms: int) -> None:
        """Raise provisional alerts for packs that have been silent too long, in a transaction of its own (E19)."""
        with self._store.group() as group:
            self._follow(group, group.versions_with_rules(), now_ms)
            if not any(isinstance(rule.versions[-1].condition, MissingData) for rule in self._book.rules):
                return
            self._learn(group, self._memory.tenure[self._memory.clock_ms != NEVER_MS])
            found = overdue(now_ms, self._memory, self._book, up_since_ms)
            changes = AlertChanges() if found is None else found.changes(self._book)
            if found is not None:
                group.write_alerts(changes)
        if found is not None:
            found.apply(self._memory)
            self._happened += changes.transitions

    def clear(self, asked: ClearByHand, now_ms: int) -> None:
        """Clear an open alert by hand, in a transaction of its own. Raises NotFoundError when it isn't open."""
        rule, pack, onset_ms = asked.rule, asked.pack, asked.onset_ms
        cleared: RuleOutcome | GrowthOutcome
        with self._store.group() as group:
            self._follow(group, group.versions_with_rules(), now_ms)
            if pack is None:
                cleared = growth_cleared_by_hand(self._growth, rule, onset_ms, now_ms, self._book)
                changes = cleared.changes
            else:
                cleared = cleared_by_hand(self._memory, rule, pack, onset_ms, now_ms)
                changes = cleared.changes(self._book)
            group.write_alerts(changes)
            group.note_cleared(asked)
        if isinstance(cleared, RuleOutcome):
            cleared.apply(self._memory)
        else:
            cleared.apply(self._growth)
        self._happened += changes.transitions

    def act(self, action: AlertAction, now_ms: int) -> None:
        """Write what somebody did with an alert, in a transaction of its own. Raises NotFoundError."""
        with self._store.group() as group:
            group.write_action(action, now_ms)

    def _follow(self, group: Group, versions: Mapping[TenantId, TenantVersions], now_ms: int) -> None:
        """Load the rules that changed, and forget the scopes of tenures that may have."""
        stale = [
            tenant
            for tenant, found in versions.items()
            if found.rules != self._known(tenant).versions.rules and found.rules > 0
        ]
        for tenant, found in versions.items():
            known = self._known(tenant)
            if found.registry != known.versions.registry:
                self._book.forget(tenant)
                self._tenants[tenant] = _TenantRules(
                    TenantVersions(found.registry, known.versions.rules), known.rules, known.silences
                )
        if stale:
            self._load_rules(group, stale, versions)
            self._count_growth(group, now_ms)

    def _known(self, tenant: TenantId) -> _TenantRules:
        return self._tenants.get(tenant) or _TenantRules(TenantVersions(-1, 0), [], [])

    def _load_rules(
        self, group: Group, stale: list[TenantId], versions: Mapping[TenantId, TenantVersions]
    ) -> None:
        rules, silences = group.rules_of(stale)
        for tenant in stale:
            self._tenants[tenant] = _TenantRules(
                versions[tenant],
                [rule for rule in rules if rule.tenant_id == tenant],
                [silence for silence in silences if silence.tenant_id == tenant],
            )
        known = list(self._tenants.values())
        scopes = self._book.scopes()
        self._book = RuleBook(
            [rule for tenant in known for rule in tenant.rules],
            [silence for tenant in known for silence in tenant.silences],
        )
        self._book.learn(scopes)

    def _count_growth(self, group: Group, now_ms: int) -> None:
        """Count what was set aside lately, of tenants whose first rule of growth this is."""
        new = {rule.tenant_id for rule in self._book.growth} - set(self._growth.tenants)
        if new:
            self._growth.replay(group.quarantined_since(now_ms - _GROWTH_LOADED_MS, sorted(new)))

    def _learn(self, group: Group, tenures: Int32Array) -> None:
        """Learn the scopes of tenures not met before."""
        unknown = self._book.unknown(tenures)
        if len(unknown) == 0:
            return
        self._book.learn(group.scopes_of(unknown))
