"""Figures of groups of packs as they are now, from merged counts."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from domain.clock import MILLISECONDS_PER_SECOND
from domain.measures import THOUSANDTHS_PER_UNIT
from domain.readings import Int64Array
from kernels.sketch_columns import (
    BIN_THOUSANDTHS,
    CHARGE,
    CHARGE_BUCKET_BINS,
    CHARGE_BUCKETS,
    COLDEST,
    HEALTH,
    HEALTH_BUCKET_BINS,
    HEALTH_BUCKETS,
    HIGHEST_CELL,
    HOTTEST,
    LOWEST_CELL,
    NEVER_SEEN,
    NONE,
    REPORTING,
    SILENT,
    Merged,
)

QUANTILES: Final = ("min", "p5", "p25", "p50", "p75", "p95", "max")
PERCENTS: Final = np.array([0, 5, 25, 50, 75, 95, 100], np.int64)
"""Of state of charge and of health, by nearest rank."""
LATE_PERCENTS: Final = np.array([50, 95, 100], np.int64)
"""Of the age of the last arrival, and of clock skew."""

_BINS_PER_UNIT: Final = THOUSANDTHS_PER_UNIT / BIN_THOUSANDTHS
CHARGE_BUCKET_PCT: Final = CHARGE_BUCKET_BINS / _BINS_PER_UNIT
HEALTH_BUCKET_PCT: Final = HEALTH_BUCKET_BINS / _BINS_PER_UNIT


@dataclass(frozen=True, slots=True)
class Spread:
    """How a measure's latest values lie, of so many packs.

    mean: exact, None without packs. quantiles: as in QUANTILES, of values rounded to 0.1; empty without packs.
    buckets: packs by rounded value, from 0 on, each `bucket_pct` wide.
    """

    packs: int
    mean: float | None
    quantiles: tuple[float, ...]
    bucket_pct: float
    buckets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Extreme:
    """A largest or smallest latest value, and the number of the pack that holds it."""

    value: float
    pack: int


@dataclass(frozen=True, slots=True)
class LiveFigures:
    """A group of packs as they are now.

    age_s, of the last live arrival, and skew_s, arrival minus event time of the newest live reading: at p50, p95 and
    the most; empty without a pack that reported. skewed: packs beyond the limit. alerts: open ones by kind.
    """

    reporting: int
    silent: int
    never_seen: int
    readings_per_s: float
    charge: Spread
    health: Spread
    hottest: Extreme | None
    coldest: Extreme | None
    highest_cell: Extreme | None
    lowest_cell: Extreme | None
    age_s: tuple[int, ...]
    skew_s: tuple[float, ...]
    skewed: int
    alerts: tuple[int, ...]


def live_figures(merged: Merged, rates: Int64Array, window_s: int, alerts: Int64Array) -> list[LiveFigures]:
    """The figures of each group of merged counts.

    rates int64[g]: live readings within `window_s` seconds. alerts int64[g, kinds]: open ones.
    """
    extremes = [_extremes(merged, extreme) for extreme in (HOTTEST, COLDEST, HIGHEST_CELL, LOWEST_CELL)]
    columns = zip(
        merged.packs.tolist(),
        (rates / window_s if window_s > 0 else np.zeros(len(rates))).tolist(),
        _spreads(merged, CHARGE, CHARGE_BUCKET_PCT, CHARGE_BUCKETS),
        _spreads(merged, HEALTH, HEALTH_BUCKET_PCT, HEALTH_BUCKETS),
        zip(*extremes, strict=True),
        merged.arrived.tolist(),
        merged.age_s.tolist(),
        (merged.skew_ms / MILLISECONDS_PER_SECOND).tolist(),
        merged.beyond.tolist(),
        alerts.tolist(),
        strict=True,
    )
    return [
        LiveFigures(
            reporting=packs[REPORTING],
            silent=packs[SILENT],
            never_seen=packs[NEVER_SEEN],
            readings_per_s=rate,
            charge=charge,
            health=health,
            hottest=hottest,
            coldest=coldest,
            highest_cell=highest_cell,
            lowest_cell=lowest_cell,
            age_s=tuple(age_s) if arrived else (),
            skew_s=tuple(skew_s) if arrived else (),
            skewed=beyond,
            alerts=tuple(kinds),
        )
        for (
            packs,
            rate,
            charge,
            health,
            (hottest, coldest, highest_cell, lowest_cell),
            arrived,
            age_s,
            skew_s,
            beyond,
            kinds,
        ) in columns
    ]


def _spreads(merged: Merged, measure: int, bucket_pct: float, buckets: int) -> list[Spread]:
    columns = zip(
        merged.measured[:, measure].tolist(),
        merged.sums[:, measure].tolist(),
        (merged.quantiles[:, measure] / _BINS_PER_UNIT).tolist(),
        merged.buckets[:, measure, :buckets].tolist(),
        strict=True,
    )
    return [
        Spread(
            packs,
            total / packs / THOUSANDTHS_PER_UNIT if packs else None,
            tuple(quantiles) if packs else (),
            bucket_pct,
            tuple(counts),
        )
        for packs, total, quantiles, counts in columns
    ]


def _extremes(merged: Merged, extreme: int) -> list[Extreme | None]:
    values = (merged.extreme[:, extreme] / THOUSANDTHS_PER_UNIT).tolist()
    return [
        None if pack == NONE else Extreme(value, pack)
        for pack, value in zip(merged.holder[:, extreme].tolist(), values, strict=True)
    ]
