"""The live picture against a naive recount, under readings, time, moves, corrections, alerts and restarts."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from aggregations.live import LiveFigures
from domain.alert_rules import Severity, TenureScope, TransitionKind, TransitionReason
from domain.alerts import AlertTransition, OpenAlert, Subject
from domain.measures import MEASURE_INDEX, MEASURES
from domain.packs import ALWAYS_MS, FOREVER_MS, Place
from domain.readings import ABSENT, Holders, LastArrivals, LatestValues, LiveReadings, NewReadings
from domain.tenancy import TenantId
from kernels.sketch_columns import NEVER_MS
from streams.live_picture import LivePicture
from streams.state import State
from tests.streams import naive_live

SILENT_AFTER_S, SKEW_S_MAX = 90, 60
BEGAN_S = 1_800_000_000
PACKS = 12
SITES = {"A": UUID(int=1), "B": UUID(int=2), None: None}
MODELS = {"M": UUID(int=3), None: None}
RANGES = {
    "state_of_charge_pct": (0, 100_000),
    "state_of_health_pct": (0, 120_000),
    "temperature_c": (-60_000, 150_000),
    "cell_voltage_min_v": (0, 6_000),
    "cell_voltage_max_v": (0, 6_000),
}

numbers = st.integers(0, PACKS - 1)
places = st.tuples(st.sampled_from((1, 2)), st.sampled_from(tuple(SITES)), st.sampled_from(tuple(MODELS)))
values = st.fixed_dictionaries(
    {},
    optional={
        name: st.one_of(st.sampled_from((low, high, (low + high) // 2)), st.integers(low, high))
        for name, (low, high) in RANGES.items()
    },
)
readings = st.lists(
    st.tuples(numbers, st.integers(-400_000, 200_000), values.filter(bool)), min_size=1, max_size=8
)


def place_of(place: naive_live.Place) -> Place:
    return Place(TenantId(place[0]), SITES[place[1]], MODELS[place[2]])


class LivePictureMachine(RuleBasedStateMachine):
    """Every step is told to the picture and to the naive fleet."""

    def __init__(self) -> None:
        super().__init__()
        self.state = State()
        self.picture = LivePicture(SILENT_AFTER_S, SKEW_S_MAX, BEGAN_S * 1000)
        self.fleet = naive_live.Fleet(SILENT_AFTER_S, SKEW_S_MAX, BEGAN_S, BEGAN_S)
        self.saved = LastArrivals.none()
        self.later: list[tuple[int, int, int, int, dict[str, int]]] = []
        self.tenures: dict[int, tuple[naive_live.Place, int]] = {}
        self.alerts_made = 0

    @initialize(held=st.lists(places, min_size=1, max_size=PACKS))
    def register(self, held: list[naive_live.Place]) -> None:
        for number, place in enumerate(held):
            self._hold(number, place, ALWAYS_MS)

    def _hold(self, number: int, place: naive_live.Place | None, since_ms: int) -> None:
        changed = np.array([number], np.int32)
        if place is None:
            self.picture.hold(self.state, changed, Holders.none())
        else:
            at = np.zeros(1, np.int32)
            held = Holders(changed, at, np.array([since_ms], np.int64), (place_of(place),))
            self.picture.hold(self.state, changed, held)
        pack = self.fleet.pack(number)
        pack.place, pack.since_ms = place, since_ms

    @rule(number=numbers, place=st.none() | places)
    def move(self, number: int, place: naive_live.Place | None) -> None:
        pack = self.fleet.pack(number)
        changes_hands = place is None or pack.place is None or place[0] != pack.place[0]
        if changes_hands:
            self.save()
        since_ms = self.fleet.now_s * 1000 if changes_hands and pack.place is not None else pack.since_ms
        self._hold(number, place, since_ms)

    @rule(sent=readings, live=st.booleans(), stranger=st.booleans())
    def send(self, sent: list[tuple[int, int, dict[str, int]]], live: bool, stranger: bool) -> None:
        """Readings of packs by their holders, or by a stranger who held them before."""
        arrived_ms = self.fleet.now_s * 1000 + 250
        rows: dict[tuple[int, int], dict[str, int]] = {}
        for number, offset_ms, found in sent:
            if self.fleet.pack(number).place is not None:
                rows.setdefault((number, arrived_ms + offset_ms), found)
        self._store(rows)
        for (number, ts_ms), found in rows.items():
            place = self.fleet.pack(number).place
            assert place is not None
            tenant = 3 - place[0] if stranger else place[0]
            if live:
                self.later.append((number, tenant, ts_ms, arrived_ms, found))
            if live and not stranger:
                self.fleet.pack(number).arrivals.append((tenant, arrived_ms - ts_ms, ts_ms, arrived_ms))
                self.fleet.rate.append((place, arrived_ms // 1000))
        mine = self.later[-len(rows) :] if live and rows else []
        self.picture.arrive(self.state, self.state.take_changed(), live_of(mine))

    def _store(self, rows: dict[tuple[int, int], dict[str, int]]) -> None:
        """Only what is new of them, as the engine would."""
        kept = []
        for (number, ts_ms), found in sorted(rows.items()):
            pack = self.fleet.pack(number)
            pack.largest_ms = max(ts_ms, pack.largest_ms if pack.largest_ms is not None else ts_ms)
            for name, value in found.items():
                pack.values[name].setdefault(ts_ms, value)
            kept.append((number, ts_ms, {name: pack.values[name][ts_ms] for name in found}))
        self.state.apply(new_readings(kept))

    @rule(number=numbers, name=st.sampled_from(tuple(RANGES)), again=st.booleans())
    def correct(self, number: int, name: str, again: bool) -> None:
        """Delete a pack's newest value of a measure, or put another in its place."""
        pack = self.fleet.pack(number)
        if not pack.values[name]:
            return
        newest_ms = max(pack.values[name])
        if again:
            pack.values[name][newest_ms] = RANGES[name][1] // 3
        else:
            del pack.values[name][newest_ms]
        ts_ms = np.zeros((len(MEASURES), 1), np.int64)
        thousandths = np.full((len(MEASURES), 1), ABSENT, np.int32)
        for measure, stored in pack.values.items():
            if stored:
                ts_ms[MEASURE_INDEX[measure]] = max(stored)
                thousandths[MEASURE_INDEX[measure]] = stored[max(stored)]
        self.state.replace_latest(LatestValues(np.array([number], np.int32), ts_ms, thousandths))
        self.picture.arrive(self.state, self.state.take_changed(), LiveReadings.none())

    @rule(seconds=st.sampled_from((0, 1, 1, 2, 7, 30, 59, 60, 61, 89, 90, 91, 130, 700, 5000, 40_000)))
    def pass_time(self, seconds: int) -> None:
        if seconds > 3600:
            self.fleet.began_s = self.fleet.now_s + seconds
        self.fleet.now_s += seconds
        self.picture.pass_time(self.state, self.fleet.now_s * 1000 + 10)

    @rule(seconds=st.integers(1, 200))
    def set_clock_back(self, seconds: int) -> None:
        self.fleet.now_s -= seconds
        self.fleet.began_s, self.fleet.rate = self.fleet.now_s, []
        end_ms = self.fleet.now_s * 1000 + 999
        for pack in self.fleet.packs.values():
            pack.arrivals = [(*one[:3], min(one[3], end_ms)) for one in pack.arrivals]
        self.picture.pass_time(self.state, self.fleet.now_s * 1000)
        self.save()

    @rule(number=st.none() | numbers, severity=st.sampled_from(tuple(Severity)), muted=st.booleans())
    def raise_alert(self, number: int | None, severity: Severity, muted: bool) -> None:
        place = (1, None, None) if number is None else self.fleet.pack(number).place
        if place is None:
            return
        self.alerts_made += 1
        tenure = None
        if number is not None:
            tenure = 100 + self.alerts_made % 7
            place, _ = self.tenures.setdefault(tenure, (place, number))
        key = (place, number, severity, muted, tenure, self.alerts_made)
        self.picture.happened(
            [transition(TransitionKind.PENDING, key), transition(TransitionKind.RAISED, key)]
        )
        self._learn(self.picture.alerts.unknown_tenures())
        self.fleet.alerts[key] = (place, number, "muted" if muted else str(severity))

    @precondition(lambda self: self.fleet.alerts)
    @rule(data=st.data(), kind=st.sampled_from((TransitionKind.CLEARED, TransitionKind.WITHDRAWN)))
    def end_alert(self, data: Any, kind: TransitionKind) -> None:
        key = data.draw(st.sampled_from(sorted(self.fleet.alerts, key=repr)))
        del self.fleet.alerts[key]
        self.picture.happened([transition(kind, key)])

    def _learn(self, tenures: Iterable[int]) -> None:
        scopes = []
        for number in tenures:
            place, pack = self.tenures[number]
            tenant, site, model = place_of(place)
            scopes.append(TenureScope(number, tenant, pack, site, model, FOREVER_MS))
        self.picture.learn(scopes)

    @rule()
    def save(self) -> None:
        found = self.picture.arrivals_of(np.arange(PACKS, dtype=np.int32))
        known = found.arrived_ms != NEVER_MS
        self.saved = LastArrivals(
            found.pack[known], found.tenant[known], found.arrived_ms[known], found.newest_ts_ms[known],
            found.skew_ms[known],
        )  # fmt: skip
        self.later = []

    @rule()
    def restart(self) -> None:
        self.picture = LivePicture(SILENT_AFTER_S, SKEW_S_MAX, self.fleet.now_s * 1000)
        held = {number: pack for number, pack in self.fleet.packs.items() if pack.place is not None}
        holders = Holders(
            np.array(list(held), np.int32),
            np.arange(len(held), dtype=np.int32),
            np.array([pack.since_ms for pack in held.values()], np.int64),
            tuple(place_of(pack.place) for pack in held.values() if pack.place is not None),
        )
        alerts = [open_alert(key) for key in self.fleet.alerts]
        self.picture.load(self.state, holders, self.saved, live_of(self.later), alerts)
        self._learn(self.picture.alerts.unknown_tenures())
        self.fleet.began_s, self.fleet.rate = self.fleet.now_s, []

    @invariant()
    def figures_equal_a_recount(self) -> None:
        assert self.picture.as_of_s == self.fleet.now_s
        for tenant in (1, 2):
            cells = self.picture.cells_of(TenantId(tenant))
            numbers = np.array([cell for cell, _ in cells], np.int32)
            sites = sorted({str(place.site_id) for _, place in cells})
            group = np.array([sites.index(str(place.site_id)) for _, place in cells], np.int32)
            every = {place for place in self._places() if place[0] == tenant}
            (fleet,) = self.picture.figures(numbers, np.zeros(len(numbers), np.int32), 1)
            assert_same(fleet, self.fleet.figures(every))
            for site, found in zip(sites, self.picture.figures(numbers, group, len(sites)), strict=True):
                chosen = {place for place in every if str(SITES[place[1]]) == site}
                assert_same(found, self.fleet.figures(chosen))
            by_state = self.picture.figures_by_state(numbers)
            for state, found in zip(("never_seen", "silent", "reporting"), by_state, strict=True):
                assert_same(found, self.fleet.figures(every, state))

    def _places(self) -> list[naive_live.Place]:
        return [(tenant, site, model) for tenant in (1, 2) for site in SITES for model in MODELS]


