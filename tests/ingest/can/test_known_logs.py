"""Each known log gives what the survey of it found by hand-written bit arithmetic."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from domain.errors import DecodeError
from domain.measures import MEASURE_INDEX
from ingest.can.databases import load_database
from ingest.can.mapping import load_can_map
from ingest.can.replay import LogReplay
from ingest.recorded import RecordedReadings, joined

START = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
ENV200 = "can_leaf_env200_40kwh_charge"
ZE1 = "can_leaf_ze1_62kwh_quickcharge"
KONA = "can_kona_pcan"
BENCH = "can_kona_bms_bench"
KONA_LOG = "230112-7-2019-pcan-ccan-power-off-on-ready-off.csv"
BENCH_LOG = "Idle_log_no_diagnostic_function_selected-30sec.asc"
ZE1_LOG = "EV_can-bus_from_62_ZE1_QCcharging.txt"
CRTD_LOG = "env200-2015-with-40kWh-normal-charge-coldbattery-nocooling-nobridge.crtd"

LEAF_KEYS = {
    "voltage_v": "voltage_v",
    "current_a": "current_a(+=charging)",
    "state_of_charge_pct": "soc_pct(55B/10)",
    "state_of_health_pct": "soh_pct(5BC byte4>>1)",
}
KONA_KEYS = {
    "voltage_v": "voltage_v",
    "current_a": "current_a",
    "state_of_charge_pct": "soc_display_pct",
    "temperature_c": "temp_high_c",
}


def replay_of(paths: list[Path], map_path: Path, dbc: list[Path], **timing) -> LogReplay:
    return LogReplay(paths, load_can_map(map_path), [load_database(path) for path in dbc], **timing)


def readings_of(replay: LogReplay) -> RecordedReadings:
    return joined(replay.batches())


def summary(readings: RecordedReadings, measure: str) -> dict[str, float]:
    """As the trend of the measure would be: one value for each distinct time."""
    values = readings.values[MEASURE_INDEX[measure]]
    there = ~np.isnan(values)
    values, times = values[there], readings.ts_ms[there]
    assert len(np.unique(times)) == len(times)
    return {
        "n": len(values),
        "first": values[0],
        "last": values[-1],
        "min": values.min(),
        "max": values.max(),
        "mean": values.mean(),
    }


def turned(expected: dict[str, float]) -> dict[str, float]:
    """The same series with the other sign."""
    swapped = {**expected, "min": expected["max"], "max": expected["min"]}
    return {key: value if key == "n" else -value for key, value in swapped.items()}


def assert_as_expected(readings: RecordedReadings, expected: dict[str, dict[str, float]]) -> None:
    for measure, figures in expected.items():
        assert summary(readings, measure) == pytest.approx(figures, abs=6e-7), measure


def expected_env200(shared_data: Path) -> dict[str, dict[str, float]]:
    content = json.loads((shared_data / ENV200 / "expected.json").read_text())
    temperature = content["temperature_c(byte2>>1 - 40; OVMS+Battery-Emulator agree)"]["max"]
    return {**{measure: content[key] for measure, key in LEAF_KEYS.items()}, "temperature_c": temperature}


@pytest.mark.parametrize(
    ("log", "frames"), [("bms_only.blf", 10_776), ("bms_only.log", 10_776), (CRTD_LOG, 37_857)]
)
def test_env200_log_gives_the_expected_series(shared_data, maps, log, frames):
    folder = shared_data / ENV200
    replay = replay_of([folder / log], maps / "leaf-env200-40kwh.yaml", [folder / "EV-can_AZE0.dbc"])
    assert_as_expected(readings_of(replay), expected_env200(shared_data))
    assert replay.counts()["frames"] == frames
    assert replay.dropped() == {"not_available": 73}


def test_blf_and_log_of_the_same_frames_give_identical_readings(shared_data, maps):
    folder = shared_data / ENV200
    blf, log = (
        readings_of(replay_of([folder / name], maps / "leaf-env200-40kwh.yaml", [folder / "EV-can_AZE0.dbc"]))
        for name in ("bms_only.blf", "bms_only.log")
    )
    np.testing.assert_array_equal(blf.ts_ms, log.ts_ms)
    np.testing.assert_array_equal(blf.values, log.values)


def test_files_replayed_together_give_what_they_give_one_by_one(shared_data, maps):
    folder = shared_data / ENV200
    names = [folder / "bms_only.blf", folder / "bms_only.log"]
    readings = readings_of(replay_of(names, maps / "leaf-env200-40kwh.yaml", [folder / "EV-can_AZE0.dbc"]))
    half = len(readings) // 2
    np.testing.assert_array_equal(readings.ts_ms[:half], readings.ts_ms[half:])
    np.testing.assert_array_equal(readings.values[:, :half], readings.values[:, half:])


def test_shared_milliseconds_are_the_only_times_that_are_moved(shared_data, maps):
    folder = shared_data / ENV200
    readings = readings_of(
        replay_of([folder / "bms_only.log"], maps / "leaf-env200-40kwh.yaml", [folder / "EV-can_AZE0.dbc"])
    )
    voltage = ~np.isnan(readings.values[MEASURE_INDEX["voltage_v"]])
    expected = json.loads((folder / "expected.json").read_text())
    assert readings.ts_ms[voltage][0] == int(expected["first_t"] * 1000)
    assert readings.ts_ms[voltage][-1] == int(expected["last_t"] * 1000)


@pytest.mark.parametrize("dbc", [[ENV200], [ENV200, ZE1]])
def test_ze1_console_log_gives_the_expected_series_at_any_rate(shared_data, maps, dbc):
    paths = [next((shared_data / folder).glob("*.dbc")) for folder in dbc]
    replay = replay_of(
        [shared_data / ZE1 / ZE1_LOG], maps / "leaf-ze1-62kwh.yaml", paths, start=START, rate_hz=2_000
    )
    content = json.loads((shared_data / ZE1 / "expected.json").read_text())
    assert_as_expected(readings_of(replay), {measure: content[key] for measure, key in LEAF_KEYS.items()})
    assert replay.counts()["frames"] == content["frames_in_log"]
    assert replay.dropped() == {"not_a_frame": 48}


@pytest.mark.parametrize("timing", [{}, {"start": START}])
def test_log_without_times_needs_a_rate(shared_data, maps, timing):
    dbc = [shared_data / ENV200 / "EV-can_AZE0.dbc"]
    replay = replay_of([shared_data / ZE1 / ZE1_LOG], maps / "leaf-ze1-62kwh.yaml", dbc, **timing)
    with pytest.raises(DecodeError, match="--rate") as raised:
        readings_of(replay)
    assert raised.value.field == "rate"


def test_kona_log_gives_the_expected_series_with_charging_positive(shared_data, maps):
    replay = replay_of(
        [shared_data / KONA / KONA_LOG],
        maps / "kona-64kwh.yaml",
        [shared_data / KONA / "pcan_fixed.dbc"],
        start=START,
    )
    content = json.loads((shared_data / KONA / "expected.json").read_text())[KONA_LOG]
    expected = {measure: content[key] for measure, key in KONA_KEYS.items()}
    readings = readings_of(replay)
    assert_as_expected(readings, {**expected, "current_a": turned(expected["current_a"])})
    assert 0 <= readings.ts_ms[0] - START.timestamp() * 1000 < 11_000
    assert replay.dropped() == {"other_channel": 216}


def test_kona_log_needs_a_start(shared_data, maps):
    dbc = [shared_data / KONA / "pcan_fixed.dbc"]
    with pytest.raises(DecodeError, match="--start"):
        readings_of(replay_of([shared_data / KONA / KONA_LOG], maps / "kona-64kwh.yaml", dbc))


@pytest.mark.parametrize("timing", [{}, {"start": START}])
def test_kona_bench_log_gives_the_expected_series(shared_data, maps, timing):
    replay = replay_of(
        [shared_data / BENCH / BENCH_LOG],
        maps / "kona-64kwh-bench.yaml",
        [shared_data / KONA / "pcan_fixed.dbc"],
        **timing,
    )
    content = json.loads((shared_data / BENCH / "expected_share.json").read_text())[BENCH_LOG]
    expected = {measure: content[key] for measure, key in KONA_KEYS.items()}
    readings = readings_of(replay)
    assert_as_expected(readings, {**expected, "current_a": turned(expected["current_a"])})
    assert replay.counts()["frames"] == content["frames"]
    began = timing.get("start", datetime(2023, 11, 9, 20, 36, 33, tzinfo=UTC))
    assert 0 <= readings.ts_ms[0] - began.timestamp() * 1000 < 1_000


def test_dbc_file_that_cantools_refuses_is_a_decode_error(shared_data):
    with pytest.raises(DecodeError, match=r"pcan\.dbc"):
        load_database(shared_data / KONA / "pcan.dbc")


@pytest.mark.parametrize(
    ("line", "damaged"),
    [
        (b" SG_ LB_Total_Voltage : 23|10@0+ (0.5,0)", b" SG_ LB_Total_Voltage : 23|10@0+ (0.6,0)"),
        (b" SG_ LB_Total_Voltage : 23|10@0+ (0.5,0)", b" SG_ LB_Total_Voltage : 22|10@0+ (0.5,0)"),
        (b" SG_ LB_Total_Voltage : 23|10@0+ (0.5,0)", b" SG_ LB_Total_Voltage : 23|11@0+ (0.5,0)"),
        (b" SG_ LB_Total_Voltage : 23|10@0+ (0.5,0)", b" SG_ LB_Total_Voltage : 23|10@1+ (0.5,0)"),
        (b" SG_ LB_Total_Voltage : 23|10@0+ (0.5,0)", b" SG_ LB_Total_Voltagd : 23|10@0+ (0.5,0)"),
        (b" SG_ LB_Current : 7|11@0- (0.5,0)", b" SG_ LB_Current : 7|11@0+ (0.5,0)"),
        (b" SG_ LB_Current : 7|11@0- (0.5,0)", b" SG_ LB_Current : 7|11@0- (0.5,1)"),
        (b" SG_ LB_SOC : 7|10@0+ (1,0)", b" SG_ LB_SOC : 7|10@0- (1,0)"),
        (b"LB_Capacity_Deterioration_Rate : 33|7@1+", b"LB_Capacity_Deterioration_Rate : 33|6@1+"),
        (b"LB_HistData_Temperature_MAX m1 :", b"LB_HistData_Temperature_MAX m2 :"),
        (b"BO_ 475 x1DB: 8", b"BO_ 476 x1DB: 8"),
        (b"BO_ 475 x1DB: 8", b"BO_ 475 x1DC: 8"),
    ],
)
def test_one_damaged_byte_of_a_dbc_file_never_passes_for_the_real_series(
    shared_data, maps, tmp_path, line, damaged
):
    whole = (shared_data / ENV200 / "EV-can_AZE0.dbc").read_bytes()
    assert line in whole
    assert sum(before != after for before, after in zip(line, damaged, strict=True)) == 1
    dbc = tmp_path / "EV-can_AZE0.dbc"
    dbc.write_bytes(whole.replace(line, damaged, 1))
    log = shared_data / ENV200 / "bms_only.blf"
    with pytest.raises((DecodeError, AssertionError, IndexError)):
        assert_as_expected(
            readings_of(replay_of([log], maps / "leaf-env200-40kwh.yaml", [dbc])),
            expected_env200(shared_data),
        )
