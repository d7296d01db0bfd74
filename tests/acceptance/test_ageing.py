"""A real cell's ageing through `bpm replay` and HTTP: when it fell below 80 %, for good, and how fast."""

import csv
import json
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from aggregations.trends_analysis import Crossings, Direction, crossings
from tests.acceptance.test_replay import MAPS, START, replay, summary_of
from tests.running import RunningApi

CELLS = ("B0005", "B0006")
RATED_AH = 2.0
THRESHOLDS = (80, 70)


def health_pct(folder: Path, cell: str) -> np.ndarray:
    """State of health at each discharge, as it is stored: to a thousandth."""
    with (folder / f"{cell}.csv").open() as file:
        capacity_ah = [float(row["capacity_ah"]) for row in csv.DictReader(file)]
    return np.round(np.array(capacity_ah) / RATED_AH * 100, 3)


@pytest.fixture(scope="session")
def folder(shared_data: Path) -> Path:
    return shared_data / "ageing_nasa_capacity"


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("cell", CELLS)
def test_crossings_are_those_that_others_found(folder: Path, cell: str, threshold: int) -> None:
    expected = json.loads((folder / "expected_share.json").read_text())[cell]
    found = crossings(health_pct(folder, cell), threshold, Direction.BELOW)
    # Discharges are counted from 1.
    assert found == Crossings(
        expected[f"first_cycle_below_{threshold}pct_nominal"] - 1,
        expected[f"sustained_below_{threshold}pct_nominal"] - 1,
    )


@pytest.mark.parametrize("cell", CELLS)
def test_imported_cell_tells_its_crossings_and_the_slope_of_scipy(
    api: RunningApi, folder: Path, cell: str
) -> None:
    """The map puts the n-th discharge on the n-th day, so that a day of the answer is a discharge."""
    tenant = api.tenant(f"ageing-{cell.lower()}")
    series = ["--series", folder / f"{cell}.csv", "--map", MAPS / "nasa-discharge-capacity.yaml"]
    summary_of(replay(api, tenant, cell, *series, "--start", START))
    expected = json.loads((folder / "expected_share.json").read_text())[cell]
    asked = {
        "pack": cell,
        "measure": "state_of_health_pct",
        "from": START,
        "to": "2030-01-01T00:00:00Z",
    }
    with api.client(tenant) as client:
        for threshold in THRESHOLDS:
            told = client.get("/v1/trends/analysis", params=asked | {"threshold": threshold}).json()
            for which, name in (("first", "first_cycle_below"), ("permanent", "sustained_below")):
                point = told["threshold"][which]
                days = (datetime.fromisoformat(point["ts"]) - datetime.fromisoformat(START)).days
                assert days + 1 == point["points_before"] + 1 == expected[f"{name}_{threshold}pct_nominal"]
            assert told["least_squares"]["projection"]["no_trend"] == "already_crossed"
    assert told["points"] == {"used": 168, "of": 168, "chosen": "all"}
    discharge, values = np.arange(168.0), health_pct(folder, cell)
    line, robust = stats.linregress(discharge, values), stats.theilslopes(values, discharge, 0.95)
    half = stats.t.ppf(0.975, 166) * line.stderr
    assert told["least_squares"] | {"projection": None} == {
        "slope_per_day": pytest.approx(line.slope, rel=1e-12),
        "slope_per_day_low": pytest.approx(line.slope - half, rel=1e-12),
        "slope_per_day_high": pytest.approx(line.slope + half, rel=1e-12),
        "intercept": pytest.approx(line.intercept, rel=1e-12),
        "projection": None,
    }
    assert told["theil_sen"] | {"projection": None} == {
        "slope_per_day": pytest.approx(robust.slope, rel=1e-12),
        "slope_per_day_low": pytest.approx(robust.low_slope, rel=1e-12),
        "slope_per_day_high": pytest.approx(robust.high_slope, rel=1e-12),
        "intercept": pytest.approx(robust.intercept, rel=1e-12),
        "projection": None,
    }


def test_crossing_is_projected_from_the_discharges_before_it_to_where_their_lines_reach_it(
    api: RunningApi, folder: Path
) -> None:
    """A line knows no bend: of 61 discharges it is the 118th, and the cell aged faster later on."""
    tenant = api.tenant("ageing-projected")
    series = ["--series", folder / "B0005.csv", "--map", MAPS / "nasa-discharge-capacity.yaml"]
    summary_of(replay(api, tenant, "B0005", *series, "--start", START))
    asked = {"pack": "B0005", "measure": "state_of_health_pct", "threshold": 80, "from": START}
    with api.client(tenant) as client:
        told = client.get("/v1/trends/analysis", params=asked | {"to": "2024-05-01T08:00:00Z"}).json()
    assert told["points"]["of"] == 61
    discharge, values = np.arange(61.0), health_pct(folder, "B0005")[:61]
    lines = {
        "least_squares": stats.linregress(discharge, values),
        "theil_sen": stats.theilslopes(values, discharge),
    }
    for name, line in lines.items():
        projection = told[name]["projection"]
        passed = datetime.fromisoformat(projection["crossing"]) - datetime.fromisoformat(START)
        assert passed / timedelta(days=1) == pytest.approx((80 - line.intercept) / line.slope)
        assert projection["earliest"] < projection["crossing"] < projection["latest"]
