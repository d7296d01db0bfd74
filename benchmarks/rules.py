"""Alert rules over a reading of each pack, beside NumPy and beside reading the bytes once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.measuring import Contender, alternate, seconds_of
from benchmarks.report import Goal, Report, compare
from domain.alert_rules import (
    CellImbalance,
    ClockSkew,
    Condition,
    MissingData,
    RateOfChange,
    Rule,
    RuleVersion,
    Scope,
    ScopeKind,
    Severity,
    Side,
    TenureScope,
    Threshold,
    Trend,
)
from domain.measures import MEASURE_INDEX, MEASURES
from domain.packs import FOREVER_MS
from domain.readings import ABSENT, Int32Array, LiveReadings
from domain.tenancy import TenantId
from kernels.rule_records import TO_RAISED
from streams.alerting import evaluate
from streams.rule_book import RuleBook
from streams.rule_memory import RuleMemory

RULES = 100
TENANT = TenantId(1)
BEGINS_MS = 1_700_000_000_000
STEP_MS = 10_000
ENGINE, WITHOUT = "rules of the engine", "the same without any rule"
PEER, FLOOR = "NumPy, one rule after the other", "reading the bytes once"

_TYPICAL = {
    "state_of_charge_pct": 60_000,
    "state_of_health_pct": 93_000,
    "temperature_c": 25_000,
    "voltage_v": 350_000,
    "current_a": -20_000,
    "cell_voltage_min_v": 3_600,
    "cell_voltage_max_v": 3_640,
}
_BILLION = 1e9


@dataclass(frozen=True, slots=True, eq=False)
class Fleet:
    """A fleet whose packs have sent a reading before, and the next reading of each."""

    memory: RuleMemory
    book: RuleBook
    rules: list[Rule]
    live: LiveReadings


def measure(*, quick: bool) -> list[Report]:
    """A table of a fleet that is well, and one in which a pack in a thousand is not."""
    packs, rounds = (10_000, 3) if quick else (100_000, 9)
    return [
        _measured("a fleet that is well", make_fleet(packs, 0), rounds),
        _measured("one pack in a thousand too hot", make_fleet(packs, 1000), rounds),
    ]


def _measured(name: str, fleet: Fleet, rounds: int) -> Report:
    assert raised_by_engine(fleet) == raised_by_numpy(fleet)
    without = RuleBook([])
    evaluations = len(fleet.live) * len(fleet.rules)

    def rate(work: Callable[[], Any]) -> Callable[[], float]:
        return lambda: evaluations / seconds_of(work) / _BILLION

    samples = alternate(
        [
            Contender(ENGINE, rate(lambda: evaluate(fleet.live, fleet.memory, fleet.book))),
            Contender(WITHOUT, rate(lambda: evaluate(fleet.live, fleet.memory, without))),
            Contender(PEER, rate(lambda: masks_by_numpy(fleet))),
            Contender(FLOOR, rate(lambda: [column.max() for column in touched(fleet)])),
        ],
        rounds,
    )
    lines = compare(samples, [WITHOUT, PEER, FLOOR])
    to_peer = next(line.against[PEER] for line in lines if line.name == ENGINE)
    return Report(
        f"Rules: {len(fleet.rules)} rules, {len(fleet.live):,} packs, {name}",
        "billion rules/s",
        lines,
        (
            "a rule of a reading counts as one; the peer keeps no states, the engine does",
            "without any rule, clocks and last values still move: what rules cost is the difference",
            f"{len(raised_by_engine(fleet))} alerts were raised by both",
        ),
        (Goal("faster than NumPy", 1.0, to_peer),),
    )


def make_fleet(packs: int, one_hot_in: int) -> Fleet:
    """A fleet of so many packs; of each `one_hot_in` of them (0: none) the first is too hot now."""
    book = RuleBook(rules := _rules())
    book.learn(TenureScope(pack + 1, TENANT, pack, None, None, FOREVER_MS) for pack in range(packs))
    random = np.random.default_rng(8)
    typical = np.array([_TYPICAL[measure.name] for measure in MEASURES], np.int32)[:, None]
    first = typical + random.integers(-20, 20, (len(MEASURES), packs), np.int32)
    second = first + random.integers(-5, 5, (len(MEASURES), packs), np.int32)
    if one_hot_in:
        second[MEASURE_INDEX["temperature_c"], ::one_hot_in] = 70_000
    order = random.permutation(packs).astype(np.int32)
    memory = RuleMemory()
    before = _live(order, BEGINS_MS, first)
    evaluate(before, memory, book).apply(memory)
    return Fleet(memory, book, rules, _live(order, BEGINS_MS + STEP_MS, second))


def _live(order: Int32Array, ts_ms: int, thousandths: Int32Array) -> LiveReadings:
    count = len(order)
    return LiveReadings(
        np.full(count, TENANT, np.int32),
        order + 1,
        order,
        np.full(count, ts_ms, np.int64),
        np.full(count, ts_ms + 200, np.int64),
        np.zeros(count, np.int32),
        np.ascontiguousarray(thousandths[:, order]),
    )


def _rules() -> list[Rule]:
    """Rules of every kind that looks at readings, as fleets have them: mostly thresholds."""
    conditions: list[Condition] = []
    for number in range(RULES):
        step = number // 10
        match number % 10:
            case 0:
                conditions.append(RateOfChange("temperature_c", Trend.RISING, 1.0 + step, 60))
            case 1:
                conditions.append(CellImbalance(0.2 + step / 100, 0.1))
            case 2:
                conditions.append(MissingData(900 + step) if step % 2 else ClockSkew(60 + step))
            case 3 | 4:
                conditions.append(Threshold("temperature_c", Side.BELOW, -10.0 - step, -5.0))
            case 5 | 6:
                conditions.append(Threshold("cell_voltage_max_v", Side.ABOVE, 4.0 + step / 100, 3.9))
            case 7:
                conditions.append(Threshold("state_of_health_pct", Side.BELOW, 80.0 - step, 81.0))
            case _:
                conditions.append(Threshold("temperature_c", Side.ABOVE, 50.0 + step, 45.0))
    return [
        Rule(
            number,
            TENANT,
            Scope(ScopeKind.TENANT),
            (RuleVersion(1, 0, enabled=True, severity=Severity.INFO, condition=condition),),
        )
        for number, condition in enumerate(conditions, start=1)
    ]


def raised_by_engine(fleet: Fleet) -> set[tuple[int, int]]:
    """Rule and pack of each alert that the next readings raise."""
    made = evaluate(fleet.live, fleet.memory, fleet.book).transitions
    raised = made[made["kind"] == TO_RAISED]
    return set(zip(raised["rule"].tolist(), raised["pack"].tolist(), strict=True))


def raised_by_numpy(fleet: Fleet) -> set[tuple[int, int]]:
    """The same from the masks."""
    pack = fleet.live.pack
    return {
        (rule.number, int(one))
        for rule, mask in zip(fleet.rules, masks_by_numpy(fleet), strict=True)
        for one in pack[mask]
    }


def touched(fleet: Fleet) -> list[np.ndarray[Any, Any]]:
    """What must be read of the readings: packs, times and values."""
    live = fleet.live
    return [live.pack, live.tenure, live.ts_ms, live.arrived_ms, live.thousandths]


def masks_by_numpy(fleet: Fleet) -> list[np.ndarray[Any, np.dtype[np.bool_]]]:
    """Which readings breach each rule, with what must be remembered looked up before and made anew after.

    It keeps no states: no hysteresis, no duration, no second reading of a pack.
    """
    live, memory = fleet.live, fleet.memory
    before = memory.touched()
    row = np.searchsorted(before.pack, live.pack)
    rule_ms = np.minimum(live.ts_ms, live.arrived_ms)
    clock_ms, last, last_ts_ms = before.clock_ms[row], before.last[:, row], before.last_ts_ms[:, row]
    assert (rule_ms >= clock_ms).all()
    present = live.thousandths != ABSENT
    np.where(present, live.thousandths, last)
    np.where(present, live.ts_ms, last_ts_ms)
    apart_ms = rule_ms - clock_ms
    skew_ms = live.ts_ms - live.arrived_ms
    high, low = live.thousandths[MEASURE_INDEX["cell_voltage_max_v"]], MEASURE_INDEX["cell_voltage_min_v"]
    found = []
    for rule in fleet.rules:
        match rule.versions[0].condition:
            case Threshold(measure=measure, side=Side.ABOVE, limit=limit):
                found.append(live.thousandths[MEASURE_INDEX[measure]] > round(limit * 1000))
            case Threshold(measure=measure, limit=limit):
                found.append(live.thousandths[MEASURE_INDEX[measure]] < round(limit * 1000))
            case RateOfChange(measure=measure, limit_per_s=limit):
                which = MEASURE_INDEX[measure]
                changed_by = live.thousandths[which] - last[which]
                found.append(changed_by > limit * (live.ts_ms - last_ts_ms[which]))
            case CellImbalance(limit_v=limit):
                found.append(high - live.thousandths[low] > round(limit * 1000))
            case MissingData(after_s=after_s):
                found.append(apart_ms > after_s * 1000)
            case ClockSkew(future_s=future_s):
                found.append(skew_ms > future_s * 1000)
    return found
