"""The rules of the tenants at work, compiled: which hold for a tenure, and their tightest limits."""

from collections.abc import Iterable, Sequence
from uuid import UUID

import numpy as np

from domain.alert_rules import (
    CELL_HIGH,
    CELL_LOW,
    CellImbalance,
    ClockSkew,
    MissingData,
    QuarantineGrowth,
    RateOfChange,
    Rule,
    RuleVersion,
    ScopeKind,
    Side,
    Silence,
    TenureScope,
    Threshold,
    Trend,
)
from domain.clock import MILLISECONDS_PER_SECOND
from domain.measures import MEASURE_INDEX, MEASURES, THOUSANDTHS_PER_UNIT
from domain.packs import FOREVER_MS
from domain.readings import BoolArray, Int32Array, Int64Array
from domain.tenancy import TenantId
from kernels import rule_records as records
from kernels.rule_columns import Tables

MICRO = 1_000_000

_EMPTY_PROFILE = 0
_SIDES = {Side.ABOVE: records.ABOVE, Side.BELOW: records.BELOW}
_TRENDS = {Trend.RISING: records.ABOVE, Trend.FALLING: records.BELOW, Trend.EITHER: records.EITHER}
_INT64_MAX = int(np.iinfo(np.int64).max)

ScopeKey = tuple[int, ScopeKind, UUID | int | None]


class RuleBook:
    """Rules, silences and tenures' scopes; packs of which no rule is known have a profile without rules.

    Not thread-safe: it belongs to the writer's thread, which learns tenures as they come.
    """

    def __init__(self, rules: Sequence[Rule], silences: Sequence[Silence] = ()) -> None:
        self.rules = tuple(rules)
        self.silences = tuple(silences)
        self._by_pack = [
            rule for rule in rules if not isinstance(rule.versions[-1].condition, QuarantineGrowth)
        ]
        self.growth = tuple(
            rule for rule in rules if isinstance(rule.versions[-1].condition, QuarantineGrowth)
        )
        self._versions: dict[tuple[int, int], RuleVersion] = {
            (rule.number, version.number): version for rule in rules for version in rule.versions
        }
        self._positions: dict[ScopeKey, list[int]] = {}
        for position, rule in enumerate(self._by_pack):
            self._positions.setdefault(_key_of(rule), []).append(position)
        self._profiles: dict[tuple[int, ...], int] = {(): _EMPTY_PROFILE}
        self._profile_of = np.full(0, records.NONE, np.int32)
        self._ends_ms = np.full(0, FOREVER_MS, np.int64)
        self._scopes: dict[int, TenureScope] = {}
        self._records, self._starts = _compiled_versions(self._by_pack)
        self._tables: Tables | None = None

    def version(self, rule: int, number: int) -> RuleVersion | None:
        """A version of a rule; None when the book doesn't hold it."""
        return self._versions.get((rule, number))

    def unknown(self, tenures: Int32Array) -> Int32Array:
        """Those of the tenures whose scope hasn't been learnt, ascending, each once."""
        wanted = np.unique(tenures)
        inside = wanted[wanted < len(self._profile_of)]
        missing = inside[self._profile_of[inside] == records.NONE]
        return np.concatenate([missing, wanted[len(inside) :]])

    def learn(self, scopes: Iterable[TenureScope]) -> None:
        """Remember which rules hold for these tenures."""
        scopes = list(scopes)
        if not scopes:
            return
        self._make_room(max(scope.number for scope in scopes))
        for scope in scopes:
            rules = self._rules_of(scope)
            profile = self._profiles.get(rules)
            if profile is None:
                profile = self._profiles[rules] = len(self._profiles)
                self._tables = None
            self._profile_of[scope.number] = profile
            self._ends_ms[scope.number] = scope.to_ms
            self._scopes[scope.number] = scope

    def forget(self, tenant: TenantId) -> None:
        """Forget the scopes of a tenant's tenures, which may have changed."""
        for number in [number for number, scope in self._scopes.items() if scope.tenant_id == tenant]:
            del self._scopes[number]
            self._profile_of[number] = records.NONE

    def _make_room(self, largest: int) -> None:
        more = max(largest + 1, 2 * len(self._profile_of)) - len(self._profile_of)
        if largest >= len(self._profile_of):
            self._profile_of = np.pad(self._profile_of, (0, more), constant_values=records.NONE)
            self._ends_ms = np.pad(self._ends_ms, (0, more), constant_values=FOREVER_MS)

    def _rules_of(self, scope: TenureScope) -> tuple[int, ...]:
        keys: list[ScopeKey] = [
            (scope.tenant_id, ScopeKind.TENANT, None),
            (scope.tenant_id, ScopeKind.SITE, scope.site_id),
            (scope.tenant_id, ScopeKind.MODEL, scope.model_id),
            (scope.tenant_id, ScopeKind.PACK, scope.pack),
        ]
        return tuple(sorted(position for key in keys for position in self._positions.get(key, ())))

    def profiles_of(self, tenures: Int32Array) -> Int32Array:
        """The profile of each reading's tenure, int32[n]; that without rules for tenures not learnt."""
        profiles = np.zeros(len(tenures), np.int32)
        known = tenures < len(self._profile_of)
        profiles[known] = np.maximum(self._profile_of[tenures[known]], _EMPTY_PROFILE)
        return profiles

    def holds(self, rule: int, tenures: Int32Array) -> BoolArray:
        """Whether a rule holds for the packs of each tenure, bool[n]."""
        position = next(place for place, one in enumerate(self._by_pack) if one.number == rule)
        holding = [profile for rules, profile in self._profiles.items() if position in rules]
        return np.isin(self.profiles_of(tenures), holding)

    def ends_ms_of(self, tenures: Int32Array) -> Int64Array:
        """When each tenure ended, int64[n]; FOREVER_MS while it holds, or isn't learnt."""
        ends = np.full(len(tenures), FOREVER_MS, np.int64)
        known = tenures < len(self._ends_ms)
        ends[known] = self._ends_ms[tenures[known]]
        return ends

    def site_of(self, tenure: int) -> UUID | None:
        """The site of a tenure."""
        scope = self._scopes.get(tenure)
        return None if scope is None else scope.site_id

    def scopes(self) -> Iterable[TenureScope]:
        """The scopes learnt so far."""
        return self._scopes.values()

    @property
    def tables(self) -> Tables:
        """The rules for the kernel, with all profiles met so far."""
        if self._tables is None:
            self._tables = _tables(self._records, self._starts, list(self._profiles))
        return self._tables


