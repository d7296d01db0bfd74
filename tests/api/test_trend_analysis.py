"""Slopes, crossings and projections over HTTP."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import numpy as np
import pytest

from tests.api.test_aggregates import upload
from tests.running import RunningApi

START = datetime(2026, 1, 1, tzinfo=UTC)
MEASURE = "state_of_health_pct"


def falling(days: int, slope: float, noise: float = 0.2) -> np.ndarray:
    values = 95 + slope * np.arange(days) + np.random.default_rng(1).normal(0, noise, days)
    return np.asarray(np.round(values, 3), np.float64)


def filled(api: RunningApi, tenant: str, values: np.ndarray, hours: float = 24) -> None:
    moments = (START + timedelta(hours=hours * place) for place in range(len(values)))
    readings = [
        (int(moment.timestamp() * 1000), {MEASURE: float(value)})
        for moment, value in zip(moments, values, strict=True)
    ]
    upload(api, tenant, "P", readings)


def ask(client: httpx.Client, **more: Any) -> httpx.Response:
    asked = {"pack": "P", "measure": MEASURE, "from": START.isoformat(), "to": "2030-01-01T00:00:00Z"}
    return client.get("/v1/trends/analysis", params=asked | more)


def told(client: httpx.Client, **more: Any) -> dict[str, Any]:
    answer = ask(client, **more)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_falling_health_is_projected_to_its_threshold_with_an_interval(api: RunningApi) -> None:
    tenant = api.tenant("falling")
    filled(api, tenant, falling(100, -0.05))
    with api.client(tenant) as client:
        found = told(client, threshold=80)
    assert found["points"] == {"used": 100, "of": 100, "chosen": "all"}
    assert (found["unit"], found["source"]) == ("%", "readings")
    assert found["threshold"] == {"value": 80.0, "direction": "below", "first": None, "permanent": None}
    for name in ("least_squares", "theil_sen"):
        line = found[name]
        assert line["slope_per_day_low"] < -0.05 < line["slope_per_day_high"]
        assert line["intercept"] == pytest.approx(95, abs=0.2)
        projection = {
            key: datetime.fromisoformat(value)
            for key, value in line["projection"].items()
            if key != "no_trend"
        }
        assert line["projection"]["no_trend"] is None
        assert projection["earliest"] < projection["crossing"] < projection["latest"]
        assert projection["earliest"] < START + timedelta(days=300) < projection["latest"]


@pytest.mark.parametrize(
    ("values", "asked", "reason"),
    [
        (falling(100, 0.0), {"threshold": 80}, "slope_includes_zero"),
        (falling(100, 0.05), {"threshold": 80}, "goes_away"),
        (falling(100, -0.05), {"threshold": 99, "direction": "above"}, "goes_away"),
        (falling(100, -0.2), {"threshold": 80}, "already_crossed"),
        (falling(100, -0.002, 0.01), {"threshold": 0}, "beyond_horizon"),
        (falling(9, -0.05), {"threshold": 80}, "too_few_points"),
        (falling(2, -0.05), {"threshold": 80}, "too_few_points"),
        (falling(0, -0.05), {"threshold": 80}, "too_few_points"),
    ],
    ids=["flat", "rises", "wrong side", "crossed", "far", "nine points", "two points", "none"],
)
def test_reason_is_told_where_no_crossing_can_be_projected(
    api: RunningApi, values: np.ndarray, asked: dict[str, Any], reason: str
) -> None:
    tenant = api.tenant(f"no-trend-{len(values)}-{reason.replace('_', '-')}-{asked['threshold']}")
    with api.client(tenant) as client:
        client.post("/v1/packs", json={"pack": "P"}).raise_for_status()
        if len(values):
            filled(api, tenant, values)
        found = told(client, **asked)
    expected = {"crossing": None, "earliest": None, "latest": None, "no_trend": reason}
    assert found["least_squares"]["projection"] == found["theil_sen"]["projection"] == expected
    assert (found["least_squares"]["slope_per_day"] is None) == (len(values) < 3)
    assert (found["origin"] is None) == (len(values) == 0)


def test_without_a_threshold_there_are_slopes_alone(api: RunningApi) -> None:
    tenant = api.tenant("slopes-alone")
    filled(api, tenant, falling(20, -0.1))
    with api.client(tenant) as client:
        found = told(client)
    assert (found["threshold"], found["least_squares"]["projection"]) == (None, None)
    assert found["theil_sen"]["slope_per_day"] == pytest.approx(-0.1, abs=0.05)


def test_many_readings_are_spread_for_the_lines_and_all_are_looked_at_for_crossings(api: RunningApi) -> None:
    tenant = api.tenant("many")
    values = falling(5000, -0.001)
    values[4321] = 10.0
    filled(api, tenant, values, hours=1)
    with api.client(tenant) as client:
        found = told(client, threshold=80)
        by_day = told(client, threshold=80, step="P1D")
    assert found["points"] == {"used": 1000, "of": 5000, "chosen": "spread"}
    first = found["threshold"]["first"]
    assert (first["value"], first["points_before"]) == (10.0, 4321)
    assert datetime.fromisoformat(first["ts"]) == START + timedelta(hours=4321)
    assert found["threshold"]["permanent"] is None
    assert found["theil_sen"]["slope_per_day"] == pytest.approx(-0.024, abs=0.001)
    assert (by_day["source"], by_day["points"]["of"]) == ("windows", 209)
    assert by_day["threshold"]["first"] is None, "the day's mean isn't across"
    assert by_day["theil_sen"]["slope_per_day"] == pytest.approx(-0.024, abs=0.001)
    # Of a whole day's 24 hourly readings the middle is 11:30.
    assert datetime.fromisoformat(by_day["origin"]) == START + timedelta(hours=11.5)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"threshold": "nan"}, "threshold"),
        ({"threshold": "inf"}, "threshold"),
        ({"direction": "above"}, "direction"),
        ({"threshold": 1, "direction": "up"}, "direction"),
        ({"zone": "UTC"}, "zone"),
        ({"step": "P1M1D"}, "step"),
        ({"measure": "mood"}, "measure"),
        ({"to": START.isoformat()}, "to"),
        ({"pack": ["P", "Q"]}, "pack"),
        ({"points": 5}, "points"),
    ],
)
def test_wrong_question_names_its_field(api: RunningApi, more: dict[str, Any], field: str) -> None:
    with api.client(api.tenant("wrong-analysis")) as client:
        answer = ask(client, **more)
    assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text


def test_more_readings_than_one_answer_takes_are_refused_and_their_days_are_not(api: RunningApi) -> None:
    tenant = api.tenant("too-many")
    filled(api, tenant, falling(50, -0.1), hours=6)
    settings = api.engine.settings
    with api.client(tenant) as client:
        try:
            api.engine.settings = settings.model_copy(update={"trend_points_max": 49})
            refused, by_day = ask(client), ask(client, step="P1D", to="2026-03-01T00:00:00Z")
        finally:
            api.engine.settings = settings
    assert (refused.status_code, refused.json()["limit"], by_day.status_code) == (422, 49, 200)


@pytest.mark.parametrize("threshold", ["1e10", "-1e155", "inf", "nan"])
def test_threshold_beyond_all_measures_is_refused(api: RunningApi, threshold: str) -> None:
    asked = {
        "pack": "P-1",
        "measure": "voltage_v",
        "from": "2026-01-01T00:00:00Z",
        "to": "2026-01-02T00:00:00Z",
    }
    with api.client(api.tenant(f"beyond-{uuid.uuid4().hex[:8]}")) as client:
        answer = client.get("/v1/trends/analysis", params=asked | {"threshold": threshold})
    assert (answer.status_code, answer.json()["field"]) == (422, "threshold")
