"""Where a series goes: its slope with an interval, when it crossed a threshold, and when it will."""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from domain.readings import Float64Array, Int64Array

DAY_MS: Final = 86_400_000
LINE_POINTS_MIN: Final = 3
"""Fewer points leave a line's spread open."""

PROJECTION_POINTS_MIN: Final = 10
"""The interval of Theil and Sen is made by a normal approximation, which holds from about here on."""

CONFIDENCE: Final = 0.95
_GOLDEN: Final = (math.sqrt(5) - 1) / 2


class Direction(StrEnum):
    """On which side of a threshold a series has crossed it: values below, or above; equal ones haven't."""

    BELOW = "below"
    ABOVE = "above"


class NoTrend(StrEnum):
    """Why no crossing is projected."""

    TOO_FEW_POINTS = "too_few_points"
    ALREADY_CROSSED = "already_crossed"
    SLOPE_INCLUDES_ZERO = "slope_includes_zero"
    GOES_AWAY = "goes_away"
    LINE_ALREADY_ACROSS = "line_already_across"
    BEYOND_HORIZON = "beyond_horizon"


@dataclass(frozen=True, slots=True)
class Crossings:
    """Positions of the first point across a threshold, and of the first from which on all are; None for none."""

    first: int | None
    permanent: int | None


def crossings(values: Float64Array, threshold: float, direction: Direction) -> Crossings:
    """When a series crossed a threshold, and when for good; values float64[n] in order of time.

    >>> crossings(np.array([82.0, 79.0, 80.0, 78.0, 77.0]), 80.0, Direction.BELOW)
    Crossings(first=1, permanent=3)
    """
    across = values < threshold if direction is Direction.BELOW else values > threshold
    positions = np.flatnonzero(across)
    if len(positions) == 0:
        return Crossings(None, None)
    back = np.flatnonzero(~across)
    permanent = int(back[-1]) + 1 if len(back) else 0
    return Crossings(int(positions[0]), permanent if permanent < len(values) else None)


def spread_positions(count: int, points_max: int) -> Int64Array:
    """Positions of at most `points_max` of `count` points, ascending: one of each run of equally many.

    Where it stands in its run moves on by the golden ratio, so that no rhythm, as that of days, is met at one hour.

    >>> spread_positions(10, 3).tolist(), spread_positions(3, 10).tolist()
    ([1, 3, 9], [0, 1, 2])
    """
    if count <= points_max:
        return np.arange(count, dtype=np.int64)
    runs = np.arange(points_max + 1, dtype=np.int64) * count // points_max
    share = (np.arange(1, points_max + 1) * _GOLDEN) % 1.0
    return runs[:-1] + (share * np.diff(runs)).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Line:
    """A fitted line: its slope a day with the ends of its interval, and its value on day 0.

    crossing_days: when the line reaches the threshold, and the ends of that interval; None without a threshold, and
    where the slope's interval includes zero.
    """

    slope: float
    slope_low: float
    slope_high: float
    intercept: float
    crossing_days: tuple[float, float, float] | None = None

    @property
    def includes_zero(self) -> bool:
        return self.slope_low <= 0 <= self.slope_high


def least_squares(days: Float64Array, values: Float64Array, threshold: float | None) -> Line:
    """The line of least squares by SciPy's `linregress`, with the interval of Student's t at n - 2 degrees.

    days float64[n], ascending, n >= LINE_POINTS_MIN; values float64[n]. The interval of the crossing is where the
    band of the mean response holds the threshold: E. C. Fieller, "Some Problems in Interval Estimation", J. R. Stat.
    Soc. B 16 (1954); it is finite exactly where the slope's interval excludes zero.
    """
    # 75 MB and half a second that an engine without such questions needn't spend.
    from scipy import stats

    fit = stats.linregress(days, values)
    quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(days) - 2))
    # SciPy leaves the error of a constant open.
    slope, error = float(fit.slope), float(fit.stderr) if np.ptp(values) > 0 else 0.0
    low, high = slope - quantile * error, slope + quantile * error
    line = Line(slope, low, high, float(fit.intercept))
    if threshold is None or line.includes_zero:
        return line
    mean_day = float(days.mean())
    away = threshold - float(values.mean())
    spread = float(((days - mean_day) ** 2).sum())
    narrowed = slope**2 - (quantile * error) ** 2
    half = quantile * error * math.sqrt(away**2 + narrowed * spread / len(days))
    ends = sorted(mean_day + (slope * away + sign * half) / narrowed for sign in (-1, 1))
    return Line(slope, low, high, line.intercept, (mean_day + away / slope, ends[0], ends[1]))


def theil_sen(days: Float64Array, values: Float64Array, threshold: float | None) -> Line:
    """The line of Theil and Sen by SciPy's `theilslopes`: the median of all pairs' slopes, through the medians.

    As `least_squares`. Takes n² of time and memory: 1,000 points 30 MB. The interval is that of P. K. Sen, "Estimates
    of the Regression Coefficient Based on Kendall's Tau", JASA 63 (1968); the crossing's ends are those of lines
    through the medians with the interval's slopes.
    """
    from scipy import stats

    fit = stats.theilslopes(values, days, CONFIDENCE)
    slope, low, high = float(fit.slope), float(fit.low_slope), float(fit.high_slope)
    line = Line(slope, low, high, float(fit.intercept))
    if threshold is None or line.includes_zero:
        return line
    middle, away = float(np.median(days)), threshold - float(np.median(values))
    ends = sorted(middle + away / one for one in (low, high))
    return Line(slope, low, high, line.intercept, (middle + away / slope, ends[0], ends[1]))


@dataclass(frozen=True, slots=True)
class Projection:
    """When a line will cross a threshold, in days, and between when; None for an end beyond the horizon."""

    day: float
    earliest: float | None
    latest: float | None


def projected(
    line: Line, points: int, last_day: float, direction: Direction, horizon_days: int, *, is_across: bool
) -> Projection | NoTrend:
    """When a fitted line crosses the threshold, or why that can't be told.

    points: of how many the line is made. last_day: of the data. is_across: whether all points up to the end are.
    """
    if points < PROJECTION_POINTS_MIN:
        return NoTrend.TOO_FEW_POINTS
    if is_across:
        return NoTrend.ALREADY_CROSSED
    if line.crossing_days is None:
        return NoTrend.SLOPE_INCLUDES_ZERO
    if (line.slope > 0) != (direction is Direction.ABOVE):
        return NoTrend.GOES_AWAY
    day, earliest, latest = line.crossing_days
    if day <= last_day:
        return NoTrend.LINE_ALREADY_ACROSS
    if day > last_day + horizon_days:
        return NoTrend.BEYOND_HORIZON
    return Projection(
        day,
        earliest if abs(earliest - last_day) <= horizon_days else None,
        latest if latest <= last_day + horizon_days else None,
    )
