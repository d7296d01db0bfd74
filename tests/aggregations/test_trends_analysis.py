"""Slopes, crossings and projections of points."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from aggregations.trends_analysis import (
    Crossings,
    Direction,
    Line,
    NoTrend,
    Projection,
    crossings,
    least_squares,
    projected,
    spread_positions,
    theil_sen,
)

HORIZON_DAYS = 1000
VALUES = st.lists(st.integers(-3, 3).map(float), max_size=12)


@given(VALUES, st.sampled_from(Direction))
def test_crossings_are_the_first_point_across_and_the_first_of_those_that_stay(
    values: list[float], direction: Direction
) -> None:
    across = [value < 0 if direction is Direction.BELOW else value > 0 for value in values]
    first = next((place for place, one in enumerate(across) if one), None)
    permanent = next((place for place in range(len(values)) if all(across[place:])), None)
    assert crossings(np.array(values, np.float64), 0.0, direction) == Crossings(first, permanent)


def noisy(points: int, slope: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    days = np.sort(random.uniform(0, 365, points))
    return days, 100 + slope * days + random.normal(0, 1, points)


def test_lines_are_those_of_scipy() -> None:
    days, values = noisy(200, -0.02)
    line, robust = least_squares(days, values, 80.0), theil_sen(days, values, 80.0)
    expected = stats.linregress(days, values)
    half = stats.t.ppf(0.975, 198) * expected.stderr
    assert (line.slope, line.intercept) == (expected.slope, expected.intercept)
    assert (line.slope_low, line.slope_high) == (expected.slope - half, expected.slope + half)
    assert (robust.slope, robust.intercept, robust.slope_low, robust.slope_high) == tuple(
        map(float, stats.theilslopes(values, days, 0.95))
    )


@pytest.mark.parametrize("seed", range(5))
def test_interval_of_a_crossing_is_where_the_band_of_the_line_holds_the_threshold(seed: int) -> None:
    days, values = noisy(60, -0.02, seed)
    line = least_squares(days, values, 80.0)
    assert line.crossing_days is not None
    day, earliest, latest = line.crossing_days
    spread = ((days - days.mean()) ** 2).sum()
    fit = stats.linregress(days, values)
    quantile = stats.t.ppf(0.975, 58)

    def beyond(at: float) -> float:
        error = fit.stderr * math.sqrt(spread / 60 + (at - days.mean()) ** 2)
        return float(abs(fit.intercept + fit.slope * at - 80) - quantile * error)

    assert line.intercept + line.slope * day == pytest.approx(80)
    assert earliest < day < latest
    assert beyond(earliest) == pytest.approx(0, abs=1e-9)
    assert beyond(latest) == pytest.approx(0, abs=1e-9)


@given(st.integers(2, 400), st.integers(10, 50))
@settings(max_examples=50)
def test_spread_positions_are_one_of_each_run(count: int, points_max: int) -> None:
    chosen = spread_positions(count, points_max)
    assert len(chosen) == min(count, points_max)
    if count > points_max:
        runs = [place * count // points_max for place in range(points_max + 1)]
        assert all(low <= one < high for one, low, high in zip(chosen, runs[:-1], runs[1:], strict=True))


def test_spread_positions_meet_every_hour_of_a_daily_rhythm() -> None:
    minutes = spread_positions(525_600, 1000) % 1440
    by_hour = np.bincount(minutes // 60, minlength=24)
    assert by_hour.min() > 30


@pytest.mark.parametrize("value", [5.0, 0.0])
def test_constant_has_the_slope_zero_and_no_crossing(value: float) -> None:
    days, values = np.arange(20.0), np.full(20, value)
    for fit in (least_squares, theil_sen):
        line = fit(days, values, 4.0)
        assert (line.slope, line.slope_low, line.slope_high, line.crossing_days) == (0, 0, 0, None)


FALLING = Line(-0.1, -0.2, -0.05, 90.0, (100.0, 50.0, 200.0))


@pytest.mark.parametrize(
    ("line", "points", "last_day", "direction", "is_across", "expected"),
    [
        (FALLING, 10, 40.0, Direction.BELOW, False, Projection(100.0, 50.0, 200.0)),
        (FALLING, 9, 40.0, Direction.BELOW, False, NoTrend.TOO_FEW_POINTS),
        (FALLING, 10, 40.0, Direction.BELOW, True, NoTrend.ALREADY_CROSSED),
        (FALLING, 10, 40.0, Direction.ABOVE, False, NoTrend.GOES_AWAY),
        (FALLING, 10, 100.0, Direction.BELOW, False, NoTrend.LINE_ALREADY_ACROSS),
        (Line(-0.1, -0.2, 0.0, 90.0), 10, 40.0, Direction.BELOW, False, NoTrend.SLOPE_INCLUDES_ZERO),
        (
            Line(-0.1, -0.2, -0.01, 90.0, (1041.0, 900.0, 2000.0)),
            10,
            40.0,
            Direction.BELOW,
            False,
            NoTrend.BEYOND_HORIZON,
        ),
        (
            Line(-0.1, -0.2, -0.01, 90.0, (900.0, -5000.0, 1041.0)),
            10,
            40.0,
            Direction.BELOW,
            False,
            Projection(900.0, None, None),
        ),
    ],
)
def test_crossing_is_projected_or_the_reason_is_told(
    line: Line,
    points: int,
    last_day: float,
    direction: Direction,
    is_across: bool,
    expected: Projection | NoTrend,
) -> None:
    assert projected(line, points, last_day, direction, HORIZON_DAYS, is_across=is_across) == expected


@pytest.mark.parametrize("slope", [-0.02, 0.02])
@pytest.mark.parametrize("threshold", [80.0, 120.0])
def test_robust_crossing_lies_between_those_of_the_interval_s_slopes(slope: float, threshold: float) -> None:
    days, values = noisy(200, slope)
    line = theil_sen(days, values, threshold)
    assert line.crossing_days is not None
    middle, away = np.median(days), threshold - np.median(values)
    ends = [middle + away / one for one in (line.slope_low, line.slope_high)]
    assert line.crossing_days == pytest.approx((middle + away / line.slope, min(ends), max(ends)))
    assert line.crossing_days[1] < line.crossing_days[0] < line.crossing_days[2]
