"""Figures of groups of packs as they are now, from merged counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

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

Figure = TypeVar("Figure", int, float)


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
    return [
        LiveFigures(
            reporting=int(merged.packs[group, REPORTING]),
            silent=int(merged.packs[group, SILENT]),
            never_seen=int(merged.packs[group, NEVER_SEEN]),
            readings_per_s=float(rates[group]) / window_s if window_s > 0 else 0.0,
            charge=_spread(merged, group, CHARGE, CHARGE_BUCKET_PCT, CHARGE_BUCKETS),
            health=_spread(merged, group, HEALTH, HEALTH_BUCKET_PCT, HEALTH_BUCKETS),
            hottest=_extreme(merged, group, HOTTEST),
            coldest=_extreme(merged, group, COLDEST),
            highest_cell=_extreme(merged, group, HIGHEST_CELL),
            lowest_cell=_extreme(merged, group, LOWEST_CELL),
            age_s=_if_any(merged.arrived[group], merged.age_s[group].tolist()),
            skew_s=_if_any(merged.arrived[group], (merged.skew_ms[group] / MILLISECONDS_PER_SECOND).tolist()),
            skewed=int(merged.beyond[group]),
            alerts=tuple(alerts[group].tolist()),
        )
        for group in range(len(merged.packs))
    ]


def _if_any(packs: int, found: Sequence[Figure]) -> tuple[Figure, ...]:
    return tuple(found) if packs else ()


def _spread(merged: Merged, group: int, measure: int, bucket_pct: float, buckets: int) -> Spread:
    packs = int(merged.measured[group, measure])
    mean = int(merged.sums[group, measure]) / packs / THOUSANDTHS_PER_UNIT if packs else None
    quantiles = (merged.quantiles[group, measure] / _BINS_PER_UNIT).tolist()
    return Spread(
        packs,
        mean,
        _if_any(packs, quantiles),
        bucket_pct,
        tuple(merged.buckets[group, measure, :buckets].tolist()),
    )


def _extreme(merged: Merged, group: int, extreme: int) -> Extreme | None:
    pack = int(merged.holder[group, extreme])
    if pack == NONE:
        return None
    return Extreme(int(merged.extreme[group, extreme]) / THOUSANDTHS_PER_UNIT, pack)
