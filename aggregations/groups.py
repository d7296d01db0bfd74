"""How a day's figures spread over the packs of a group, and which days can't be taken as they are stored."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from aggregations.quarters import RecordArray
from aggregations.windows import fold, whole
from domain.measures import MEASURE_NAMES, THOUSANDTHS_PER_UNIT
from domain.readings import BoolArray, Float64Array, Int32Array, Int64Array

PERCENTILES: Final = (5, 25, 50, 75, 95)
FIGURES: Final = ("min", "mean", "max")

GroupRecord = npt.NDArray[np.float64]


def percentiles_of(pack: Int32Array, totals: RecordArray) -> tuple[int, GroupRecord]:
    """The number of packs, and percentiles over them: float64[measures, figures, percentiles], NaN for none.

    pack int32[n], totals TOTAL[n] of their day, several of a pack in order of time: they are put together first.
    Between two packs percentiles are interpolated linearly.
    """
    packs, by_pack = fold(totals, pack.astype(np.int64))
    found = np.full((len(MEASURE_NAMES), len(FIGURES), len(PERCENTILES)), np.nan)
    for measure, name in enumerate(MEASURE_NAMES):
        some = by_pack[by_pack[name]["count"] > 0]
        if len(some):
            for figure, values in enumerate(_figures(some[name])):
                found[measure, figure] = np.percentile(values, PERCENTILES)
    return len(packs), found


def _figures(part: RecordArray) -> tuple[Float64Array, Float64Array, Float64Array]:
    total, count = whole(part, "sum"), part["count"].astype(object)
    means = [one / (other * THOUSANDTHS_PER_UNIT) for one, other in zip(total, count, strict=True)]
    return (
        part["minimum"] / THOUSANDTHS_PER_UNIT,
        np.array(means, np.float64),
        part["maximum"] / THOUSANDTHS_PER_UNIT,
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
