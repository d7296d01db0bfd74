"""The obvious way to run rules: one reading at a time, in dictionaries; shares no code with the engine's way."""

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from domain.alert_rules import (
    CellImbalance,
    ClockSkew,
    MissingData,
    RateOfChange,
    Rule,
    RuleVersion,
    ScopeKind,
    Side,
    TenureScope,
    Threshold,
    Trend,
)

Logged = tuple[Any, ...]
"""Kind, rule, version, pack, rule time, onset, reason, flapping, value or None."""


def exactly(value: float) -> Fraction:
    return Fraction(str(value))


@dataclass
class NaiveState:
    status: str = "normal"
    version: int = 0
    onset: int | None = None
    clear_since: int | None = None
    flapping: bool = False
    raises: list[int] = field(default_factory=list)


@dataclass
class NaivePack:
    clock: int | None = None
    tenant: int | None = None
    tenure: int | None = None
    last: dict[str, tuple[int, Fraction]] = field(default_factory=dict)


class NaiveRules:
    def __init__(self, rules: list[Rule], tenures: list[TenureScope]) -> None:
        self.rules = rules
        self.tenures = {tenure.number: tenure for tenure in tenures}
        self.packs: dict[int, NaivePack] = {}
        self.states: dict[tuple[int, int], NaiveState] = {}
        self.log: list[Logged] = []

    def reading(self, tenure: int, ts: int, arrived: int, values: dict[str, float]) -> None:
        scope = self.tenures[tenure]
        number, tenant = scope.pack, scope.tenant_id
        pack = self.packs.setdefault(number, NaivePack())
        now = min(ts, arrived)
        late = pack.clock is not None and now < pack.clock
        exact = {name: exactly(value) for name, value in values.items()}
        if not values:
            if not late:
                for rule in self._holding(scope):
                    self._step(rule, pack, number, now, ts, arrived, {}, only_skew=True)
            return
        if late:
            self._late(scope, number, now, exact)
            return
        handed_over = pack.tenant is not None and pack.tenant != tenant
        if handed_over:
            pack.last = {}
        holding = self._holding(scope)
        for rule in holding:
            self._step(rule, pack, number, now, ts, arrived, exact, gap_unknown=handed_over)
        for (which, rule_number), state in list(self.states.items()):
            if (
                which == number
                and state.status != "normal"
                and rule_number
                not in [rule.number for rule in holding if self._version(rule, now) is not None]
            ):
                self._leave(which, rule_number, state, now, "out_of_scope")
        pack.clock, pack.tenant, pack.tenure = now, tenant, tenure
        pack.last |= {name: (ts, value) for name, value in exact.items()}

    def timer(self, now: int, up_since: int) -> None:
        for (number, rule_number), state in list(self.states.items()):
            rule = next(rule for rule in self.rules if rule.number == rule_number)
            version = self._version(rule, now)
            if state.status == "provisional" and (
                version is None or version.number != state.version or not version.enabled
            ):
                self._leave(number, rule_number, state, now, "superseded")
        for number, pack in self.packs.items():
            if pack.clock is None or pack.tenure is None:
                continue
            scope = self.tenures[pack.tenure]
            for rule in self._holding(scope):
                version = self._version(rule, now)
                if version is None or not version.enabled or not isinstance(version.condition, MissingData):
                    continue
                after = version.condition.after_s * 1000
                onset = max(pack.clock + after, version.effective_from_ms)
                state = self.states.setdefault((number, rule.number), NaiveState())
                silent = now - pack.clock > after and now - up_since > after and onset < scope.to_ms
                if silent and state.status == "normal":
                    state.status, state.version, state.onset = "provisional", version.number, onset
                    self._add("provisional", number, rule.number, state, now, "silent", Fraction(after, 1000))

    def _holding(self, scope: TenureScope) -> list[Rule]:
        def holds(rule: Rule) -> bool:
            if rule.tenant_id != scope.tenant_id:
                return False
            match rule.scope.kind:
                case ScopeKind.TENANT:
                    return True
                case ScopeKind.SITE:
                    return rule.scope.id == scope.site_id
                case ScopeKind.MODEL:
                    return rule.scope.id == scope.model_id
                case ScopeKind.PACK:
                    return rule.scope.pack == scope.pack

        return [rule for rule in self.rules if holds(rule)]

    def _version(self, rule: Rule, now: int) -> RuleVersion | None:
        begun = [version for version in rule.versions if version.effective_from_ms <= now]
        return begun[-1] if begun else None

    def _add(
        self,
        kind: str,
        pack: int,
        rule: int,
        state: NaiveState,
        now: int,
        reason: str,
        value: Fraction | None,
    ) -> None:
        shown = None if value is None else float(value)
        self.log.append((kind, rule, state.version, pack, now, state.onset, reason, state.flapping, shown))

    def _leave(self, pack: int, rule: int, state: NaiveState, now: int, reason: str) -> None:
        kind = {"pending": "dropped", "raised": "cleared", "provisional": "withdrawn"}[state.status]
        assert state.onset is not None
        self._add(kind, pack, rule, state, max(now, state.onset), reason, None)
        self._settle(state)

    def _settle(self, state: NaiveState) -> None:
        state.status, state.onset, state.clear_since, state.flapping = "normal", None, None, False

    def _late(self, scope: TenureScope, pack: int, now: int, values: dict[str, Fraction]) -> None:
        for rule in self._holding(scope):
            version = self._version(rule, now)
            if version is None or not version.enabled:
                continue
            if isinstance(version.condition, Threshold | CellImbalance):
                verdict, value = self._level(version.condition, values, values)
                if verdict == "breach":
                    shown = NaiveState(version=version.number, onset=now)
                    self._add("late", pack, rule.number, shown, now, "measured", value)

    def _step(  # noqa: C901, PLR0912 - the obvious way, in one piece
        self, rule: Rule, pack: NaivePack, number: int, now: int, ts: int, arrived: int,
        values: dict[str, Fraction], *, gap_unknown: bool = False, only_skew: bool = False,
    ) -> None:  # fmt: skip
        version = self._version(rule, now)
        if version is None or (only_skew and not isinstance(version.condition, ClockSkew)):
            return
        state = self.states.setdefault((number, rule.number), NaiveState())
        if state.status != "normal" and state.version != version.number:
            self._leave(number, rule.number, state, now, "superseded" if version.enabled else "disabled")
        if not version.enabled:
            return
        condition = version.condition
        if isinstance(condition, MissingData):
            if pack.clock is not None and not gap_unknown:
                self._gap(rule, version, condition, state, number, pack.clock, now)
            return
        if isinstance(condition, ClockSkew):
            ahead = ts - arrived
            verdict = "breach" if ahead > condition.future_s * 1000 else "clear"
            value = Fraction(ahead, 1000)
            duration = 0
        elif isinstance(condition, RateOfChange):
            verdict, value = self._rate(condition, pack, ts, values)
            duration = condition.duration_s * 1000
        else:
            assert isinstance(condition, Threshold | CellImbalance)
            same_moment = {name: was for name, (when, was) in pack.last.items() if when == ts} | values
            verdict, value = self._level(condition, values, same_moment)
            duration = condition.duration_s * 1000
        if verdict == "unknown":
            return
        if verdict == "breach":
            if state.status == "normal":
                state.status, state.version, state.onset = "pending", version.number, now
                if duration > 0:
                    self._add("pending", number, rule.number, state, now, "measured", value)
            if state.status == "pending" and state.onset is not None and now >= state.onset + duration:
                self._raise(rule, version, state, number, now, value)
            elif state.status == "raised":
                state.clear_since = None
        elif state.status == "pending":
            self._add("dropped", number, rule.number, state, now, "measured", value)
            self._settle(state)
        elif state.status == "raised":
            self._calm(rule, version, state, number, now, value, clear=verdict == "clear")

    def _level(
        self, condition: Threshold | CellImbalance, own: dict[str, Fraction], moment: dict[str, Fraction]
    ) -> tuple[str, Fraction]:
        nothing = ("unknown", Fraction(0))
        if isinstance(condition, CellImbalance):
            high, low = moment.get("cell_voltage_max_v"), moment.get("cell_voltage_min_v")
            if high is None or low is None or not own.keys() & {"cell_voltage_max_v", "cell_voltage_min_v"}:
                return nothing
            value = high - low
            if value > exactly(condition.limit_v):
                return "breach", value
            return ("clear" if value <= exactly(condition.clear_limit_v) else "between"), value
        watched = {condition.measure} | ({condition.during.measure} if condition.during else set())
        if condition.measure not in moment or not own.keys() & watched:
            return nothing
        value = moment[condition.measure]
        sign = 1 if condition.side is Side.ABOVE else -1
        if sign * value > sign * exactly(condition.limit):
            if condition.during is not None:
                if condition.during.measure not in moment:
                    return "unknown", value
                turned = 1 if condition.during.side is Side.ABOVE else -1
                if not turned * moment[condition.during.measure] > turned * exactly(condition.during.limit):
                    return "clear", value
            return "breach", value
        return ("clear" if sign * value <= sign * exactly(condition.clear_limit) else "between"), value

    def _rate(
        self, condition: RateOfChange, pack: NaivePack, ts: int, values: dict[str, Fraction]
    ) -> tuple[str, Fraction]:
        if condition.measure not in values or condition.measure not in pack.last:
            return "unknown", Fraction(0)
        when, was = pack.last[condition.measure]
        if not 0 < ts - when <= condition.max_gap_s * 1000:
            return "unknown", Fraction(0)
        rate = (values[condition.measure] - was) * 1000 / (ts - when)
        counted = {Trend.RISING: rate, Trend.FALLING: -rate, Trend.EITHER: abs(rate)}[condition.trend]
        rounded = Fraction((rate * 1_000_000).__floor__(), 1_000_000)
        return ("breach" if counted > exactly(condition.limit_per_s) else "clear"), rounded

    def _gap(
        self, rule: Rule, version: RuleVersion, condition: MissingData, state: NaiveState, pack: int,
        before: int, now: int,
    ) -> None:  # fmt: skip
        after, silent = condition.after_s * 1000, Fraction(now - before, 1000)
        if now - before > after:
            if state.status == "raised":
                state.clear_since = now
                return
            onset = max(before + after, version.effective_from_ms)
            state.status, state.version, state.onset = "pending", version.number, onset
            self._raise(rule, version, state, pack, onset, silent)
            self._calm(rule, version, state, pack, now, silent, clear=True)
        elif state.status == "provisional":
            self._add("withdrawn", pack, rule.number, state, now, "measured", silent)
            self._settle(state)
        elif state.status == "raised":
            self._calm(rule, version, state, pack, now, silent, clear=True)

    def _raise(
        self, rule: Rule, version: RuleVersion, state: NaiveState, pack: int, now: int, value: Fraction
    ) -> None:
        state.raises.append(now)
        window = version.flapping.window_s * 1000
        within = [moment for moment in state.raises if moment > now - window]
        state.status, state.flapping = "raised", len(within) > version.flapping.raises_max
        self._add("raised", pack, rule.number, state, now, "measured", value)

    def _calm(
        self, rule: Rule, version: RuleVersion, state: NaiveState, pack: int, now: int, value: Fraction,
        *, clear: bool,
    ) -> None:  # fmt: skip
        if state.flapping:
            if state.clear_since is None:
                state.clear_since = now if clear else None
                return
            if now - state.clear_since < version.flapping.window_s * 1000:
                return
        elif not clear:
            return
        self._add("cleared", pack, rule.number, state, max(now, state.onset), "measured", value)
        self._settle(state)
