"""Points that are sought by what windows know of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregations.quarters import Columns, count_windows
from aggregations.trends import POINTS_MIN, Method, chosen_rows, sought
from aggregations.windows import TOTAL, fold, spread_over, totals_of
from domain.measures import MEASURE_INDEX, MEASURES
from domain.readings import ABSENT
from domain.windows import QUARTER_MS
from kernels.downsample import lttb, min_max

FIRST_MS = 1_700_000_100_000 // QUARTER_MS * QUARTER_MS
READINGS = st.lists(
    st.tuples(st.integers(0, 20 * QUARTER_MS - 1), st.integers(-50, 50)), min_size=1, max_size=80
)


@given(READINGS, st.integers(POINTS_MIN, 60), st.sampled_from(Method))
@settings(max_examples=150, deadline=None)
def test_points_of_windows_stand_in_them_within_the_budget_and_keep_ends_and_extremes(
    given_readings: list[tuple[int, int]], points: int, method: Method
) -> None:
    by_time = dict(sorted(given_readings))
    ts_ms, values = (
        np.array(list(part), kind) for part, kind in ((by_time, np.int64), (by_time.values(), np.int32))
    )
    ts_ms += FIRST_MS
    thousandths = np.full((len(MEASURES), len(ts_ms)), ABSENT, np.int32)
    thousandths[MEASURE_INDEX["voltage_v"]] = values
    bounds_ms = FIRST_MS + QUARTER_MS * np.arange(21)
    records = count_windows(Columns(np.zeros(len(ts_ms), np.int32), ts_ms, thousandths), bounds_ms, 300_000)
    window = np.searchsorted(bounds_ms, records.starts_ms, "right") - 1
    totals = spread_over(*fold(totals_of(records), window), 20)
    found = sought(bounds_ms, totals["voltage_v"], points, method)
    assert len(found.ts_ms) + len(found.starts_ms) <= points
    assert found.ts_ms[[0, -1]].tolist() == ts_ms[[0, -1]].tolist()
    for starts, ends, value in zip(found.starts_ms, found.ends_ms, found.thousandths, strict=True):
        inside = values[(ts_ms >= starts) & (ts_ms < ends)]
        assert value in (inside.min(), inside.max())
    if method is Method.MIN_MAX:
        assert {values.min(), values.max()} <= set(found.thousandths.tolist())


def test_nothing_is_sought_in_windows_without_readings() -> None:
    found = sought(np.arange(4, dtype=np.int64), np.zeros(3, TOTAL)["voltage_v"], 10, Method.LTTB)
    assert len(found.ts_ms) == len(found.starts_ms) == 0


@pytest.mark.parametrize("method", Method)
def test_rows_are_those_of_any_measure_each_within_its_budget(method: Method) -> None:
    random = np.random.default_rng(5)
    ts_ms = np.cumsum(random.integers(1, 9, 500))
    thousandths = random.integers(0, 1000, (2, 500)).astype(np.int32)
    thousandths[random.random((2, 500)) < 0.4] = ABSENT
    expected: set[int] = set()
    for values in thousandths:
        some = np.flatnonzero(values != ABSENT)
        rows = lttb(ts_ms[some], values[some], 20) if method is Method.LTTB else min_max(values[some], 20)
        assert len(rows) <= 20
        expected |= set(some[rows].tolist())
    assert chosen_rows(ts_ms, thousandths, 20, method).tolist() == sorted(expected)
