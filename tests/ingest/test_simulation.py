"""Simulated fleets: the same again from the same seed, within what is plausible, and with faults that can be seen."""

from pathlib import Path

import numpy as np
import pytest

from domain.errors import InvalidRequestError
from domain.measures import MEASURE_INDEX
from ingest.can.databases import load_database
from ingest.can.mapping import load_can_map
from ingest.can.replay import LogReplay
from ingest.recorded import joined
from ingest.simulation.catalogue import chemistries, uses
from ingest.simulation.faults import CAPACITY_LOST, SKEW_MS, Fault, FaultKind
from ingest.simulation.files import LOGS, to_table, write_can_log, write_table
from ingest.simulation.fleet import KINDS, Fleet, FleetReadings, packs_of, seeded_faults

START_MS = 1_767_225_600_000
STEP_MS = 60_000
DAYS = 10
STEPS = DAYS * 1440
PACKS = 24
HOUR_MS = 3_600_000
CHARGE, HEALTH, TEMPERATURE, VOLTAGE, CURRENT, CELL_LOW, CELL_HIGH = (
    MEASURE_INDEX[name]
    for name in (
        "state_of_charge_pct", "state_of_health_pct", "temperature_c", "voltage_v", "current_a",
        "cell_voltage_min_v", "cell_voltage_max_v",
    )
)  # fmt: skip


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    """Of a fleet without faults: float64[steps, measures, packs]."""
    return np.stack([part.values for part in Fleet(packs_of(PACKS), 5).run(START_MS, STEP_MS, STEPS)])


def of_kind(values: np.ndarray, number: int) -> np.ndarray:
    return values[:, :, number :: len(KINDS)]


each_kind = pytest.mark.parametrize("number", range(len(KINDS)), ids=[kind.model for kind in KINDS])


@each_kind
def test_charge_that_flows_is_the_change_of_the_charge(values: np.ndarray, number: int) -> None:
    fleet = of_kind(values, number)
    capacity_ah = uses()[KINDS[number].use].model.rated_ah * fleet[0, HEALTH] / 100
    flowed_ah = fleet[1:, CURRENT].sum(axis=0) / 60
    change_ah = (fleet[-1, CHARGE] - fleet[0, CHARGE]) / 100 * capacity_ah
    # Sensors round the charge to 0.1 % and the current to 0.1 A.
    np.testing.assert_allclose(flowed_ah, change_ah, atol=0.01 * capacity_ah.max())


@each_kind
def test_a_day_moves_between_a_third_and_four_times_the_capacity(values: np.ndarray, number: int) -> None:
    fleet = of_kind(values, number)
    rated_ah = uses()[KINDS[number].use].model.rated_ah
    daily = np.abs(fleet[:, CURRENT]).sum(axis=0) / 60 / DAYS / rated_ah
    assert daily.min() > 1 / 3
    assert daily.max() < 4


@each_kind
def test_less_energy_comes_out_than_goes_in(values: np.ndarray, number: int) -> None:
    fleet = of_kind(values, number)
    power_w = fleet[:, VOLTAGE] * fleet[:, CURRENT]
    stored_wh = (fleet[-1, CHARGE] - fleet[0, CHARGE]) / 100 * fleet[0, HEALTH] / 100
    stored_wh *= uses()[KINDS[number].use].model.rated_ah * fleet[:, VOLTAGE].mean(axis=0)
    out_wh = -power_w.clip(max=0).sum(axis=0) / 60
    in_wh = power_w.clip(min=0).sum(axis=0) / 60
    efficiency = (out_wh + stored_wh) / in_wh
    assert efficiency.min() > 0.85
    assert efficiency.max() < 1.0


@each_kind
def test_cells_stay_within_their_voltages_and_packs_near_the_air(values: np.ndarray, number: int) -> None:
    fleet = of_kind(values, number)
    chemistry = chemistries()[KINDS[number].chemistry]
    # The charge that a minute brings lifts the open-circuit voltage a little more than was foreseen.
    assert fleet[:, CELL_LOW].min() >= chemistry.cell_min_v - 0.01
    assert fleet[:, CELL_HIGH].max() <= chemistry.cell_max_v + 0.01
    assert (fleet[:, CELL_LOW] <= fleet[:, CELL_HIGH]).all()
    # The coldest site's nights lie around 5 °C, the warmest one's days around 39 °C.
    assert fleet[:, TEMPERATURE].min() > 0
    assert fleet[:, TEMPERATURE].max() < 60


@each_kind
def test_capacity_only_fades_and_slowly(values: np.ndarray, number: int) -> None:
    health = of_kind(values, number)[:, HEALTH]
    assert (np.diff(health, axis=0) <= 0).all()
    lost = health[0] - health[-1]
    assert lost.max() < 1.0
    assert health.min() > 70
    assert health.max() < 105


def test_years_of_use_fade_capacity_by_cycles_and_by_time() -> None:
    """A step of an hour for two years: what is lost lies where the chemistries' figures put it."""
    fleet = Fleet(packs_of(PACKS), 5)
    first = fleet.step(START_MS, HOUR_MS).values[HEALTH].copy()
    for number in range(1, 2 * 365 * 24):
        last = fleet.step(START_MS + number * HOUR_MS, HOUR_MS)
    lost = first - last.values[HEALTH]
    for number, low, high in ((0, 2, 12), (1, 6, 40), (2, 0.3, 5)):
        of_model = lost[number :: len(KINDS)]
        assert low < np.median(of_model) < high, KINDS[number].model


