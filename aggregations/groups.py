"""How figures of a window spread over the packs of a group, and which days can't be taken as they are stored."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from aggregations.calendars import first_moment
from aggregations.quarters import RecordArray
from aggregations.windows import fold, whole
from domain.clock import to_ms
from domain.measures import MEASURE_NAMES, THOUSANDTHS_PER_UNIT
from domain.readings import BoolArray, Float64Array, Int32Array, Int64Array

PERCENTILES: Final = (5, 25, 50, 75, 95)
FIGURES: Final = ("min", "mean", "max")

_PACK_BITS: Final = 32
_EXACT_HIGH: Final = 1 << 20
_EXACT_COUNT: Final = 1 << 40
"""Below these a sum and a count of thousandths are less than 2**53."""

GroupRecord = npt.NDArray[np.float64]


def percentiles_of(pack: Int32Array, totals: RecordArray) -> tuple[int, GroupRecord]:
    """The number of packs, and percentiles over them: float64[measures, figures, percentiles], NaN for none.

    pack int32[n], totals TOTAL[n] of their window, several of a pack in order of time: they are put together first.
    Between two packs percentiles are interpolated linearly.
    """
    if len(pack) == 0:
        return 0, np.full((len(MEASURE_NAMES), len(FIGURES), len(PERCENTILES)), np.nan)
    _, packs, records = percentiles_each(np.zeros(len(pack), np.int64), pack, totals)
    return int(packs[0]), records[0]


def percentiles_each(
    window: Int64Array, pack: Int32Array, totals: RecordArray
) -> tuple[Int64Array, Int64Array, GroupRecord]:
    """`percentiles_of` for each of some windows: those that have packs, ascending, how many, and their percentiles.

    window int64[n], 0 <= window < 2**31. Gives int64[w], int64[w] and float64[w, measures, figures, percentiles].
    """
    keys, by_pack = fold(totals, (window << _PACK_BITS) + pack)
    windows, place, packs = np.unique(keys >> _PACK_BITS, return_inverse=True, return_counts=True)
    found = np.full((len(windows), len(MEASURE_NAMES), len(FIGURES), len(PERCENTILES)), np.nan)
    for measure, name in enumerate(MEASURE_NAMES):
        some = by_pack[name]["count"] > 0
        for figure, values in enumerate(_figures(by_pack[name][some])):
            found[:, measure, figure] = _percentiles(place[some], values, len(windows))
    return windows, packs, found


def _percentiles(place: Int64Array, values: Float64Array, count: int) -> Float64Array:
    """float64[count, percentiles] of the values at each place, NaN for none: to the bit as `numpy.percentile`."""
    ordered = values[np.lexsort((values, place))]
    sizes = np.bincount(place, minlength=count)[:, None]
    if len(ordered) == 0:
        return np.full((count, len(PERCENTILES)), np.nan)
    behind = np.cumsum(sizes)[:, None]
    rank = (sizes - 1) * (np.array(PERCENTILES) / 100)
    low = np.maximum(np.floor(rank), 0)
    share = rank - low
    first = np.minimum(behind - sizes + low.astype(np.int64), len(ordered) - 1)
    lower, upper = ordered[first], ordered[np.maximum(np.minimum(first + 1, behind - 1), 0)]
    between = upper - lower
    found = np.where(share < 0.5, lower + between * share, upper - between * (1 - share))  # noqa: PLR2004 - nearer end
    return np.where(sizes > 0, found, np.nan)


def _figures(part: RecordArray) -> tuple[Float64Array, Float64Array, Float64Array]:
    return (
        part["minimum"] / THOUSANDTHS_PER_UNIT,
        _means(part),
        part["maximum"] / THOUSANDTHS_PER_UNIT,
    )


def _means(part: RecordArray) -> Float64Array:
    """The float64 nearest to each mean: a quotient of whole numbers that floats hold is so by itself."""
    if (np.abs(part["sum_high"]) < _EXACT_HIGH).all() and (part["count"] < _EXACT_COUNT).all():
        total = part["sum_high"] * (1 << 32) + part["sum_low"]
        found: Float64Array = total / (part["count"] * THOUSANDTHS_PER_UNIT)
        return found
    total, count = whole(part, "sum"), part["count"].astype(object)
    return np.array(
        [one / (other * THOUSANDTHS_PER_UNIT) for one, other in zip(total, count, strict=True)], np.float64
    )


def group_record_from_bytes(packed: bytes) -> GroupRecord:
    """A stored record of `percentiles_of`."""
    return np.frombuffer(packed, np.float64).reshape(len(MEASURE_NAMES), len(FIGURES), len(PERCENTILES))


_REACH_MS: Final = 16 * 3_600_000
"""No zone's clock was ever further from UTC."""

_DAY_MS: Final = 86_400_000


