"""Recorded logs through `bpm replay` and HTTP into the engine, and back out as trends."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from api.cli.main import app
from tests.running import RunningApi

MAPS = Path(__file__).parents[2] / "docs" / "how-to" / "maps"
START = "2024-03-01T08:00:00Z"

ENV200 = "can_leaf_env200_40kwh_charge"
ZE1 = "can_leaf_ze1_62kwh_quickcharge"
KONA = "can_kona_pcan"
BENCH = "can_kona_bms_bench"
KONA_LOG = "230112-7-2019-pcan-ccan-power-off-on-ready-off.csv"
BENCH_LOG = "Idle_log_no_diagnostic_function_selected-30sec.asc"

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


def replay(api: RunningApi, tenant: str, pack: str, *arguments: str | Path) -> Result:
    token = api.token(tenant, "importer")
    given = ["replay", *map(str, arguments), "--pack", pack, "--url", api.url, "--token", token, "--json"]
    return CliRunner().invoke(app, given)


def summary_of(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


def series(api: RunningApi, tenant: str, pack: str, measure: str) -> tuple[np.ndarray, np.ndarray]:
    """Times and values of the pack's whole trend, without gaps."""
    query = {"pack": pack, "measure": measure, "from": "1970-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}
    with api.client(tenant) as client:
        answer = client.get("/v1/trends", params=query)
    assert answer.status_code == 200, answer.text
    columns = answer.json()["columns"]
    times, values = np.array(columns["ts"]), np.array(columns[measure], np.float64)
    return times[~np.isnan(values)], values[~np.isnan(values)]


def figures(values: np.ndarray) -> dict[str, float]:
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


def assert_trends(api: RunningApi, tenant: str, pack: str, expected: dict[str, dict[str, float]]) -> None:
    for measure, wanted in expected.items():
        _, values = series(api, tenant, pack, measure)
        assert figures(values) == pytest.approx(wanted, abs=6e-7), measure


def env200(shared_data: Path, log: str) -> list[str | Path]:
    folder = shared_data / ENV200
    return [folder / log, "--dbc", folder / "EV-can_AZE0.dbc", "--map", MAPS / "leaf-env200-40kwh.yaml"]


def expected_env200(shared_data: Path) -> dict[str, dict[str, float]]:
    content = json.loads((shared_data / ENV200 / "expected.json").read_text())
    temperature = content["temperature_c(byte2>>1 - 40; OVMS+Battery-Emulator agree)"]["max"]
    return {**{measure: content[key] for measure, key in LEAF_KEYS.items()}, "temperature_c": temperature}


def test_env200_log_comes_back_as_expected_and_the_same_log_in_another_format_changes_nothing(
    api, shared_data
):
    tenant = api.tenant("env200")
    first = summary_of(replay(api, tenant, "van", *env200(shared_data, "bms_only.blf")))
    assert first["frames"] == 10_776
    assert first["readings"] == first["received"] == first["accepted"] == 5_739
    assert first["dropped"] == {"not_available": 73}
    assert_trends(api, tenant, "van", expected_env200(shared_data))

    again = summary_of(replay(api, tenant, "van", *env200(shared_data, "bms_only.log")))
    assert (again["received"], again["duplicate"], again["accepted"]) == (5_739, 5_739, 0)
    assert_trends(api, tenant, "van", expected_env200(shared_data))


def test_batch_size_changes_nothing(api, shared_data):
    tenant = api.tenant("batches")
    result = summary_of(replay(api, tenant, "van", *env200(shared_data, "bms_only.blf"), "--batch", "777"))
    assert (result["batches"], result["accepted"]) == (8, 5_739)
    assert_trends(api, tenant, "van", expected_env200(shared_data))


def test_same_log_of_two_tenants_is_two_packs_that_never_meet(api, shared_data):
    one, other = api.tenant("one"), api.tenant("other")
    for tenant in (one, other):
        assert (
            summary_of(replay(api, tenant, "van", *env200(shared_data, "bms_only.blf")))["accepted"] == 5_739
        )
        assert_trends(api, tenant, "van", expected_env200(shared_data))


def test_ze1_log_without_times_comes_back_as_expected(api, shared_data):
    tenant = api.tenant("ze1")
    log = shared_data / ZE1 / "EV_can-bus_from_62_ZE1_QCcharging.txt"
    given = [
        log, "--dbc", shared_data / ENV200 / "EV-can_AZE0.dbc", "--dbc", shared_data / ZE1 / "EV-can_ZE1.dbc",
        "--map", MAPS / "leaf-ze1-62kwh.yaml", "--start", START,
    ]  # fmt: skip
    refused = replay(api, tenant, "leaf", *given)
    assert refused.exit_code == 2
    assert "--rate" in refused.output
    result = summary_of(replay(api, tenant, "leaf", *given, "--rate", "1000"))
    assert result["dropped"] == {"not_a_frame": 48}
    content = json.loads((shared_data / ZE1 / "expected.json").read_text())
    assert_trends(api, tenant, "leaf", {measure: content[key] for measure, key in LEAF_KEYS.items()})


@pytest.mark.parametrize(
    ("folder", "log", "expected_file", "map_name"),
    [
        (KONA, KONA_LOG, "expected.json", "kona-64kwh.yaml"),
        (BENCH, BENCH_LOG, "expected_share.json", "kona-64kwh-bench.yaml"),
    ],
)
def test_kona_logs_come_back_as_expected_with_charging_positive(
    api, shared_data, folder, log, expected_file, map_name
):
    tenant = api.tenant(folder)
    dbc = shared_data / KONA / "pcan_fixed.dbc"
    summary_of(
        replay(api, tenant, "kona", shared_data / folder / log, "--dbc", dbc, "--map", MAPS / map_name, "--start", START)
    )  # fmt: skip
    content = json.loads((shared_data / folder / expected_file).read_text())[log]
    expected = {measure: content[key] for measure, key in KONA_KEYS.items()}
    assert_trends(api, tenant, "kona", {**expected, "current_a": turned(expected["current_a"])})


def test_nasa_capacities_come_back_as_a_health_a_day(api, shared_data):
    tenant = api.tenant("nasa")
    given = ["--map", MAPS / "nasa-discharge-capacity.yaml", "--start", START]
    result = summary_of(
        replay(api, tenant, "B0005", "--series", shared_data / "ageing_nasa_capacity" / "B0005.csv", *given)
    )
    assert (result["rows"], result["accepted"]) == (168, 168)
    times, health = series(api, tenant, "B0005", "state_of_health_pct")
    assert (len(health), health[0], health[-1]) == (168, 92.824, 66.254)
    assert set(np.diff(times).tolist()) == {86_400_000}


def test_log_moved_to_now_is_live_and_ends_now(api, shared_data):
    tenant = api.tenant("now")
    before = datetime.now(UTC)
    result = summary_of(replay(api, tenant, "van", *env200(shared_data, "bms_only.blf"), "--at", "now"))
    assert result["import"] is None
    assert result["accepted"] == 5_739
    times, _ = series(api, tenant, "van", "voltage_v")
    ended = datetime.fromtimestamp(times[-1] / 1000, UTC)
    assert before - timedelta(seconds=1) <= ended <= datetime.now(UTC)


def test_one_damaged_byte_of_a_dbc_file_changes_what_comes_back(api, shared_data, tmp_path):
    tenant = api.tenant("damaged")
    whole = (shared_data / ENV200 / "EV-can_AZE0.dbc").read_bytes()
    (tmp_path / "EV-can_AZE0.dbc").write_bytes(
        whole.replace(b"LB_Total_Voltage : 23|10@0+ (0.5", b"LB_Total_Voltage : 23|10@0+ (0.6", 1)
    )
    log, _, _, *rest = env200(shared_data, "bms_only.blf")
    summary_of(replay(api, tenant, "van", log, "--dbc", tmp_path / "EV-can_AZE0.dbc", *rest))
    _, values = series(api, tenant, "van", "voltage_v")
    assert figures(values) != pytest.approx(expected_env200(shared_data)["voltage_v"], abs=6e-7)


def test_unknown_pack_of_a_tenant_that_registers_none_fails_and_says_why(api, shared_data):
    tenant = api.tenant("closed", register_unknown_packs=False)
    result = replay(api, tenant, "van", *env200(shared_data, "bms_only.blf"))
    assert result.exit_code == 1
    summary = json.loads(result.stdout)
    assert summary["quarantined"] == summary["received"] == 5_739
    assert "unknown_pack" in summary["reasons"]


def test_token_that_may_not_import_is_refused_and_nothing_is_stored(api, shared_data):
    tenant = api.tenant("analysts")
    given = [*map(str, env200(shared_data, "bms_only.blf")), "--pack", "van", "--url", api.url, "--json"]
    result = CliRunner().invoke(app, ["replay", *given, "--token", api.token(tenant, "analyst")])
    assert result.exit_code == 1
    assert json.loads(result.stdout)["problem"].startswith("/v1/imports was refused with 403")
    with api.client(tenant) as client:
        assert client.get("/v1/packs").json()["items"] == []


def test_closing_table_names_every_sum(api, shared_data):
    tenant = api.tenant("tables")
    token = api.token(tenant, "importer")
    given = [
        *map(str, env200(shared_data, "bms_only.blf")),
        "--pack",
        "van",
        "--url",
        api.url,
        "--token",
        token,
    ]
    result = CliRunner().invoke(app, ["replay", *given])
    assert result.exit_code == 0
    for words in ("frames", "decoded", "dropped: not_available", "readings", "accepted", "duplicate", "late"):
        assert words in result.stdout


def test_in_development_the_command_finds_the_engine_and_mints_its_own_token(api, shared_data):
    tenant = api.tenant("minted")
    settings = api.engine.settings
    environment = {
        "BPM_ENV": "development",
        "BPM_DATA_DIR": str(settings.data_dir),
        "BPM_PORT": str(settings.port),
    }
    given = [
        *map(str, env200(shared_data, "bms_first1000.trc")),
        "--pack",
        "van",
        "--tenant",
        tenant,
        "--json",
    ]
    result = CliRunner(env=environment).invoke(app, ["replay", *given])
    assert summary_of(result)["frames"] == 1_000