def test_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    def written(name: str, seed: int) -> bytes:
        packs = packs_of(7)
        fleet = Fleet(packs, seed, seeded_faults(7, 0.5, seed, START_MS, START_MS + HOUR_MS))
        path = tmp_path / name
        write_table(path, (to_table([part], packs) for part in fleet.run(START_MS, STEP_MS, 90)))
        return path.read_bytes()

    for ending in ("csv", "arrow"):
        assert written(f"a.{ending}", 3) == written(f"b.{ending}", 3) != written(f"c.{ending}", 4)


def test_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match=r"\.csv"):
        write_table(tmp_path / "fleet.parquet", [])
    with pytest.raises(InvalidRequestError, match=r"\.log"):
        write_can_log(tmp_path / "fleet.pcap", [], 0)


@pytest.mark.parametrize("ending", LOGS)
def test_can_log_gives_the_same_series_back(tmp_path: Path, ending: str) -> None:
    readings = list(Fleet(packs_of(3), 9).run(START_MS, 100, 1500))
    count, dbc, map_file = write_can_log(tmp_path / f"drive{ending}", readings, 1)
    replayed = LogReplay(
        [tmp_path / f"drive{ending}"], load_can_map(map_file), [load_database(dbc)], None, None
    )
    found = joined(replayed.batches())
    assert count == len(found) == 1500
    assert found.ts_ms.tolist() == [int(part.ts_ms[1]) for part in readings]
    expected = np.stack([part.values[:, 1] for part in readings], axis=1)
    np.testing.assert_allclose(found.values, expected, atol=1e-9)


def with_fault(kind: FaultKind, steps: int = 180) -> tuple[list[FleetReadings], list[FleetReadings]]:
    """Three hours of a fleet, with and without a fault of the first pack after one."""
    fault = Fault(0, kind, START_MS + HOUR_MS)
    healthy = list(Fleet(packs_of(3), 5).run(START_MS, STEP_MS, steps))
    return list(Fleet(packs_of(3), 5, [fault]).run(START_MS, STEP_MS, steps)), healthy


def series(parts: list[FleetReadings], measure: int, pack: int = 0) -> np.ndarray:
    return np.array([part.values[measure][part.pack == pack][0] for part in parts])


def test_faults_show_where_they_are_and_nowhere_else() -> None:
    for kind in FaultKind:
        ill, healthy = with_fault(kind)
        for pack in (1, 2):
            for measure in range(len(MEASURE_INDEX)):
                assert (series(ill, measure, pack) == series(healthy, measure, pack)).all()
        assert all((one.values == other.values).all() for one, other in zip(ill[:58], healthy[:58], strict=True))  # fmt: skip


def test_overheating_pack_grows_hot_within_a_minute() -> None:
    ill, healthy = with_fault(FaultKind.OVERHEATING)
    warmer_k = series(ill, TEMPERATURE) - series(healthy, TEMPERATURE)
    assert warmer_k[60] > 55
    assert warmer_k[-1] > 75


def test_other_faults_are_what_their_names_say() -> None:
    ill, healthy = with_fault(FaultKind.IMBALANCE)
    assert (series(ill, CELL_HIGH) - series(ill, CELL_LOW))[-1] > 2 * (series(healthy, CELL_HIGH) - series(healthy, CELL_LOW))[-1]  # fmt: skip
    ill, _ = with_fault(FaultKind.STUCK_SENSOR)
    assert len(set(series(ill, TEMPERATURE)[60:])) == 1
    ill, healthy = with_fault(FaultKind.CAPACITY_LOSS)
    assert series(ill, HEALTH)[-1] < series(healthy, HEALTH)[-1] - 100 * CAPACITY_LOST / 2
    ill, _ = with_fault(FaultKind.CLOCK_SKEW)
    assert int(ill[-1].ts_ms[0] - ill[-1].ts_ms[1]) == SKEW_MS
    ill, _ = with_fault(FaultKind.LOST_CONTACT)
    assert ill[-1].pack.tolist() == [1, 2]


@pytest.mark.parametrize("starts", [-1, 0, 1, STEP_MS, STEP_MS + 1, 44 * STEP_MS, 90 * STEP_MS, 91 * STEP_MS])
def test_readings_are_foreseen_to_the_last_one(starts: int) -> None:
    faults = [Fault(1, FaultKind.LOST_CONTACT, START_MS + starts), Fault(2, FaultKind.CLOCK_SKEW, START_MS)]
    fleet = Fleet(packs_of(4), 5, faults)
    assert fleet.readings_in(START_MS, STEP_MS, 90) == sum(map(len, fleet.run(START_MS, STEP_MS, 90)))


def test_seeded_faults_come_in_all_kinds_to_a_share_of_the_packs() -> None:
    faults = seeded_faults(100, 0.12, 1, START_MS, START_MS + HOUR_MS)
    assert len({fault.pack for fault in faults}) == 12
    assert {fault.kind for fault in faults} == set(FaultKind)
    assert all(START_MS <= fault.starts_ms < START_MS + HOUR_MS for fault in faults)