def _key_of(rule: Rule) -> ScopeKey:
    return rule.tenant_id, rule.scope.kind, rule.scope.pack if rule.scope.pack is not None else rule.scope.id


def _thousandths(value: float) -> int:
    return round(value * THOUSANDTHS_PER_UNIT)


def _ms(seconds: int) -> int:
    return seconds * MILLISECONDS_PER_SECOND


def _compiled_versions(rules: Sequence[Rule]) -> tuple[np.ndarray[tuple[int], np.dtype[np.void]], Int32Array]:
    """Records of all versions, by rule and number, and where each rule's begin."""
    pairs = [(rule, version) for rule in rules for version in rule.versions]
    made = np.zeros(len(pairs), records.VERSION)
    for one, (rule, version) in zip(made, pairs, strict=True):
        _compile(one, rule, version)
    starts = np.cumsum([0, *(len(rule.versions) for rule in rules)], dtype=np.int64).astype(np.int32)
    return made, starts


def _compile(one: np.void, rule: Rule, version: RuleVersion) -> None:
    one["rule"], one["tenant"] = rule.number, rule.tenant_id
    one["number"], one["enabled"] = version.number, version.enabled
    one["flap_raises_max"] = version.flapping.raises_max
    one["flap_window_ms"] = _ms(version.flapping.window_s)
    one["effective_from_ms"] = version.effective_from_ms
    one["measure"], one["other"], one["side"] = records.NONE, records.NONE, records.ABOVE
    match version.condition:
        case Threshold() as watched:
            one["kind"], one["side"] = records.THRESHOLD, _SIDES[watched.side]
            one["measure"] = MEASURE_INDEX[watched.measure]
            one["limit"], one["clear_limit"] = _thousandths(watched.limit), _thousandths(watched.clear_limit)
            one["duration_ms"] = _ms(watched.duration_s)
            if watched.during is not None:
                one["other"] = MEASURE_INDEX[watched.during.measure]
                one["other_side"] = _SIDES[watched.during.side]
                one["other_limit"] = _thousandths(watched.during.limit)
        case RateOfChange() as watched:
            one["kind"], one["side"] = records.RATE, _TRENDS[watched.trend]
            one["measure"] = MEASURE_INDEX[watched.measure]
            one["limit"] = round(watched.limit_per_s * MICRO)
            one["reach_ms"], one["duration_ms"] = _ms(watched.max_gap_s), _ms(watched.duration_s)
        case CellImbalance() as watched:
            one["kind"] = records.IMBALANCE
            one["measure"], one["other"] = MEASURE_INDEX[CELL_HIGH], MEASURE_INDEX[CELL_LOW]
            one["limit"] = _thousandths(watched.limit_v)
            one["clear_limit"] = _thousandths(watched.clear_limit_v)
            one["duration_ms"] = _ms(watched.duration_s)
        case MissingData() as watched:
            one["kind"], one["limit"] = records.MISSING, _ms(watched.after_s)
        case ClockSkew() as watched:
            one["kind"], one["limit"] = records.SKEW, _ms(watched.future_s)
        case QuarantineGrowth():
            one["enabled"] = False


