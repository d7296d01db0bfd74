"""The kernels that choose points give what their naive twins give, and keep what they promise."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.downsample import LTTB_POINTS_MIN, MIN_MAX_POINTS_MIN, lttb, min_max
from tests.kernels import naive_downsample

VALUES = st.one_of(st.integers(-3, 3), st.integers(-2_000_000_000, 2_000_000_000))
SERIES = st.lists(
    st.tuples(st.one_of(st.integers(1, 3), st.integers(1, 10**10)), VALUES), min_size=0, max_size=60
)


def columns(steps: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    ts_ms = 1_700_000_000_000 + np.cumsum(np.array([step for step, _ in steps], np.int64), dtype=np.int64)
    return ts_ms, np.array([value for _, value in steps], np.int32)


@given(SERIES, st.integers(LTTB_POINTS_MIN, 70))
@settings(max_examples=300, deadline=None)
def test_lttb_equals_the_naive_twin(steps: list[tuple[int, int]], points: int) -> None:
    ts_ms, values = columns(steps)
    expected = naive_downsample.lttb(list(zip(ts_ms.tolist(), values.tolist(), strict=True)), points)
    chosen = lttb(ts_ms, values, points).tolist()
    assert chosen == expected
    assert len(chosen) == min(points, len(steps))
    assert chosen == sorted(set(chosen))


@given(SERIES, st.integers(MIN_MAX_POINTS_MIN, 70))
@settings(max_examples=300, deadline=None)
def test_min_max_equals_the_naive_twin_and_loses_no_extreme(
    steps: list[tuple[int, int]], points: int
) -> None:
    _, values = columns(steps)
    chosen = min_max(values, points).tolist()
    assert chosen == naive_downsample.min_max(values.tolist(), points)
    assert len(chosen) <= points
    if steps:
        kept = values[chosen]
        assert (kept.min(), kept.max()) == (values.min(), values.max())
        assert {chosen[0], chosen[-1]} == {0, len(values) - 1}


def test_lttb_draws_a_spike_between_flat_lines() -> None:
    values = np.zeros(1001, np.int32)
    values[500] = 1000
    ts_ms = np.arange(1001, dtype=np.int64) * 1000
    assert 500 in lttb(ts_ms, values, 20).tolist()