def new_readings(rows: list[tuple[int, int, dict[str, int]]]) -> NewReadings:
    thousandths = np.full((len(MEASURES), len(rows)), ABSENT, np.int32)
    for position, (_, _, found_values) in enumerate(rows):
        for name, value in found_values.items():
            thousandths[MEASURE_INDEX[name], position] = value
    zeros = np.zeros(len(rows), np.int32)
    return NewReadings(
        zeros,
        np.array([number for number, _, _ in rows], np.int32),
        np.array([ts_ms for _, ts_ms, _ in rows], np.int64),
        zeros,
        zeros,
        thousandths,
    )


def live_of(rows: list[tuple[int, int, int, int, dict[str, int]]]) -> LiveReadings:
    stored = new_readings([(number, ts_ms, found) for number, _, ts_ms, _, found in rows])
    zeros = np.zeros(len(rows), np.int32)
    tenants = np.array([tenant for _, tenant, _, _, _ in rows], np.int32)
    arrived_ms = np.array([arrived_ms for _, _, _, arrived_ms, _ in rows], np.int64)
    return LiveReadings(tenants, zeros, stored.pack, stored.ts_ms, arrived_ms, zeros, stored.thousandths)


def open_alert(key: Any) -> OpenAlert:
    place, number, severity, muted, tenure, onset_ms = key
    return OpenAlert(TenantId(place[0]), 1, 1, Subject(number), onset_ms, severity, muted, tenure)