def _tables(
    versions: np.ndarray[tuple[int], np.dtype[np.void]],
    starts: Int32Array,
    profiles: Sequence[tuple[int, ...]],
) -> Tables:
    shape = (len(profiles), len(MEASURES))
    tables = Tables(
        versions=versions,
        version_start=starts,
        profile_start=np.cumsum([0, *map(len, profiles)], dtype=np.int64).astype(np.int32),
        profile_rule=np.array([rule for profile in profiles for rule in profile], np.int32),
        bounds=np.zeros(len(profiles), records.BOUNDS),
        low=np.full(shape, records.ABSENT, np.int32),
        high=np.full(shape, np.iinfo(np.int32).max, np.int32),
        rate=np.full(shape, records.NO_RATE, np.int64),
        cells=np.array([MEASURE_INDEX[CELL_HIGH], MEASURE_INDEX[CELL_LOW]], np.int32),
    )
    for name in ("imbalance", "after_ms", "skew_ms"):
        tables.bounds[name] = _INT64_MAX
    for profile, rules in enumerate(profiles):
        for rule in rules:
            for one in versions[starts[rule] : starts[rule + 1]]:
                if one["enabled"]:
                    _tighten(tables, profile, one)
    return tables


def _tighten(tables: Tables, profile: int, one: np.void) -> None:
    """Draw the limits of a profile so near that a reading within them breaches this version neither."""
    kind, limit, measure = int(one["kind"]), int(one["limit"]), int(one["measure"])
    bound = tables.bounds[profile]
    if kind == records.THRESHOLD and one["other"] != records.NONE:
        bound["pairs"] += 1
    if kind == records.THRESHOLD and one["side"] == records.ABOVE:
        tables.high[profile, measure] = min(tables.high[profile, measure], limit)
    elif kind == records.THRESHOLD:
        tables.low[profile, measure] = max(tables.low[profile, measure], limit)
    elif kind == records.RATE:
        tables.rate[profile, measure] = min(tables.rate[profile, measure], limit)
        bound["rates"] += 1
    else:
        name = {records.IMBALANCE: "imbalance", records.MISSING: "after_ms", records.SKEW: "skew_ms"}[kind]
        bound[name] = min(int(bound[name]), limit)
