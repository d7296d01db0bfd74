"""Rules over live readings: pure steps from what is remembered to what a transaction writes (E17 to E19)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from domain.alert_rules import (
    CellImbalance,
    Condition,
    RateOfChange,
    Silence,
    SilenceKind,
    Threshold,
    TransitionKind,
    TransitionReason,
)
from domain.alerts import AlertChanges, AlertTransition, SavedRuleState, Subject
from domain.clock import MILLISECONDS_PER_SECOND
from domain.measures import THOUSANDTHS_PER_UNIT
from domain.readings import LiveReadings
from domain.tenancy import TenantId
from kernels import rules as kernels
from kernels.rule_columns import MADE, STATES, Packs, Results
from kernels.rule_records import NEVER_MS, NONE, STATE, TRANSITION
from kernels.rules import TRANSITIONS_A_RULE_MAX
from streams.rule_book import MICRO, RuleBook
from streams.rule_memory import STATUSES, RuleMemory, States, columns_of, unique_packs, worth_keeping

Transitions = npt.NDArray[np.void]

KINDS = (
    TransitionKind.PENDING,
    TransitionKind.DROPPED,
    TransitionKind.RAISED,
    TransitionKind.CLEARED,
    TransitionKind.LATE,
    TransitionKind.PROVISIONAL,
    TransitionKind.WITHDRAWN,
)
"""By the kernels' numbers."""

REASONS = (
    TransitionReason.MEASURED,
    TransitionReason.SUPERSEDED,
    TransitionReason.DISABLED,
    TransitionReason.OUT_OF_SCOPE,
    TransitionReason.SILENT,
    TransitionReason.BY_HAND,
)
"""By the kernels' numbers."""

OPENING = frozenset({TransitionKind.RAISED, TransitionKind.LATE, TransitionKind.PROVISIONAL})
"""Kinds that begin an alert, so that a silence may hide it."""

_ROOM = 256


@dataclass(frozen=True, slots=True, eq=False)
class RuleOutcome:
    """What rules make of a group: the packs as they are then, their states, and the transitions in order.

    Nothing of it is in the memory before `apply`, which follows the COMMIT of `changes`.
    """

    packs: Packs
    states: States
    given_states: int
    transitions: Transitions

    def apply(self, memory: RuleMemory) -> None:
        """Let the memory be what the outcome says."""
        memory.apply(self.packs, self.states[self._kept()])

    def _kept(self) -> npt.NDArray[np.bool_]:
        slot = np.searchsorted(self.packs.pack, self.states["pack"])
        return worth_keeping(self.states, self.packs.clock_ms[slot])

    def changes(self, book: RuleBook, live: LiveReadings | None = None) -> AlertChanges:
        """What is to be written. `live`: the readings that were evaluated; None when no reading brought it."""
        kept = self._kept()
        changed = self.states["changed"] != 0
        given = np.arange(len(self.states)) < self.given_states
        return AlertChanges(
            silenced(_transitions(self.transitions, self.packs, book, live), book),
            tuple(saved_state(one) for one in self.states[kept & changed]),
            tuple((int(one["rule"]), Subject(int(one["pack"]))) for one in self.states[~kept & given]),
        )


def evaluate(live: LiveReadings, memory: RuleMemory, book: RuleBook) -> RuleOutcome:
    """What the rules make of live readings in their order of arrival. The memory stays as it is.

    A reading without any measure stands for one set aside as too far in the future: it feeds clock skew, and moves
    nothing. The book must have learnt the readings' tenures, else no rule holds for them.
    """
    packs, slot = unique_packs(live.pack)
    gathered, given = memory.gather(packs)
    results = Results(_with_room(given, STATE, _ROOM), np.zeros(_ROOM, TRANSITION), np.zeros(2, np.int64))
    results.counts[STATES] = len(given)
    if len(live):
        readings = columns_of(live, slot, book.profiles_of(live.tenure))
        position = kernels.evaluate(0, readings, gathered, book.tables, results)
        while position < len(live):
            results = _larger(results, book, int(gathered.busy[slot[position]]))
            position = kernels.evaluate(position, readings, gathered, book.tables, results)
    made, states = int(results.counts[MADE]), int(results.counts[STATES])
    return RuleOutcome(gathered, results.states[:states], len(given), results.made[:made])


