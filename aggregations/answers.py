"""Windows of one pack put together from what is stored and what is read: which parts are needed, and their fold."""

from dataclasses import dataclass

import numpy as np

from aggregations.quarters import Columns, RecordArray, Records, count_windows
from aggregations.windows import fold, spread_over, totals_of
from domain.readings import Int32Array, Int64Array
from domain.windows import QUARTER_MS

Spans = tuple[Int64Array, Int64Array]
"""Begins and ends of stretches of time that don't overlap, ascending, int64[s] each, in milliseconds."""


@dataclass(frozen=True, slots=True, eq=False)
class Holdings:
    """A tenant's tenures of one pack in order of time: from_ms, to_ms int64[t], number int32[t]."""

    from_ms: Int64Array
    to_ms: Int64Array
    number: Int32Array

    def holder_of(self, ts_ms: Int64Array) -> Int32Array:
        """Positions of the tenures that hold at these times, -1 for none."""
        if len(self.number) == 0:
            return np.full(len(ts_ms), -1, np.int32)
        place = np.searchsorted(self.from_ms, ts_ms, "right") - 1
        held = (place >= 0) & (ts_ms < self.to_ms[np.maximum(place, 0)])
        return np.where(held, place, -1).astype(np.int32)

    def place_of(self, number: Int32Array) -> Int32Array:
        """Positions of tenures by their numbers."""
        order = np.argsort(self.number)
        return order[np.searchsorted(self.number, number, sorter=order)].astype(np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class StoredDays:
    """Folded days of one pack: series int32[d], starts_ms and ends_ms int64[d], totals TOTAL[d]."""

    series: Int32Array
    starts_ms: Int64Array
    ends_ms: Int64Array
    totals: RecordArray


@dataclass(frozen=True, slots=True, eq=False)
class Sources:
    """Where the parts of from <= t < to come from: stored quarter-hours, and readings for all else."""

    quarters: Spans
    readings: Spans


def sources(bounds_ms: Int64Array, counted_before_ms: int, noted_ms: Int64Array) -> Sources:
    """What is taken from stored quarter-hours and what from readings (rule E16).

    bounds_ms int64[k + 1]: of the windows, the first and last cut to what was asked. A stored quarter-hour counts
    when it begins below the mark, has no note, and isn't cut by the end of a window.
    """
    from_ms, to_ms = int(bounds_ms[0]), int(bounds_ms[-1])
    first_ms = -(-from_ms // QUARTER_MS) * QUARTER_MS
    behind_ms = min(to_ms // QUARTER_MS * QUARTER_MS, counted_before_ms)
    if behind_ms <= first_ms:
        return Sources(_nowhere(), (bounds_ms[:1], bounds_ms[-1:]))
    inner_ms = bounds_ms[1:-1]
    cut_ms = inner_ms[inner_ms % QUARTER_MS != 0] // QUARTER_MS * QUARTER_MS
    unfit_ms = np.unique(np.concatenate([noted_ms, cut_ms]))
    unfit_ms = unfit_ms[(unfit_ms >= first_ms) & (unfit_ms < behind_ms)]
    read = _joined(
        np.concatenate([[from_ms], unfit_ms, [behind_ms]]),
        np.concatenate([[first_ms], unfit_ms + QUARTER_MS, [to_ms]]),
    )
    return Sources(without((np.array([first_ms]), np.array([behind_ms])), read), read)


def usable_days(days: StoredDays, bounds_ms: Int64Array, whole: Spans, holdings: Holdings) -> StoredDays:
    """Those of the stored days that stand for their quarter-hours.

    A day counts when it lies in one window and within stored quarter-hours, and when each tenure that holds in it
    has one with the same bounds: one that is missing may be waiting to be folded.
    """
    window = np.searchsorted(bounds_ms, days.starts_ms, "right") - 1
    good = (window >= 0) & (window < len(bounds_ms) - 1)
    good &= days.ends_ms <= bounds_ms[np.clip(window + 1, 0, len(bounds_ms) - 1)]
    span = np.searchsorted(whole[0], days.starts_ms, "right") - 1
    if len(whole[0]) == 0:
        good[:] = False
    else:
        good &= (span >= 0) & (days.ends_ms <= whole[1][np.maximum(span, 0)])
    holding = np.searchsorted(holdings.from_ms, days.ends_ms, "left") - np.searchsorted(
        holdings.to_ms, days.starts_ms, "right"
    )
    pairs = np.stack([days.starts_ms, days.ends_ms])
    bounds, pair, tenures = np.unique(pairs, axis=1, return_inverse=True, return_counts=True)
    pair = pair.reshape(-1)
    good &= tenures[pair] == holding
    # Days of two zones may overlap, after a change of zone: the one that begins first is taken.
    wanted = np.zeros(len(tenures), np.bool_)
    wanted[pair[good]] = True
    reached_ms = int(np.iinfo(np.int64).min)
    for place in np.flatnonzero(wanted).tolist():
        if bounds[0, place] < reached_ms:
            wanted[place] = False
        else:
            reached_ms = int(bounds[1, place])
    chosen = np.flatnonzero(good & wanted[pair])
    return StoredDays(days.series[chosen], days.starts_ms[chosen], days.ends_ms[chosen], days.totals[chosen])


def without(spans: Spans, taken: Spans) -> Spans:
    """Spans less those taken; both as in `Spans`, touching ones allowed.

    >>> [part.tolist() for part in without((np.array([0]), np.array([9])), (np.array([2, 4]), np.array([4, 5])))]
    [[0, 5], [2, 9]]
    """
    begins, ends = [], []
    for begin, end in zip(*(part.tolist() for part in spans), strict=True):
        reached = begin
        first, behind = np.searchsorted(taken[1], begin, "right"), np.searchsorted(taken[0], end, "left")
        for low, high in zip(taken[0][first:behind].tolist(), taken[1][first:behind].tolist(), strict=True):
            if low > reached:
                begins.append(reached)
                ends.append(low)
            reached = max(reached, high)
        if reached < end:
            begins.append(reached)
            ends.append(end)
    return np.array(begins, np.int64), np.array(ends, np.int64)


def widened(spans: Spans, gap_ms: int) -> Spans:
    """Spans with the margins in which a line's other end may lie."""
    return _joined(spans[0] - gap_ms, spans[1] + gap_ms)


def _joined(begins: Int64Array, ends: Int64Array) -> Spans:
    """Ascending spans with those that touch put together, and empty ones left out."""
    some = ends > begins
    begins, ends = begins[some], ends[some]
    if len(begins) == 0:
        return _nowhere()
    apart = np.append(True, begins[1:] > np.maximum.accumulate(ends)[:-1])
    first = np.flatnonzero(apart)
    return begins[first].astype(np.int64), np.maximum.reduceat(ends, first).astype(np.int64)


def _nowhere() -> Spans:
    return np.empty(0, np.int64), np.empty(0, np.int64)


def count_spans(readings: Columns, bounds_ms: Int64Array, spans: Spans, gap_ms: int) -> Records:
    """Records of the parts of windows, cut at quarter-hours too, that lie in the spans."""
    quarters = [
        np.arange(-(-begin // QUARTER_MS) * QUARTER_MS, end, QUARTER_MS)
        for begin, end in zip(*(part.tolist() for part in spans), strict=True)
    ]
    cuts = [bounds_ms, *spans, *quarters]
    found = count_windows(readings, np.unique(np.concatenate(cuts)), gap_ms)
    place = np.searchsorted(spans[0], found.starts_ms, "right") - 1
    return found.of((place >= 0) & (found.starts_ms < spans[1][np.maximum(place, 0)]))


def put_together(bounds_ms: Int64Array, quarters: Records, counted: Records, days: StoredDays) -> RecordArray:
    """TOTAL[k] of the windows bounds_ms[w] <= t < bounds_ms[w + 1], from parts that don't overlap."""
    series = np.concatenate([quarters.series, counted.series, days.series])
    starts_ms = np.concatenate([quarters.starts_ms, counted.starts_ms, days.starts_ms])
    totals = np.concatenate([totals_of(quarters), totals_of(counted), days.totals])
    order = np.lexsort((series, starts_ms))
    window = np.searchsorted(bounds_ms, starts_ms[order], "right") - 1
    return spread_over(*fold(totals[order], window), len(bounds_ms) - 1)
