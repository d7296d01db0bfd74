"""The quick recount of windows gives what the slow, obvious one of the kernels' tests gives."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from domain.measures import MEASURE_INDEX, MEASURE_NAMES
from tests.faults.recount import Readings
from tests.kernels import naive_rollup

QUARTER_MS, GAP_MS = 900_000, 300_000

values = st.dictionaries(st.sampled_from(MEASURE_NAMES), st.integers(-800_000, 800_000), min_size=1)
moments = st.dictionaries(
    st.one_of(
        st.integers(0, 3 * QUARTER_MS),
        # On the bounds of windows, and as far from them as a line reaches.
        st.sampled_from([k * GAP_MS + offset for k in range(10) for offset in (-1, 0, 1) if k + offset >= 0]),
    ),
    values,
    max_size=25,
)


@settings(max_examples=150)
@given(moments)
def test_e13_quick_recount_equals_the_naive_one(readings: dict[int, dict[str, int]]) -> None:
    bounds = [k * QUARTER_MS for k in range(4)]
    rows = [(1, ts_ms, [found.get(name) for name in MEASURE_NAMES]) for ts_ms, found in readings.items()]
    voltage, current = MEASURE_INDEX["voltage_v"], MEASURE_INDEX["current_a"]
    expected = naive_rollup.rollup(rows, bounds, GAP_MS, len(MEASURE_NAMES), voltage, current)
    quick = Readings(readings)
    for window, (begin_ms, end_ms) in enumerate(pairwise(bounds)):
        assert quick.window(begin_ms, end_ms, GAP_MS) == expected.get((1, window))