def transition(kind: TransitionKind, key: Any) -> AlertTransition:
    place, number, severity, muted, tenure, onset_ms = key
    return AlertTransition(
        TenantId(place[0]), 1, 1, Subject(number), kind, TransitionReason.MEASURED, 0, onset_ms, None, severity,
        flapping=False, tenure=tenure, batch=None, silence_id=UUID(int=9) if muted else None,
    )  # fmt: skip


def assert_same(found: LiveFigures, expected: dict[str, Any]) -> None:
    packs = {"reporting": found.reporting, "silent": found.silent, "never_seen": found.never_seen}
    assert packs == expected["packs"]
    assert found.readings_per_s == expected["readings_per_s"]
    for name in ("charge", "health"):
        spread = getattr(found, name)
        assert {
            "packs": spread.packs,
            "mean": spread.mean,
            "quantiles": list(spread.quantiles),
            "buckets": list(spread.buckets),
        } == expected[name]
    for name in ("hottest", "coldest", "highest_cell", "lowest_cell"):
        extreme, wanted = getattr(found, name), expected[name]
        assert (extreme is None) == (wanted is None)
        if extreme is not None:
            assert extreme.value == wanted[0]
            assert extreme.pack in wanted[1]
    ages_s, skews_ms = expected["ages_s"], expected["skews_ms"]
    assert bool(found.age_s) == bool(found.skew_s) == bool(ages_s)
    for percent, age_s, skew_s in zip((50, 95, 100), found.age_s, found.skew_s, strict=False):
        exact_s, exact_ms = (naive_live.nearest_rank(some, percent) for some in (ages_s, skews_ms))
        assert abs(age_s - exact_s) <= exact_s // 62
        assert abs(skew_s * 1000 - exact_ms) <= abs(exact_ms) / 16
    assert found.skewed == sum(abs(skew_ms) > SKEW_S_MAX * 1000 for skew_ms in skews_ms)
    assert (
        dict(zip(("info", "warning", "critical", "muted"), found.alerts, strict=True)) == expected["alerts"]
    )


LivePictureMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestLivePicture = LivePictureMachine.TestCase


@pytest.mark.parametrize("steps", [(90,), (91,), (89, 1), (88, 1, 1), (1,) * 92, (45, 44, 1, 1)])
def test_pack_falls_silent_in_the_second_of_the_limit_however_time_goes_by(steps: tuple[int, ...]) -> None:
    machine, elapsed_s = LivePictureMachine(), 0
    machine.register(held=[(1, "A", "M")])
    machine.send(sent=[(0, 0, {"temperature_c": 20_000})], live=True, stranger=False)
    cells = np.array([cell for cell, _ in machine.picture.cells_of(TenantId(1))], np.int32)
    for seconds in steps:
        machine.pass_time(seconds=seconds)
        elapsed_s += seconds
        _, silent, reporting = machine.picture.figures_by_state(cells)
        assert (silent.silent, reporting.reporting) == (
            int(elapsed_s >= SILENT_AFTER_S),
            int(elapsed_s < SILENT_AFTER_S),
        )


def test_large_places_and_long_ages_equal_a_recount() -> None:
    """More packs than are moved at once, and ages over many levels; a whole fleet falls silent and comes back."""
    packs, silent_after_s = 9_000, 6 * 3600
    random = np.random.default_rng(5)
    picture, state = LivePicture(silent_after_s, SKEW_S_MAX, BEGAN_S * 1000), State()
    fleet = naive_live.Fleet(silent_after_s, SKEW_S_MAX, BEGAN_S, BEGAN_S)
    held: list[naive_live.Place] = [(1, "A", "M"), (1, "A", None), (1, "B", "M")]
    chosen = np.minimum(random.integers(0, 12, packs), 2).astype(np.int32)
    every = np.arange(packs, dtype=np.int32)
    since_ms = np.full(packs, ALWAYS_MS, np.int64)
    picture.hold(state, every, Holders(every, chosen, since_ms, tuple(map(place_of, held))))
    for number, place in zip(every.tolist(), chosen.tolist(), strict=True):
        fleet.pack(number).place = held[place]
    for step in range(40):
        fleet.now_s += int(random.integers(0, 3600))
        picture.pass_time(state, fleet.now_s * 1000)
        sending = every if step in (3, 30) else np.sort(random.choice(every[:2000], 300, replace=False))
        arrived_ms = fleet.now_s * 1000
        rows = []
        for number in sending.tolist():
            ts_ms = arrived_ms - int(random.exponential(5_000)) * (1000 if random.random() < 0.01 else 1)
            found = {name: int(random.integers(low, high)) for name, (low, high) in RANGES.items()}
            pack = fleet.pack(number)
            if pack.largest_ms is None or ts_ms > pack.largest_ms:
                pack.largest_ms = ts_ms
            for name, value in found.items():
                pack.values[name].setdefault(ts_ms, value)
            pack.arrivals.append((1, arrived_ms - ts_ms, ts_ms, arrived_ms))
            rows.append((number, 1, ts_ms, arrived_ms, found))
            fleet.rate.append((held[chosen[number]], arrived_ms // 1000))
        state.apply(new_readings([(number, ts_ms, found) for number, _, ts_ms, _, found in rows]))
        picture.arrive(state, state.take_changed(), live_of(rows))
        if step % 6 == 3:
            picture.pass_time(state, fleet.now_s * 1000)
            cells = np.array([cell for cell, _ in picture.cells_of(TenantId(1))], np.int32)
            for place, found_there in zip(
                held, picture.figures(cells, np.arange(3, dtype=np.int32), 3), strict=True
            ):
                assert_same(found_there, fleet.figures({place}))
            by_state = picture.figures_by_state(cells)
            for name, found_there in zip(("never_seen", "silent", "reporting"), by_state, strict=True):
                assert_same(found_there, fleet.figures(set(held), name))
