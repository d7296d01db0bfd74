"""Where a pack's measure goes: slopes, crossings of a threshold, and when the next one comes."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from aggregations.trends_analysis import (
    DAY_MS,
    LINE_POINTS_MIN,
    Direction,
    Line,
    NoTrend,
    crossings,
    least_squares,
    projected,
    spread_positions,
    theil_sen,
)
from api.aggregates import service as aggregates
from api.call import Call
from api.ranges import require_range
from api.settings import Settings
from api.trends.service import too_many
from domain.clock import from_ms
from domain.errors import InvalidRequestError
from domain.measures import MEASURE_INDEX, MEASURES
from domain.readings import Float64Array, Int64Array
from storage import packs as stored_packs
from storage.retention import require_kept
from storage.trends import points

Fit = Callable[[Float64Array, Float64Array, float | None], Line]

_FIGURES: Final = ("slope_per_day", "slope_per_day_low", "slope_per_day_high", "intercept")


THRESHOLD_MAX: Final = 1e9
"""Far beyond what any measure may be, and small enough to be squared."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked; None for what isn't given."""

    pack: str
    measure: str
    starts: datetime
    ends: datetime
    step: str | None
    zone: str | None
    threshold: float | None
    direction: Direction | None


async def read(call: Call, asked: Question) -> dict[str, Any]:
    """Slopes of one measure by least squares and by Theil and Sen, and its crossings of the threshold.

    Raises NotFoundError for the pack, InvalidRequestError for what contradicts itself, an unknown measure, an empty
    range, and too much; ArchivedError for readings that aren't kept.
    """
    aggregates.check_measures([asked.measure])
    require_range(asked.starts, asked.ends)
    if asked.zone is not None:
        aggregates.zone_of(asked.zone)
        if asked.step is None:
            raise InvalidRequestError("a zone is of windows: say which step", field="zone")
    if asked.direction is not None and asked.threshold is None:
        raise InvalidRequestError("a direction is of a threshold: say which", field="direction")
    if asked.threshold is not None and not abs(asked.threshold) <= THRESHOLD_MAX:
        raise InvalidRequestError(
            f"a threshold lies within {THRESHOLD_MAX:.0f} of 0", field="threshold", limit=THRESHOLD_MAX
        )
    series = await (_readings(call, asked) if asked.step is None else _means(call, asked, asked.step))
    return await asyncio.to_thread(_told, asked, series, call.engine.settings)


@dataclass(frozen=True, slots=True, eq=False)
class _Series:
    """ts_ms int64[n], ascending, and values float64[n], none of them NaN. source: what they are."""

    ts_ms: Int64Array
    values: Float64Array
    source: str


async def _readings(call: Call, asked: Question) -> _Series:
    settings = call.engine.settings
    async with call.snapshot() as transaction:
        number = (await stored_packs.get_by_name(transaction, asked.pack))["pack_id"]
        await require_kept(transaction, asked.starts)
        found = await points(
            transaction, number, [asked.measure], asked.starts, asked.ends, settings.trend_points_max
        )
    if not found.complete:
        raise too_many(settings)
    return _Series(found.ts_ms, found.values()[0], "readings")


async def _means(call: Call, asked: Question, step: str) -> _Series:
    """Means of windows, each in the middle between its first and its last reading."""
    zone = "UTC" if asked.zone is None else asked.zone
    windows = aggregates.ask(step, zone, asked.starts, asked.ends)
    settings = call.engine.settings
    async with call.snapshot() as transaction:
        (table,) = await aggregates.pack_tables(transaction, settings, windows, [asked.pack], [asked.measure])
    first, last, mean = (
        table.columns[f"{asked.measure}_{figure}"] for figure in ("first_ts", "last_ts", "mean")
    )
    some = mean.present
    middle_ms = (first.values + last.values) // 2
    return _Series(middle_ms[some], mean.values[some], "windows")


def _told(asked: Question, series: _Series, settings: Settings) -> dict[str, Any]:
    chosen = spread_positions(len(series.ts_ms), settings.trend_analysis_points_max)
    origin_ms = int(series.ts_ms[0]) if len(series.ts_ms) else None
    is_whole = len(chosen) == len(series.ts_ms)
    told: dict[str, Any] = {
        "pack": asked.pack,
        "measure": asked.measure,
        "unit": MEASURES[MEASURE_INDEX[asked.measure]].unit,
        "source": series.source,
        "points": {
            "used": len(chosen),
            "of": len(series.ts_ms),
            "chosen": "all" if is_whole else "spread",
        },
        "origin": _moment(origin_ms),
        "last": _moment(None if origin_ms is None else int(series.ts_ms[-1])),
        "threshold": None,
    }
    is_across = False
    if asked.threshold is not None:
        direction = asked.direction or Direction.BELOW
        crossed = crossings(series.values, asked.threshold, direction)
        is_across = crossed.permanent is not None
        told["threshold"] = {
            "value": asked.threshold,
            "direction": direction,
            "first": _point(series, crossed.first),
            "permanent": _point(series, crossed.permanent),
        }
    fits: dict[str, Fit] = {"least_squares": least_squares, "theil_sen": theil_sen}
    for name, fit in fits.items():
        told[name] = _line(asked, series, chosen, fit, settings, is_across=is_across)
    return told


def _point(series: _Series, place: int | None) -> dict[str, Any] | None:
    if place is None:
        return None
    return {
        "ts": _moment(int(series.ts_ms[place])),
        "value": float(series.values[place]),
        "points_before": place,
    }


def _line(
    asked: Question, series: _Series, chosen: Int64Array, fit: Fit, settings: Settings, *, is_across: bool
) -> dict[str, Any]:
    """A fitted line with its projection; nothing but the reason where there are too few points for one."""
    if len(chosen) < LINE_POINTS_MIN:
        none = None if asked.threshold is None else _projection_told(NoTrend.TOO_FEW_POINTS)
        return dict.fromkeys(_FIGURES) | {"projection": none}
    origin_ms, days = int(series.ts_ms[0]), (series.ts_ms - series.ts_ms[0]) / DAY_MS
    line = fit(days[chosen], series.values[chosen], asked.threshold)
    figures = (line.slope, line.slope_low, line.slope_high, line.intercept)
    told: dict[str, Any] = dict(zip(_FIGURES, figures, strict=True))
    if asked.threshold is None:
        return told | {"projection": None}
    found = projected(
        line,
        len(chosen),
        float(days[-1]),
        asked.direction or Direction.BELOW,
        settings.trend_horizon_days_max,
        is_across=is_across,
    )
    if isinstance(found, NoTrend):
        return told | {"projection": _projection_told(found)}

    def moment(day: float | None) -> datetime | None:
        return _moment(None if day is None else origin_ms + round(day * DAY_MS))

    return told | {
        "projection": {
            "crossing": moment(found.day),
            "earliest": moment(found.earliest),
            "latest": moment(found.latest),
            "no_trend": None,
        }
    }


def _projection_told(reason: NoTrend) -> dict[str, Any]:
    return {"crossing": None, "earliest": None, "latest": None, "no_trend": reason}


def _moment(ts_ms: int | None) -> datetime | None:
    return None if ts_ms is None else from_ms(ts_ms)
