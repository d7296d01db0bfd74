"""A pack's trend in a number of points: chosen from its readings, or over long times from its windows."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np

from aggregations.quarters import RecordArray
from aggregations.trends import Method, chosen_rows, sought
from api.aggregates.service import over_budget
from api.settings import Settings
from domain.clock import from_ms
from domain.readings import ABSENT, Int64Array
from domain.windows import QUARTER_MS
from storage.transactions import Transaction
from storage.trends import Points, extent, no_points, points, points_sought
from storage.windows import pack_windows

_DAY_MS: Final = 96 * QUARTER_MS
_LENGTHS_MS: Final = (QUARTER_MS, 4 * QUARTER_MS, _DAY_MS // 4, _DAY_MS, 7 * _DAY_MS, 28 * _DAY_MS)
"""Windows from which points are chosen: the first length that makes few enough of them."""


@dataclass(frozen=True, slots=True, eq=False)
class Thinned:
    """The points of a pack, and how they were chosen out of how many readings."""

    points: Points
    facts: dict[str, Any]


class Thinner:
    """Chooses points of packs within what one answer may read."""

    def __init__(
        self,
        transaction: Transaction,
        settings: Settings,
        measures: Sequence[str],
        points_max: int,
        method: Method,
        packs: int,
    ) -> None:
        self._transaction = transaction
        self._settings = settings
        self._measures = measures
        self._points_max = points_max
        self._method = method
        self._raw_max = settings.trend_raw_readings_max // packs
        self._windows_max = max(settings.aggregate_windows_max // packs, 1)
        self._uncounted_left = settings.aggregate_readings_max

    async def read(self, pack: int, starts: datetime, ends: datetime) -> Thinned:
        """Points of a pack's readings in starts <= t < ends.

        Of readings when there are few enough; whether there are is read from windows when the time is long. Raises
        InvalidRequestError when too many of them are still to be counted.
        """
        reach = await extent(self._transaction, pack, starts, ends)
        if reach is None:
            return self._of_readings(no_points(self._measures))
        first_ms, last_ms = reach
        span = from_ms(first_ms), from_ms(last_ms + 1)
        if (last_ms - first_ms) // 1000 < self._raw_max:
            # Shorter than so many readings take at one a second.
            found = await points(self._transaction, pack, self._measures, *span, self._raw_max)
            if found.complete:
                return await asyncio.to_thread(self._of_readings, found)
        bounds_ms = _bounds(first_ms, last_ms + 1, self._windows_max)
        totals = await self._windows(pack, bounds_ms)
        if self._is_better_raw(totals):
            limit = self._settings.trend_points_max
            found = await points(self._transaction, pack, self._measures, *span, limit)
            if found.complete:
                return await asyncio.to_thread(self._of_readings, found)
        wanted = {
            name: sought(bounds_ms, totals[name], self._points_max, self._method) for name in self._measures
        }
        found = await points_sought(self._transaction, pack, wanted, self._measures)
        counts = [int(totals[name]["count"].sum()) for name in self._measures]
        return Thinned(found, self._facts("windows", counts))

    async def _windows(self, pack: int, bounds_ms: Int64Array) -> RecordArray:
        found = await pack_windows(self._transaction, pack, bounds_ms, self._uncounted_left)
        if not found.complete:
            raise over_budget(self._settings)
        self._uncounted_left -= found.readings
        return found.totals

    def _is_better_raw(self, totals: RecordArray) -> bool:
        """Whether there are few readings after all, or too few windows with any to choose the points from."""
        counts = [totals[name]["count"] for name in self._measures]
        readings = max(int(count.sum()) for count in counts)
        windows = max(int(np.count_nonzero(count)) for count in counts)
        is_sparse = 2 * windows < self._points_max and readings <= self._settings.trend_points_max
        return readings <= self._raw_max or is_sparse

    def _of_readings(self, found: Points) -> Thinned:
        rows = chosen_rows(found.ts_ms, found.thousandths, self._points_max, self._method)
        counts = np.count_nonzero(found.thousandths != ABSENT, axis=1).tolist()
        return Thinned(Points(found.ts_ms[rows], found.thousandths[:, rows]), self._facts("readings", counts))

    def _facts(self, source: str, counts: Sequence[int]) -> dict[str, Any]:
        readings = dict(zip(self._measures, counts, strict=True))
        return {"source": source, "method": self._method.value, "readings": readings}


def _bounds(from_ms_: int, to_ms_: int, windows_max: int) -> Int64Array:
    """int64[k + 1] of windows over from <= t < to, the first and the last cut to it."""
    length_ms = next(
        (length for length in _LENGTHS_MS if (to_ms_ - from_ms_) // length + 2 <= windows_max),
        _LENGTHS_MS[-1],
    )
    starts_ms = np.arange(from_ms_ // length_ms * length_ms, to_ms_, length_ms, dtype=np.int64)
    starts_ms[0] = from_ms_
    return np.append(starts_ms, to_ms_)
