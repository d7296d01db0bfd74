"""How a day's figures spread over the packs of a group."""

from typing import Final

import numpy as np
import numpy.typing as npt

from aggregations.quarters import RecordArray
from aggregations.windows import fold, whole
from domain.measures import MEASURE_NAMES, THOUSANDTHS_PER_UNIT
from domain.readings import Float64Array, Int32Array

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
