"""A fleet of simulated packs: what they are, and what they report step by step. The same seed gives the same fleet."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from domain.measures import MEASURE_INDEX, MEASURES
from ingest.simulation.catalogue import CellChemistry, Use, chemistries, uses
from ingest.simulation.faults import (
    CAPACITY_LOST,
    HOT_SPOT_K,
    HOT_SPOT_MS,
    IMBALANCE_MAX,
    IMBALANCE_PER_HOUR,
    SKEW_MS,
    Fault,
    FaultKind,
)
from kernels.battery import Given, State, advance, new_state

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

HOUR_MS: Final = 3_600_000
_TRIP_MS: Final = 900_000
_TEMPERATURE: Final = MEASURE_INDEX["temperature_c"]
_NOISE: Final = np.array([0.0, 0.0, 0.15, 0.0, 0.02, 0.0, 0.0])
"""Standard deviation of what sensors add, by measure, in its unit."""

_STEP_OF: Final = np.array([0.1, 0.1, 0.5, 0.1, 0.1, 0.001, 0.001])
"""The steps in which a battery management system reports, by measure, in its unit."""

_COMMON: Final = {Given.FADE_RESISTANCE: 2.0, Given.SPREAD: 0.01}
_WEATHER_K: Final = 4.0


@dataclass(frozen=True, slots=True)
class SimulatedSite:
    """Where packs are: the site's clock, and its temperature over a day."""

    name: str
    region: str
    zone: str
    mean_c: float


SITES: Final = (
    SimulatedSite("Bern", "Mittelland", "Europe/Zurich", 14.0),
    SimulatedSite("Lausanne", "Romandie", "Europe/Zurich", 16.0),
    SimulatedSite("Chennai", "Tamil Nadu", "Asia/Kolkata", 30.0),
    SimulatedSite("Auckland", "North Island", "Pacific/Auckland", 15.0),
)


@dataclass(frozen=True, slots=True)
class Kind:
    """Packs of one chemistry and one use are of one model."""

    chemistry: str
    use: str

    @property
    def model(self) -> str:
        """Such as bus-LFP."""
        return f"{self.use}-{self.chemistry}"


KINDS: Final = (Kind("LFP", "bus"), Kind("NMC", "scooter"), Kind("LTO", "storage"))


@dataclass(frozen=True, slots=True)
class SimulatedPack:
    """One pack: its external id, what it is, and where."""

    name: str
    kind: Kind
    site: SimulatedSite


@dataclass(frozen=True, slots=True, eq=False)
class FleetReadings:
    """What some packs report, n readings: pack int64[n], ts_ms int64[n], values float64[measures, n] as in MEASURES."""

    pack: Int64Array
    ts_ms: Int64Array
    values: Float64Array

    def __len__(self) -> int:
        return len(self.pack)


