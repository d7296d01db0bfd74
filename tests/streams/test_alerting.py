"""Rules over live readings against the naive twin, under any split, replay, restart and interleaving."""

from collections.abc import Sequence
from functools import partial
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.alert_rules import (
    CellImbalance,
    ClockSkew,
    Condition,
    Flapping,
    MissingData,
    RateOfChange,
    Rule,
    RuleVersion,
    Scope,
    ScopeKind,
    Severity,
    Side,
    Silence,
    SilenceKind,
    TenureScope,
    Threshold,
    TransitionKind,
    TransitionReason,
    Trend,
    While,
)
from domain.alerts import AlertTransition, Subject
from domain.measures import MEASURE_INDEX, MEASURES
from domain.packs import FOREVER_MS
from domain.readings import ABSENT, LiveReadings
from domain.tenancy import TenantId
from streams.alerting import evaluate, saved_state, silenced
from streams.overdue import overdue
from streams.rule_book import RuleBook
from streams.rule_memory import RuleMemory
from tests.streams.naive_rules import Logged, NaiveRules

Reading = tuple[int, int, int, dict[str, float]]
"""Tenure, event time, arrival, values."""

SITE_A, SITE_B, MODEL = UUID(int=1), UUID(int=2), UUID(int=3)
TENURES = [
    TenureScope(1, TenantId(1), 0, SITE_A, MODEL, 40_000),
    TenureScope(2, TenantId(1), 1, SITE_A, None, FOREVER_MS),
    TenureScope(3, TenantId(2), 2, None, None, FOREVER_MS),
    TenureScope(4, TenantId(1), 0, SITE_B, MODEL, FOREVER_MS),
    TenureScope(5, TenantId(2), 1, None, None, FOREVER_MS),
]


def live_of(readings: Sequence[Reading]) -> LiveReadings:
    thousandths = np.full((len(MEASURES), len(readings)), ABSENT, np.int32)
    for position, (_, _, _, values) in enumerate(readings):
        for name, value in values.items():
            thousandths[MEASURE_INDEX[name], position] = round(value * 1000)
    tenures = [TENURES[tenure - 1] for tenure, _, _, _ in readings]
    return LiveReadings(
        np.array([tenure.tenant_id for tenure in tenures], np.int32),
        np.array([tenure.number for tenure in tenures], np.int32),
        np.array([tenure.pack for tenure in tenures], np.int32),
        np.array([ts for _, ts, _, _ in readings], np.int64),
        np.array([arrived for _, _, arrived, _ in readings], np.int64),
        np.zeros(len(readings), np.int32),
        thousandths,
    )


def logged(made: Sequence[AlertTransition]) -> list[Logged]:
    return [
        (
            str(one.kind), one.rule, one.version, one.subject.pack, one.rule_ms, one.onset_ms,
            str(one.reason), one.flapping, one.value,
        )
        for one in made
    ]  # fmt: skip


