"""The simulated circuit gives what its naive twin gives, and keeps what physics keeps."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.measures import MEASURES
from kernels.battery import Given, State, advance
from tests.kernels.naive_battery import NaivePack

CURVE_V = [3.0, 3.4, 3.6, 3.7, 3.9, 4.2]


def share(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_subnormal=False)


GIVEN = st.tuples(
    share(5, 500), share(0.5, 1.1), st.integers(1, 300).map(float), share(1e-4, 1e-2), share(1e-4, 1e-2),
    share(5, 300), share(0, 4000), share(2, 3), share(4, 4.5), share(1e3, 1e6), share(0.01, 1), share(0, 1e-3),
    share(0, 0.1), share(0, 5000), share(0, 3), share(0, 0.2),
)  # fmt: skip
STATE = st.tuples(share(0, 1), share(-0.1, 0.1), share(-20, 60), share(0, 0.5), share(0, 0.25))
STEPS = st.lists(st.tuples(share(0.1, 3600), share(-2000, 2000), share(-30, 45)), min_size=1, max_size=6)


@given(GIVEN, STATE, STEPS)
@settings(max_examples=200, deadline=None)
def test_steps_equal_the_naive_twin(
    made: tuple[float, ...], stands: tuple[float, ...], steps: list[tuple[float, float, float]]
) -> None:
    naive = NaivePack(list(made), list(stands), CURVE_V)
    given_ = np.ascontiguousarray(np.tile(np.array(made)[:, np.newaxis], 3))
    state = np.ascontiguousarray(np.tile(np.array(stands)[:, np.newaxis], 3))
    measured = np.empty((len(MEASURES), 3))
    for dt_s, wanted_a, ambient_c in steps:
        expected = naive.advance(dt_s, wanted_a, ambient_c)
        advance(dt_s, np.full(3, wanted_a), np.full(3, ambient_c), np.zeros(3, np.int64), np.array([CURVE_V]), given_, state, measured)  # fmt: skip
        for pack in range(3):
            np.testing.assert_allclose(measured[:, pack], expected, rtol=1e-9, atol=1e-9)
            np.testing.assert_allclose(state[:, pack], naive.state, rtol=1e-9, atol=1e-12)


def test_rows_are_those_that_the_kernel_reads() -> None:
    assert [int(row) for row in Given] == list(range(16))
    assert [int(row) for row in State] == list(range(5))
