"""Charge and energy of real recordings, through HTTP: equal to a naive recount, and to what others found."""

import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from domain.measures import MEASURE_NAMES
from tests.acceptance.test_replay import (
    BENCH,
    BENCH_LOG,
    ENV200,
    KONA,
    KONA_LOG,
    MAPS,
    START,
    ZE1,
    replay,
    summary_of,
)
from tests.naive_windows import Reading, recount
from tests.running import RunningApi

SHARED_AH_WH = 0.001
WAIT_S = 60.0


def logs(shared_data: Path) -> dict[str, list[Any]]:
    """The arguments of `bpm replay` for every log of the shared recordings that it is tested with."""
    env200, ze1 = shared_data / ENV200, shared_data / ZE1
    leaf, kona = (
        ["--dbc", env200 / "EV-can_AZE0.dbc"],
        ["--dbc", shared_data / KONA / "pcan_fixed.dbc", "--start", START],
    )
    return {
        "env200": [env200 / "bms_only.blf", *leaf, "--map", MAPS / "leaf-env200-40kwh.yaml"],
        "env200-trc": [env200 / "bms_first1000.trc", *leaf, "--map", MAPS / "leaf-env200-40kwh.yaml"],
        "ze1": [
            ze1 / "EV_can-bus_from_62_ZE1_QCcharging.txt", *leaf, "--dbc", ze1 / "EV-can_ZE1.dbc",
            "--map", MAPS / "leaf-ze1-62kwh.yaml", "--start", START, "--rate", "1000",
        ],
        "kona": [shared_data / KONA / KONA_LOG, *kona, "--map", MAPS / "kona-64kwh.yaml"],
        "bench": [shared_data / BENCH / BENCH_LOG, *kona, "--map", MAPS / "kona-64kwh-bench.yaml"],
    }  # fmt: skip


@pytest.mark.parametrize("name", ["env200", "env200-trc", "ze1", "kona", "bench"])
def test_every_can_log_gives_the_charge_and_energy_of_the_naive_twin(
    api: RunningApi, shared_data: Path, name: str
) -> None:
    tenant = api.tenant(f"windows-{name}")
    summary_of(replay(api, tenant, "P", *logs(shared_data)[name]))
    with api.client(tenant) as client:
        everything = {"from": "1970-01-02T00:00:00Z", "to": "2100-01-01T00:00:00Z"}
        trend = client.get(
            "/v1/trends", params={"pack": "P", "measure": list(MEASURE_NAMES)} | everything
        ).json()["columns"]
        readings: list[Reading] = [
            (ts_ms, {measure: trend[measure][place] for measure in MEASURE_NAMES})
            for place, ts_ms in enumerate(trend["ts"])
        ]
        starts = datetime.fromtimestamp(trend["ts"][0] // 1000, UTC) - timedelta(minutes=1)
        ends = datetime.fromtimestamp(trend["ts"][-1] // 1000, UTC) + timedelta(minutes=1)
        given = {
            "pack": "P", "measure": list(MEASURE_NAMES), "step": "PT15M", "from": starts.isoformat(), "to": ends.isoformat(),
        }  # fmt: skip
        told = [client.get("/v1/aggregates", params=given).json()["columns"]]
        assert api.engine.counter.wait_until_counted(WAIT_S)
        told.append(client.get("/v1/aggregates", params=given).json()["columns"])
    assert told[0] == told[1]
    expected = recount(readings, "PT15M", ZoneInfo("UTC"), starts, ends)
    place_of = {ts_ms: place for place, ts_ms in enumerate(told[0]["ts"])}
    assert expected
    for ts_ms, window in expected.items():
        for flow in ("charged_ah", "discharged_ah", "charged_wh", "discharged_wh", "covered_s"):
            assert told[0][flow][place_of[ts_ms]] == window[flow], (ts_ms, flow)


def test_b0025_gives_the_charge_and_energy_that_its_trapezoids_give(
    api: RunningApi, shared_data: Path
) -> None:
    folder = shared_data / "ageing_nasa_timeseries"
    with (folder / "B0025_discharge_summary.csv").open() as file:
        started = {
            row["discharge_no"]: datetime.fromisoformat(row["start"]).replace(tzinfo=UTC)
            for row in csv.DictReader(file)
        }
    with (folder / "B0025_discharge_ts.csv").open() as file:
        rows = [
            {
                "pack": "B0025",
                "ts": int((started[row["discharge_no"]].timestamp() + float(row["time_s"])) * 1000),
                "voltage_v": round(float(row["voltage_v"]), 3),
                "current_a": round(float(row["current_a"]), 3),
            }
            for row in csv.DictReader(file)
        ]
    expected = json.loads((folder / "expected_share.json").read_text())["B0025"]
    assert len(rows) == expected["rows"]
    tenant = api.tenant("b0025")
    with api.client(tenant) as client:
        import_id = client.post("/v1/imports", json={"source": "NASA"}).json()["id"]
        for start in range(0, len(rows), 10_000):
            receipt = client.post(
                "/v1/telemetry", json=rows[start : start + 10_000], params={"import": import_id}
            ).json()
            assert receipt["accepted"] == receipt["received"]
        given = {
            "pack": "B0025",
            "measure": "current_a",
            "from": "2009-01-01T00:00:00Z",
            "to": "2010-01-01T00:00:00Z",
        }
        assert api.engine.counter.wait_until_counted(WAIT_S)
        by_step = {
            step: client.get("/v1/aggregates", params=given | {"step": step}).json()["columns"]
            for step in ("P1Y", "P1D")
        }
    for columns in by_step.values():
        ah, wh = (sum(one or 0 for one in columns[name]) for name in ("discharged_ah", "discharged_wh"))
        assert ah == pytest.approx(expected["trapz"]["sum_trapz_ah"], rel=SHARED_AH_WH)
        assert wh == pytest.approx(expected["trapz"]["sum_trapz_wh"], rel=SHARED_AH_WH)