class Engine:
    """The engine's way: groups, commits, restarts and a timer."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.book = RuleBook(rules)
        self.book.learn(TENURES)
        self.memory = RuleMemory()
        self.clocks = self.memory.touched()
        self.since_saved: list[Reading] = []
        self.log: list[Logged] = []

    def group(self, readings: Sequence[Reading]) -> None:
        live = live_of(readings)
        outcome = evaluate(live, self.memory, self.book)
        self.log += logged(outcome.changes(self.book, live).transitions)
        outcome.apply(self.memory)
        self.since_saved += readings

    def timer(self, now: int, up_since: int) -> None:
        outcome = overdue(now, self.memory, self.book, up_since)
        if outcome is not None:
            self.log += logged(outcome.changes(self.book).transitions)
            outcome.apply(self.memory)

    def save(self) -> None:
        self.clocks, self.since_saved = self.memory.touched(), []

    def restart(self) -> None:
        states = [saved_state(one) for one in self.memory.states]
        self.memory = RuleMemory.restored(self.clocks, states, live_of(self.since_saved))


def by_pack(log: Sequence[Logged]) -> dict[int, list[Logged]]:
    found: dict[int, list[Logged]] = {}
    for one in log:
        found.setdefault(one[3], []).append(one)
    return {pack: sorted_runs(made) for pack, made in found.items()}


def sorted_runs(made: list[Logged]) -> list[Logged]:
    """Transitions that one reading caused in different rules come in no particular order; within a rule they do."""
    return sorted(made, key=lambda one: one[1])


def rule(
    number: int,
    *conditions: Condition | None,
    scope: Scope | None = None,
    tenant: int = 1,
    every: int = 10_000,
) -> Rule:
    """A rule with a version for each condition, one every 10 s; None disables it."""
    versions: list[RuleVersion] = []
    for position, condition in enumerate(conditions):
        kept = condition or versions[-1].condition
        versions.append(
            RuleVersion(
                position + 1, position * every, condition is not None, Severity.WARNING, kept, Flapping(2, 8)
            )
        )
    return Rule(number, TenantId(tenant), scope or Scope(ScopeKind.TENANT), tuple(versions))


thresholds = st.builds(
    lambda measure, side, limit, band, duration, during: Threshold(
        measure, side, limit, limit - band if side is Side.ABOVE else limit + band, duration, during
    ),
    st.sampled_from(["temperature_c", "cell_voltage_max_v"]),
    st.sampled_from(Side),
    st.sampled_from([1.0, 2.0]),
    st.sampled_from([0.0, 1.0]),
    st.sampled_from([0, 2, 5]),
    st.none() | st.just(While("current_a", Side.ABOVE, 1.0)),
)
conditions = st.one_of(
    thresholds,
    st.builds(RateOfChange, st.just("temperature_c"), st.sampled_from(Trend), st.sampled_from([0.1, 0.5, 0.333]), st.sampled_from([3, 10]), st.sampled_from([0, 2])),
    st.builds(CellImbalance, st.sampled_from([1.0, 0.5]), st.sampled_from([0.0, 0.5]), st.sampled_from([0, 3])),
    st.builds(MissingData, st.integers(1, 6)),
    st.builds(ClockSkew, st.sampled_from([0, 1, 2])),
)  # fmt: skip
scopes = st.sampled_from(
    [
        Scope(ScopeKind.TENANT),
        Scope(ScopeKind.SITE, id=SITE_A),
        Scope(ScopeKind.SITE, id=SITE_B),
        Scope(ScopeKind.MODEL, id=MODEL),
        Scope(ScopeKind.PACK, pack=1),
    ]
)


def is_of(kind: type[Condition], one: Condition) -> bool:
    return isinstance(one, kind)


@st.composite
def rule_sets(draw: st.DrawFn) -> list[Rule]:
    made = []
    for number in range(1, draw(st.integers(1, 5)) + 1):
        first = draw(conditions)
        same_kind = conditions.filter(partial(is_of, type(first)))
        more = draw(st.lists(st.none() | same_kind, max_size=2)) if draw(st.booleans()) else []
        tenant = draw(st.sampled_from([1, 1, 2]))
        scope = draw(scopes) if tenant == 1 else Scope(ScopeKind.TENANT)
        made.append(rule(number, first, *more, scope=scope, tenant=tenant, every=20_000))
    return made


values = st.dictionaries(
    st.sampled_from(["temperature_c", "cell_voltage_max_v", "cell_voltage_min_v", "current_a"]),
    st.sampled_from([0.0, 0.5, 1.0, 1.001, 1.5, 2.0, 2.001, 3.0]),
    max_size=3,
)


@st.composite
def histories(draw: st.DrawFn) -> list[Reading]:
    """Readings in order of arrival: mostly a second or two apart, some late, some ahead of their arrival."""
    now = 1_000
    made: list[Reading] = []
    for _ in range(draw(st.integers(0, 40))):
        now += draw(st.sampled_from([0, 500, 1_000, 1_000, 2_000, 7_000]))
        ts = now + draw(st.sampled_from([0, 0, 0, 0, -1_000, -4_000, 1_500, 3_000]))
        made.append((draw(st.sampled_from([1, 1, 1, 2, 3, 4, 5])), ts, now, draw(values)))
    return made


@given(rules=rule_sets(), history=histories(), data=st.data())
@settings(max_examples=400, deadline=None)
def test_e18_transitions_equal_the_naive_twins_under_any_split_restart_and_timer(
    rules: list[Rule], history: list[Reading], data: st.DataObject
) -> None:
    naive = NaiveRules(rules, TENURES)
    engine = Engine(rules)
    position = 0
    while position < len(history):
        size = data.draw(st.integers(1, 12))
        group = history[position : position + size]
        position += size
        for one in group:
            naive.reading(*one)
        engine.group(group)
        step = data.draw(st.sampled_from(["nothing", "nothing", "save", "restart", "timer"]))
        if step == "save":
            engine.save()
        elif step == "restart":
            engine.restart()
        elif step == "timer":
            now, up_since = group[-1][2] + data.draw(st.integers(0, 9_000)), data.draw(st.integers(0, 20_000))
            naive.timer(now, up_since)
            engine.timer(now, up_since)
    assert by_pack(engine.log) == by_pack(naive.log)


@given(rules=rule_sets(), history=histories(), data=st.data())
@settings(max_examples=150, deadline=None)
def test_e18_split_and_interleaving_change_nothing_and_e19_neither_does_the_timer(
    rules: list[Rule], history: list[Reading], data: st.DataObject
) -> None:
    whole = Engine(rules)
    whole.group(history)
    queues: dict[int, list[Reading]] = {}
    for one in history:
        queues.setdefault(TENURES[one[0] - 1].pack, []).append(one)
    parted = Engine(rules)
    while queues:
        pack = data.draw(st.sampled_from(sorted(queues)))
        parted.group([queues[pack].pop(0)])
        if not queues[pack]:
            del queues[pack]
        if data.draw(st.booleans()):
            parted.restart()
        parted.timer(data.draw(st.integers(0, 60_000)), 0)
    decided = [one for one in parted.log if one[0] not in ("provisional", "withdrawn")]
    assert by_pack(decided) == by_pack(whole.log)


def test_e18_reading_that_completes_a_moment_is_judged_with_what_came_before() -> None:
    cold = Threshold("temperature_c", Side.BELOW, 0.0, 1.0, during=While("current_a", Side.ABOVE, 0.5))
    engine = Engine([rule(1, cold)])
    engine.group([(1, 1_000, 1_000, {"temperature_c": -5.0}), (1, 1_000, 2_000, {"current_a": 1.0})])
    assert [one[0] for one in engine.log] == ["raised"]


@pytest.mark.parametrize(
    ("kind", "rule_ms", "onset_ms", "hidden"),
    [
        (TransitionKind.RAISED, 999, 0, False),
        (TransitionKind.RAISED, 1000, 0, True),
        (TransitionKind.RAISED, 1999, 0, True),
        (TransitionKind.RAISED, 2000, 0, False),
        (TransitionKind.PROVISIONAL, 5000, 1999, True),
        (TransitionKind.PROVISIONAL, 1999, 2000, False),
    ],
)
def test_silence_hides_from_its_begin_and_before_its_end(
    kind: TransitionKind, rule_ms: int, onset_ms: int, hidden: bool
) -> None:
    silence = Silence(UUID(int=1), TenantId(1), SilenceKind.MUTE, 1000, 2000, None, None, None)
    made = AlertTransition(
        tenant_id=TenantId(1),
        rule=1,
        version=1,
        subject=Subject(1),
        kind=kind,
        reason=TransitionReason.MEASURED,
        rule_ms=rule_ms,
        onset_ms=onset_ms,
        value=None,
        severity=Severity.INFO,
        flapping=False,
        tenure=None,
        batch=None,
    )
    (found,) = silenced([made], RuleBook([], [silence]))
    assert (found.silence_id is not None) == hidden
