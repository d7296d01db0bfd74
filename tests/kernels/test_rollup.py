"""The rollup kernel gives what its naive twin gives, at the extremes too."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregations.quarters import FLOW_FIELDS, QUARTER, Columns, Records, count_windows
from domain.measures import MEASURE_INDEX, MEASURES, THOUSANDTHS_PER_UNIT
from domain.readings import ABSENT
from domain.windows import QUARTER_MS
from kernels import lines
from kernels.flows import find_areas
from kernels.rollup import VALUE_MAX
from tests import naive_windows
from tests.kernels import naive_rollup

VOLTAGE, CURRENT = MEASURE_INDEX["voltage_v"], MEASURE_INDEX["current_a"]
COUNT = len(MEASURES)
Rows = naive_rollup.Rows


def columns(rows: Rows) -> Columns:
    return Columns(
        np.array([series for series, _, _ in rows], np.int32),
        np.array([ts_ms for _, ts_ms, _ in rows], np.int64),
        np.array(
            [[ABSENT if value is None else value for value in values] for _, _, values in rows], np.int32
        ).reshape(len(rows), COUNT).T.copy(),
    )  # fmt: skip


def plain(found: Records) -> dict[tuple[int, int], dict[str, Any]]:
    """Records by (series, start of the window), as the twin gives them."""
    plainly = {}
    for series, starts, record in zip(
        found.series.tolist(), found.starts_ms.tolist(), found.records, strict=True
    ):
        measures = []
        for measure in MEASURES:
            part = {name: int(record[measure.name][name]) for name in QUARTER[measure.name].names or ()}
            part["squares"], part["area"] = part.pop("sum_of_squares"), part.pop("twice_area")
            if part["count"] == 0:
                assert (part.pop("minimum"), part.pop("maximum")) == (2**31 - 1, -(2**31))
                assert not any(part.pop(name) for name in ("first", "last", "first_ms", "last_ms"))
            measures.append(part)
        others = {name: int(record[name]) for name in (*FLOW_FIELDS, "covered_ms", "energy_covered_ms")}
        plainly[series, starts] = {"measures": measures} | others
    return plainly


def assert_equal_to_twin(rows: Rows, bounds: list[int], gap_ms: int) -> None:
    expected = naive_rollup.rollup(rows, bounds, gap_ms, COUNT, VOLTAGE, CURRENT)
    found = plain(count_windows(columns(rows), np.array(bounds, np.int64), gap_ms))
    assert found == {(series, bounds[window]): record for (series, window), record in expected.items()}


def without_repeats(rows: Rows) -> Rows:
    """One value for each (series, time, measure), as the store has it."""
    seen: set[tuple[int, int, int]] = set()
    kept = []
    for series, ts_ms, values in rows:
        new = [None if (series, ts_ms, m) in seen else value for m, value in enumerate(values)]
        seen |= {(series, ts_ms, m) for m, value in enumerate(new) if value is not None}
        if any(value is not None for value in new):
            kept.append((series, ts_ms, new))
    return kept


near_zero = st.integers(-3, 3)
extreme = st.sampled_from([-VALUE_MAX, VALUE_MAX, VALUE_MAX - 1, 1, 0, -1, 123_457])
value = st.one_of(st.none(), near_zero, extreme, st.integers(-VALUE_MAX, VALUE_MAX))
few_measures = st.tuples(*([value] * 2), st.none(), value, value, st.none(), st.none()).map(list)


@given(
    rows=st.lists(st.tuples(st.integers(0, 2), st.integers(-30, 60), few_measures), max_size=25),
    cuts=st.sets(st.integers(-20, 50), min_size=2, max_size=8),
    gap_ms=st.integers(1, 40),
)
@settings(max_examples=400, deadline=None)
def test_e13_any_windows_equal_the_naive_twin(rows: Rows, cuts: set[int], gap_ms: int) -> None:
    assert_equal_to_twin(without_repeats(rows), sorted(cuts), gap_ms)


@given(
    rows=st.lists(st.tuples(st.integers(0, 1), st.integers(-900_000, 2_700_000), few_measures), max_size=20),
    gap_ms=st.sampled_from([300_000, 900_000]),
)
@settings(max_examples=300, deadline=None)
def test_e13_quarters_equal_the_naive_twin(rows: Rows, gap_ms: int) -> None:
    assert_equal_to_twin(without_repeats(rows), [0, QUARTER_MS, 2 * QUARTER_MS], gap_ms)


@given(
    rows=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4_000_000), few_measures), max_size=20),
    seed=st.randoms(use_true_random=False),
)
@settings(max_examples=100, deadline=None)
def test_order_and_split_of_rows_change_no_bit(rows: Rows, seed: Any) -> None:
    rows = without_repeats(rows)
    split = [
        (series, ts_ms, [v if m == kept else None for m, v in enumerate(values)])
        for series, ts_ms, values in rows
        for kept in range(COUNT)
        if values[kept] is not None
    ]
    seed.shuffle(split)
    bounds = np.arange(0, 5_000_000, QUARTER_MS, dtype=np.int64)
    one, other = (count_windows(columns(given), bounds, 300_000) for given in (rows, split))
    assert one.records.tobytes() == other.records.tobytes()
    assert one.starts_ms.tolist() == other.starts_ms.tolist()


large = st.integers(-(10**10), 10**10)


@given(first=large, last=large, duration=st.integers(1, 900_000), share=st.floats(0, 1))
@settings(max_examples=1000, deadline=None)
def test_areas_at_the_largest_powers_equal_fractions(
    first: int, last: int, duration: int, share: float
) -> None:
    until = round(duration * share)
    line = ((0, first), (duration, last))
    expected = naive_rollup.nearest(naive_rollup.twice_integral(*line, until))
    assert lines.twice_area(first, last, duration, until) == expected
    assert naive_windows.twice_area(*line, until) == expected
    above = naive_rollup.nearest(naive_rollup.twice_integral_above(*line, until))
    assert lines.twice_area_above(first, last, duration, until) == above
    assert naive_windows.twice_area_above(*line, until) == above


@pytest.mark.parametrize(
    ("first", "last"), [(10**10, -(10**10)), (-(10**10), 10**10), (10**10, -1), (-1, 10**10)]
)
@pytest.mark.parametrize("until", [0, 1, 449_999, 450_000, 450_001, 899_999, 900_000])
def test_areas_at_the_corners_equal_fractions(first: int, last: int, until: int) -> None:
    line = ((0, first), (900_000, last))
    above = naive_rollup.nearest(naive_rollup.twice_integral_above(*line, until))
    assert lines.twice_area_above(first, last, 900_000, until) == above
    assert naive_windows.twice_area_above(*line, until) == above


def test_measures_stay_within_the_bounds_of_the_kernel() -> None:
    largest = max(max(abs(one.minimum), abs(one.maximum)) for one in MEASURES)
    assert largest * THOUSANDTHS_PER_UNIT <= VALUE_MAX


@pytest.mark.parametrize(("voltage_mv", "current_ma"), [(1_500_000, 5_000_000), (2_000_000, -3_000_000)])
def test_e13_a_quarter_at_one_kilohertz_does_not_overflow(voltage_mv: int, current_ma: int) -> None:
    ts_ms = np.arange(QUARTER_MS, dtype=np.int64)
    thousandths = np.full((COUNT, QUARTER_MS), ABSENT, np.int32)
    thousandths[VOLTAGE], thousandths[CURRENT] = voltage_mv, current_ma
    given_ = Columns(np.zeros(QUARTER_MS, np.int32), ts_ms, thousandths)
    (record,) = count_windows(given_, np.array([0, QUARTER_MS]), 300_000).records
    voltage, current = record["voltage_v"], record["current_a"]
    assert voltage["sum"] == QUARTER_MS * voltage_mv
    assert int(voltage["sum_of_squares"]) == QUARTER_MS * voltage_mv**2
    assert int(current["sum_of_squares"]) == min(QUARTER_MS * current_ma**2, 2**63 - 1)
    assert current["twice_area"] == 2 * (QUARTER_MS - 1) * current_ma
    flow = 2 * (QUARTER_MS - 1) * abs(current_ma)
    assert (record["charged"], record["discharged"]) == ((flow, 0) if current_ma > 0 else (0, flow))
    energy = record["charged_energy"] + record["discharged_energy"]
    assert energy == 2 * (QUARTER_MS - 1) * abs(voltage_mv * current_ma) // 1000


def test_a_quarter_at_one_kilohertz_that_swings_between_the_extremes_equals_the_twin() -> None:
    rows: Rows = [
        (0, ts_ms, [None, None, None, 2_000_000, VALUE_MAX if ts_ms % 2 else -VALUE_MAX, None, None])
        for ts_ms in range(QUARTER_MS - 500, QUARTER_MS + 500)
    ]
    assert_equal_to_twin(rows, [0, QUARTER_MS, 2 * QUARTER_MS], 300_000)


every_measure = st.lists(
    st.one_of(near_zero, extreme, st.integers(-VALUE_MAX, VALUE_MAX)), min_size=7, max_size=7
)


@given(
    steps=st.lists(
        st.tuples(st.integers(0, 1), st.integers(1, 400_000), every_measure), min_size=1, max_size=25
    ),
    missing=st.sets(st.integers(0, COUNT - 1), max_size=2),
    holes=st.sets(st.tuples(st.integers(0, 24), st.integers(0, COUNT - 1)), max_size=2),
)
@settings(max_examples=300, deadline=None)
def test_e13_readings_of_every_measure_equal_the_naive_twin(
    steps: list[tuple[int, int, list[int]]], missing: set[int], holes: set[tuple[int, int]]
) -> None:
    rows: Rows = []
    ts_ms = -400_000
    for row, (series, duration, values) in enumerate(sorted(steps, key=lambda step: step[0])):
        ts_ms = -400_000 if row and rows[-1][0] != series else ts_ms + duration
        gone = missing | {measure for place, measure in holes if place == row}
        rows.append((series, ts_ms, [None if m in gone else value for m, value in enumerate(values)]))
    assert_equal_to_twin(rows, [0, QUARTER_MS, 2 * QUARTER_MS, 5 * QUARTER_MS], 300_000)


def random_columns(packs: int, readings: int, step_ms: int, absent: float) -> Columns:
    random = np.random.default_rng(7)
    count = packs * readings
    thousandths = random.integers(-VALUE_MAX, VALUE_MAX, (COUNT, count)).astype(np.int32)
    thousandths[random.random((COUNT, count)) < absent] = ABSENT
    thousandths[0, thousandths.max(axis=0) == ABSENT] = 1
    ts_ms = np.cumsum(random.integers(1, 2 * step_ms, (packs, readings)), axis=1).ravel()
    return Columns(np.repeat(np.arange(packs, dtype=np.int32), readings), ts_ms, thousandths)


@pytest.mark.parametrize("absent", [0, 0.001])
def test_e13_more_readings_than_a_piece_holds_equal_the_naive_twin(absent: float) -> None:
    given_ = random_columns(3, 700, 4_000, absent)
    rows: Rows = [
        (series, ts_ms, [None if value == ABSENT else value for value in values])
        for series, ts_ms, values in zip(
            given_.series.tolist(), given_.ts_ms.tolist(), given_.thousandths.T.tolist(), strict=True
        )
    ]
    assert_equal_to_twin(rows, [0, QUARTER_MS, 2 * QUARTER_MS], 7_000)


@pytest.mark.parametrize("absent", [0, 0.01])
def test_threads_change_no_bit(absent: float) -> None:
    given_ = random_columns(30, 12_000, 5_000, absent)
    bounds_ms = np.arange(QUARTER_MS, int(given_.ts_ms.max()), QUARTER_MS)
    one, *others = (count_windows(given_, bounds_ms, 9_000, threads) for threads in (1, 2, 3))
    for other in others:
        assert other.records.tobytes() == one.records.tobytes()
        assert other.series.tolist() == one.series.tolist()


@given(
    values=st.lists(
        st.one_of(near_zero, st.sampled_from([-(10**10), 10**10]), large), min_size=2, max_size=20
    ),
    duration=st.one_of(st.integers(1, 900_000), st.just(900_000)),
)
@settings(max_examples=1000, deadline=None)
def test_areas_of_lines_at_the_largest_powers_equal_fractions(values: list[int], duration: int) -> None:
    areas, above = np.zeros(len(values), np.int64), np.zeros(len(values), np.int64)
    find_areas(np.array(values), np.full(len(values), duration), areas, above)
    for place, (first, last) in enumerate(pairwise(values), 1):
        line = ((0, first), (duration, last))
        assert areas[place] == (first + last) * duration
        assert above[place] == naive_rollup.nearest(naive_rollup.twice_integral_above(*line, duration))
        turned = ((0, -first), (duration, -last))
        below = naive_rollup.nearest(naive_rollup.twice_integral_above(*turned, duration))
        assert above[place] - areas[place] == below
