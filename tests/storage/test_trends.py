"""Points of a trend put together from rows."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from domain.readings import ABSENT
from storage.trends import _one_point_a_time

ROWS = st.lists(
    st.tuples(
        st.integers(0, 5), st.lists(st.one_of(st.just(ABSENT), st.integers(-9, 9)), min_size=2, max_size=2)
    ),
    min_size=1,
    max_size=30,
)


@given(ROWS)
def test_measures_that_came_one_by_one_are_one_point_of_their_time(rows: list[tuple[int, list[int]]]) -> None:
    rows.sort(key=lambda row: row[0])
    wanted: dict[int, list[int]] = {}
    for ts_ms, values in rows:
        wanted[ts_ms] = [max(pair) for pair in zip(wanted.get(ts_ms, values), values, strict=True)]
    ts_ms, thousandths = _one_point_a_time(
        np.array([row[0] for row in rows], np.int64), np.array([row[1] for row in rows], np.int32).T
    )
    assert ts_ms.tolist() == list(wanted)
    assert thousandths.T.tolist() == list(wanted.values())
    assert thousandths.dtype == np.int32