def spans_around(days_ms: Int64Array) -> Int64Array:
    """int64[d, 2]: a span in which each day lies, wherever in the world it is.

    days_ms int64[d]: where the days begin in UTC.
    """
    return np.stack([days_ms - _REACH_MS, days_ms + _DAY_MS + _REACH_MS], axis=1)


def doubtful(
    spans_ms: Int64Array, waiting: BoolArray, counted_before_ms: int, noted_ms: Int64Array
) -> BoolArray:
    """bool[d]: whether what is stored of a group's day may be behind the readings (rule E16).

    spans_ms int64[d, 2]: a span in which the day of each pack lies. waiting bool[d]: whether it is to be folded
    again. noted_ms int64[n], ascending: quarter-hours of the group's packs that are to be counted again.
    """
    first, behind = (np.searchsorted(noted_ms, spans_ms[:, end], "left") for end in (0, 1))
    return waiting | (spans_ms[:, 1] > counted_before_ms) | (first < behind)


@dataclass(frozen=True, slots=True, eq=False)
class Days:
    """Successive days wherever they are, d of them: the first, and where each begins in some zones.

    edges_ms int64[zones, d + 1], with the end of the last day.
    """

    first: date
    edges_ms: Int64Array

    def __len__(self) -> int:
        return int(self.edges_ms.shape[1]) - 1

    @property
    def behind(self) -> date:
        return self.first + timedelta(days=len(self))

    def day_of(self, zone: Int32Array, moments_ms: Int64Array) -> Int64Array:
        """int64[n]: positions of the days that hold some moments in their zones; -1 before all, d behind."""
        found = np.empty(len(zone), np.int64)
        for place in np.unique(zone).tolist():
            of = zone == place
            found[of] = np.searchsorted(self.edges_ms[place], moments_ms[of], "right") - 1
        return found


def days_of(first: date, behind: date, zones: Sequence[ZoneInfo]) -> Days:
    """The days first <= day < behind in zones."""
    dates = [first + timedelta(days=n) for n in range((behind - first).days + 1)]
    edges = [[to_ms(first_moment(datetime.combine(day, time()), zone)) for day in dates] for zone in zones]
    return Days(first, np.array(edges, np.int64).reshape(len(zones), len(dates)))


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """Successive days of one tenure each, s runs in order of (tenure, day).

    tenure int32[s], a position. starts_ms, ends_ms int64[s]. run_of int64[t, d]: which run a day is in, -1 for none.
    """

    tenure: Int32Array
    starts_ms: Int64Array
    ends_ms: Int64Array
    run_of: Int64Array


def runs_of(days: Days, zone: Int32Array, wanted: BoolArray) -> Runs:
    """The wanted days bool[t, d] of tenures, put together where they touch. zone int32[t]: of each tenure."""
    bordered = np.zeros((len(wanted), len(days) + 2), np.int8)
    bordered[:, 1:-1] = wanted
    change = np.diff(bordered, axis=1)
    (tenure, first), (_, behind) = np.nonzero(change == 1), np.nonzero(change == -1)
    number = np.cumsum(change[:, :-1].ravel() == 1).reshape(wanted.shape) - 1
    edges_ms = days.edges_ms[zone[tenure]]
    rows = np.arange(len(tenure))
    return Runs(
        tenure.astype(np.int32), edges_ms[rows, first], edges_ms[rows, behind], np.where(wanted, number, -1)
    )


@dataclass(frozen=True, slots=True, eq=False)
class Notes:
    """Quarter-hours that are to be counted again, n of them in order of (pack, start).

    pack int32[n], starts_ms int64[n].
    """

    pack: Int32Array
    starts_ms: Int64Array

    def __len__(self) -> int:
        return len(self.pack)

    def among(self, pack: Int32Array, starts_ms: Int64Array) -> BoolArray:
        """bool[k]: which of these quarter-hours, pack int32[k] and starts_ms int64[k], are noted."""
        pair = np.dtype([("pack", "<i4"), ("starts", "<i8")])
        given, noted = np.empty(len(pack), pair), np.empty(len(self), pair)
        given["pack"], given["starts"] = pack, starts_ms
        noted["pack"], noted["starts"] = self.pack, self.starts_ms
        return np.isin(given, noted)

    def touch(self, pack: Int32Array, from_ms: Int64Array, to_ms: Int64Array) -> BoolArray:
        """bool[t]: whether a note lies in from <= t < to of a pack.

        pack int32[t], ascending, with several spans of one pack where it moved. from_ms and to_ms int64[t].
        """
        touched = np.zeros(len(pack), np.bool_)
        place, behind = np.searchsorted(pack, self.pack), np.searchsorted(pack, self.pack, "right")
        left = np.flatnonzero(place < behind)
        # The first span of each note's pack, then the next ones.
        while len(left):
            at, moment_ms = place[left], self.starts_ms[left]
            touched[at[(from_ms[at] <= moment_ms) & (moment_ms < to_ms[at])]] = True
            place[left] += 1
            left = left[place[left] < behind[left]]
        return touched