def packs_of(count: int, kinds: Sequence[Kind] = KINDS) -> list[SimulatedPack]:
    """So many packs, the kinds and sites in turn."""
    return [
        SimulatedPack(f"{kind.use}-{number:04d}", kind, SITES[(number // len(kinds)) % len(SITES)])
        for number in range(count)
        for kind in [kinds[number % len(kinds)]]
    ]


class Fleet:
    """Packs that go on from where they are with each step. Ages differ: some are new, some have served for years."""

    def __init__(self, packs: Sequence[SimulatedPack], seed: int, faults: Sequence[Fault] = ()) -> None:
        self.packs = tuple(packs)
        self._seed = seed
        self._faults = tuple(faults)
        self._uses = uses()
        known, count = chemistries(), len(packs)
        names = sorted(known)
        self._curve_of = np.array([names.index(pack.kind.chemistry) for pack in packs], np.int64)
        self._curves_v = np.array([known[name].open_circuit_v for name in names], np.float64)
        self._given = np.zeros((len(Given), count))
        for number, pack in enumerate(packs):
            self._give(number, known[pack.kind.chemistry], self._uses[pack.kind.use])
        # Drawn pack by pack, so that the first packs are the same in a fleet of any size.
        shares, wear = (
            self._chance(0, 2).standard_normal((count, 2)).T,
            self._chance(0, 3).random((count, 3)).T,
        )
        self._given[Given.CAPACITY_SHARE] = 1.0 + 0.008 * shares[0]
        self._given[Given.RESISTANCE_OHM] *= 1.0 + 0.05 * shares[1]
        self._given[Given.SPREAD] *= 0.5 + wear[0]
        self._spread = self._given[Given.SPREAD].copy()
        self.state = new_state(
            0.4 + 0.5 * wear[1], np.array([pack.site.mean_c for pack in packs], np.float64)
        )
        self._age(6.0 * wear[2])
        self._charging = np.zeros(count, np.bool_)
        self._stuck_c = np.full(count, np.nan)
        self._measured = np.empty((len(MEASURES), count))

    def _chance(self, moment: int, of: int) -> np.random.Generator:
        """What is drawn at a moment for one purpose, the same for a seed."""
        return np.random.Generator(np.random.Philox(key=self._seed, counter=[moment, of, 0, 0]))

    def add_fault(self, fault: Fault) -> None:
        """Let something more go wrong."""
        self._faults = (*self._faults, fault)

    def _give(self, number: int, chemistry: CellChemistry, use: Use) -> None:
        model = use.model
        given = {
            Given.RATED_AH: model.rated_ah,
            Given.CELLS: model.cells,
            Given.RESISTANCE_OHM: chemistry.resistance_c_ohm / model.rated_ah,
            Given.POLARIZATION_OHM: chemistry.polarization_c_ohm / model.rated_ah,
            Given.POLARIZATION_S: chemistry.polarization_s,
            Given.RESISTANCE_KELVIN: chemistry.resistance_kelvin,
            Given.CELL_MIN_V: chemistry.cell_min_v,
            Given.CELL_MAX_V: chemistry.cell_max_v,
            Given.HEAT_CAPACITY_J_PER_K: model.heat_capacity_j_per_k,
            Given.THERMAL_K_PER_W: model.thermal_k_per_w,
            Given.FADE_PER_CYCLE: chemistry.fade_per_cycle,
            Given.FADE_PER_SQUARE_ROOT_YEAR: chemistry.fade_per_square_root_year,
            Given.AGEING_KELVIN: chemistry.ageing_kelvin,
        } | _COMMON
        for row, value in given.items():
            self._given[row, number] = value

    def _age(self, years: Float64Array) -> None:
        """As after years of one cycle a day at 25 °C."""
        self.state[State.CYCLE_FADE] = self._given[Given.FADE_PER_CYCLE] * 365.25 * 0.7 * years
        self.state[State.CALENDAR_FADE_SQUARED] = self._given[Given.FADE_PER_SQUARE_ROOT_YEAR] ** 2 * years

    def run(self, starts_ms: int, step_ms: int, steps: int) -> Iterator[FleetReadings]:
        """What the packs report at the end of each step after `starts_ms`."""
        for step in range(steps):
            yield self.step(starts_ms + (step + 1) * step_ms, step_ms)

    def readings_in(self, starts_ms: int, step_ms: int, steps: int) -> int:
        """How many readings `run` gives: those of packs without contact aren't heard."""
        silent = 0
        for fault in self._faults:
            if fault.kind is FaultKind.LOST_CONTACT:
                heard = -((starts_ms - fault.starts_ms) // step_ms) - 1
                silent += steps - min(max(heard, 0), steps)
        return len(self.packs) * steps - silent

    def step(self, now_ms: int, step_ms: int) -> FleetReadings:
        """What the packs report now, after a step of this length."""
        drawn = self._chance(now_ms, 0).random((len(self.packs), 2)).T
        hour = self._hours(now_ms)
        ambient_c = self._ambient_c(hour, now_ms)
        self._apply_faults(now_ms)
        advance(
            step_ms / 1000,
            self._wanted_a(now_ms, hour, drawn),
            ambient_c,
            self._curve_of,
            self._curves_v,
            self._given,
            self.state,
            self._measured,
        )
        noise = self._chance(now_ms, 4).standard_normal(self._measured.shape[::-1]).T * _NOISE[:, np.newaxis]
        steps = _STEP_OF[:, np.newaxis]
        values = np.round((self._measured + noise) / steps) * steps
        least = np.array([measure.minimum for measure in MEASURES])[:, np.newaxis]
        most = np.array([measure.maximum for measure in MEASURES])[:, np.newaxis]
        return self._reported(now_ms, np.round(np.clip(values, least, most), 3))

    def _hours(self, now_ms: int) -> Float64Array:
        """Hours since Monday by each pack's clock: float64[n]."""
        moment = datetime.fromtimestamp(now_ms / 1000, UTC)
        of_zone = {}
        for zone in {pack.site.zone for pack in self.packs}:
            local = moment.astimezone(ZoneInfo(zone))
            midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
            of_zone[zone] = local.weekday() * 24 + (local.replace(tzinfo=None) - midnight) / timedelta(
                hours=1
            )
        return np.array([of_zone[pack.site.zone] for pack in self.packs], np.float64)

    def _ambient_c(self, hour: Float64Array, now_ms: int) -> Float64Array:
        """Warmest at three in the afternoon, and a little different from one week to the next."""
        mean_c = np.array([pack.site.mean_c for pack in self.packs], np.float64)
        day: Float64Array = 5.0 * np.sin(2 * np.pi * (hour % 24 - 9) / 24)
        return mean_c + day + _WEATHER_K * math.sin(2 * math.pi * now_ms / (17 * 24 * HOUR_MS))

    def _wanted_a(self, now_ms: int, hour: Float64Array, drawn: Float64Array) -> Float64Array:
        """The current that their use asks of the packs, charging positive: float64[n]."""
        on_the_way = self._chance(now_ms // _TRIP_MS, 1).random((len(self.packs), 2)).T
        wanted_c = np.zeros(len(self.packs))
        charge = self.state[State.CHARGE]
        names = np.array([pack.kind.use for pack in self.packs])
        for name, use in self._uses.items():
            of_use = names == name
            weekend = (hour >= 5 * 24) & (on_the_way[1] > use.weekend_share)
            works = _within(hour % 24, use.works_h) & (on_the_way[0] < use.working_share) & ~weekend
            low = np.where(self._charging, charge < use.enough, charge < use.low)
            self._charging[of_use] = low[of_use]
            rate_c = np.where(works, -use.work_rate_c * 2 * drawn[0], 0.0)
            rate_c = np.where(works & (drawn[1] < use.brake_share), use.brake_rate_c, rate_c)
            charges = (_within(hour % 24, use.charges_h) & (charge < 1.0)) | low
            wanted_c[of_use] = np.where(charges, use.charge_rate_c, rate_c)[of_use]
        wanted_a: Float64Array = wanted_c * self._given[Given.RATED_AH]
        return wanted_a

    def _apply_faults(self, now_ms: int) -> None:
        for fault in self._faults:
            if now_ms < fault.starts_ms:
                continue
            if fault.kind is FaultKind.IMBALANCE:
                drift = (now_ms - fault.starts_ms) / HOUR_MS * IMBALANCE_PER_HOUR
                self._given[Given.SPREAD, fault.pack] = self._spread[fault.pack] + min(drift, IMBALANCE_MAX)
            elif fault.kind is FaultKind.CAPACITY_LOSS:
                self._given[Given.CAPACITY_SHARE, fault.pack] = min(
                    self._given[Given.CAPACITY_SHARE, fault.pack], 1.0 - CAPACITY_LOST
                )

    def _reported(self, now_ms: int, values: Float64Array) -> FleetReadings:
        """What of it is seen from outside."""
        ts_ms = np.full(len(self.packs), now_ms, np.int64)
        heard = np.ones(len(self.packs), np.bool_)
        for fault in self._faults:
            if now_ms < fault.starts_ms:
                continue
            if fault.kind is FaultKind.OVERHEATING:
                grown = 1.0 - math.exp(-(now_ms - fault.starts_ms) / HOT_SPOT_MS)
                values[_TEMPERATURE, fault.pack] += round(HOT_SPOT_K * grown, 1)
            elif fault.kind is FaultKind.STUCK_SENSOR:
                if np.isnan(self._stuck_c[fault.pack]):
                    self._stuck_c[fault.pack] = values[_TEMPERATURE, fault.pack]
                values[_TEMPERATURE, fault.pack] = self._stuck_c[fault.pack]
            elif fault.kind is FaultKind.CLOCK_SKEW:
                ts_ms[fault.pack] += SKEW_MS
            elif fault.kind is FaultKind.LOST_CONTACT:
                heard[fault.pack] = False
        pack = np.flatnonzero(heard)
        return FleetReadings(pack, ts_ms[pack], values[:, pack])


def _within(hour: Float64Array, span: tuple[float, float]) -> npt.NDArray[np.bool_]:
    """Whether an hour of the day lies in a span, which may go over midnight."""
    starts, ends = span
    if starts <= ends:
        return (hour >= starts) & (hour < ends)
    return (hour >= starts) | (hour < ends)


def seeded_faults(packs: int, share: float, seed: int, from_ms: int, until_ms: int) -> list[Fault]:
    """Faults of all kinds in turn, in a share of the packs, that begin at some time in a span."""
    chance = np.random.Generator(np.random.Philox(key=seed, counter=[0, 2, 0, 0]))
    count = round(packs * share)
    chosen = chance.permutation(packs)[:count].tolist()
    kinds = list(FaultKind)
    starts = chance.integers(from_ms, max(until_ms, from_ms + 1), count).tolist()
    return [
        Fault(pack, kinds[number % len(kinds)], start)
        for number, (pack, start) in enumerate(zip(chosen, starts, strict=True))
    ]