def _with_room(given: npt.NDArray[np.void], dtype: np.dtype[np.void], more: int) -> npt.NDArray[np.void]:
    larger = np.zeros(len(given) + more, dtype)
    larger[: len(given)] = given
    return larger


def _larger(results: Results, book: RuleBook, busy: int) -> Results:
    """The results with at least twice the room, and enough for any one reading."""
    rules = int(np.diff(book.tables.profile_start).max())
    return Results(
        _with_room(results.states, STATE, len(results.states) + rules),
        _with_room(results.made, TRANSITION, len(results.made) + TRANSITIONS_A_RULE_MAX * rules + busy),
        results.counts,
    )


def _transitions(
    made: Transitions, packs: Packs, book: RuleBook, live: LiveReadings | None
) -> list[AlertTransition]:
    slots = np.searchsorted(packs.pack, made["pack"])
    found = []
    for one, slot in zip(made.tolist(), slots.tolist(), strict=True):
        reading, pack, rule, tenant, number, kind, reason, flapping, rule_ms, onset_ms, value = one
        version = book.version(rule, number)
        if version is None:
            raise LookupError(f"rule {rule} has no version {number}")
        by_reading = live is not None and reading != NONE
        found.append(
            AlertTransition(
                tenant_id=TenantId(tenant),
                rule=rule,
                version=number,
                subject=Subject(pack),
                kind=KINDS[kind],
                reason=REASONS[reason],
                rule_ms=rule_ms,
                onset_ms=onset_ms,
                value=_in_unit(version.condition, value) if REASONS[reason] in _WITH_VALUE else None,
                severity=version.severity,
                flapping=bool(flapping),
                tenure=int(live.tenure[reading] if live is not None and by_reading else packs.tenure[slot]),
                batch=int(live.batch[reading]) if live is not None and by_reading else None,
            )
        )
    return found


_WITH_VALUE = frozenset({TransitionReason.MEASURED, TransitionReason.SILENT})


def _in_unit(condition: Condition, value: int) -> float:
    """A kernel's value in the unit of the rule."""
    match condition:
        case Threshold() | CellImbalance():
            return value / THOUSANDTHS_PER_UNIT
        case RateOfChange():
            return value / MICRO
        case _:
            return value / MILLISECONDS_PER_SECOND


def silenced(made: Sequence[AlertTransition], book: RuleBook) -> tuple[AlertTransition, ...]:
    """The transitions, with the silence that hides an alert on those that begin one."""
    if not book.silences:
        return tuple(made)
    return tuple(_silenced(one, book) if one.kind in OPENING else one for one in made)


def _silenced(one: AlertTransition, book: RuleBook) -> AlertTransition:
    site = None if one.tenure is None else book.site_of(one.tenure)
    # A silence counts from its onset, whether the timer or the next reading finds it.
    moment = one.onset_ms if one.kind is TransitionKind.PROVISIONAL else one.rule_ms
    hiding = [
        silence
        for silence in book.silences
        if silence.tenant_id == one.tenant_id
        and silence.from_ms <= moment < silence.to_ms
        and silence.rule in (None, one.rule)
        and silence.pack in (None, one.subject.pack)
        and silence.site_id in (None, site)
    ]
    if not hiding:
        return one
    first: Silence = min(hiding, key=lambda silence: (silence.from_ms, silence.id))
    maintenance = any(silence.kind is SilenceKind.MAINTENANCE for silence in hiding)
    return replace(one, silence_id=first.id, maintenance=maintenance)


def saved_state(one: np.void) -> SavedRuleState:
    """A state of the memory, as it is kept in the store."""
    onset_ms, clear_since_ms = int(one["onset_ms"]), int(one["clear_since_ms"])
    return SavedRuleState(
        tenant_id=TenantId(int(one["tenant"])),
        rule=int(one["rule"]),
        version=int(one["version"]),
        subject=Subject(int(one["pack"])),
        status=STATUSES[int(one["status"])],
        flapping=bool(one["flapping"]),
        onset_ms=None if onset_ms == NEVER_MS else onset_ms,
        clear_since_ms=None if clear_since_ms == NEVER_MS else clear_since_ms,
        raises_ms=tuple(moment for moment in one["raises_ms"].tolist() if moment != NEVER_MS),
    )
