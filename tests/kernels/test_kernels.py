"""Each kernel gives what its naive twin gives."""

import json

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.readings import to_thousandths
from kernels import identity, jsontext, pgcopy
from kernels import latest as latest_kernels
from kernels.holders import find_tenures
from kernels.scaling import thousandths_of
from kernels.touched import touched_windows
from tests.kernels import naive

MEASURES = 3
Rows = list[tuple[int, int, list[int]]]

values = st.lists(st.sampled_from([naive.ABSENT, 0, 1, -7]), min_size=MEASURES, max_size=MEASURES)
rows_strategy = st.lists(st.tuples(st.integers(0, 3), st.integers(-3, 3), values), max_size=25)


def columns(rows: Rows) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    return (
        np.array([pack for pack, _, _ in rows], np.int32),
        np.array([ts for _, ts, _ in rows], np.int64),
        np.array([list(column) for column in zip(*(v for _, _, v in rows), strict=True)], np.int32).reshape(
            MEASURES, len(rows)
        ),
    )


@given(stored=rows_strategy, arriving=rows_strategy)
@settings(max_examples=200, deadline=None)
def test_classify_equals_the_naive_twin(stored: Rows, arriving: Rows) -> None:
    pack, ts_ms, thousandths = columns(stored + arriving)
    fresh, conflicting = identity.classify(pack, ts_ms, thousandths, len(stored))
    expected = naive.classify(stored + arriving, len(stored))
    assert list(zip(fresh.tolist(), conflicting.tolist(), strict=True)) == expected


@given(rows=rows_strategy)
@settings(max_examples=100, deadline=None)
def test_latest_equals_the_naive_twin_in_any_split(rows: Rows) -> None:
    pack, ts_ms, thousandths = columns(rows)
    for cut in (0, len(rows) // 2):
        watermark = np.full(4, np.iinfo(np.int64).min, np.int64)
        times = np.full((MEASURES, 4), np.iinfo(np.int64).min, np.int64)
        found = np.full((MEASURES, 4), naive.ABSENT, np.int32)
        for part in (slice(0, cut), slice(cut, len(rows))):
            latest_kernels.advance(
                pack[part], ts_ms[part], np.ascontiguousarray(thousandths[:, part]), watermark, times, found
            )
        for which, (highest, by_measure) in naive.latest(rows).items():
            assert watermark[which] == highest
            for measure, best in enumerate(by_measure):
                if best is None:
                    assert found[measure, which] == naive.ABSENT
                else:
                    assert (times[measure, which], found[measure, which]) == best


@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 2**31 - 1),
            st.integers(0, 2**31 - 1),
            st.integers(-(2**42), 2**42),
            st.integers(0, 2**62),
            st.integers(0, 2**31 - 1),
            st.lists(st.none() | st.floats(width=32, allow_nan=False), min_size=MEASURES, max_size=MEASURES),
        ),
        max_size=10,
    )
)
@settings(max_examples=100, deadline=None)
def test_copy_rows_equal_the_naive_twin(
    rows: list[tuple[int, int, int, int, int, list[float | None]]],
) -> None:
    encoded = pgcopy.encode_rows(
        np.array([row[0] for row in rows], np.int32),
        np.array([row[1] for row in rows], np.int32),
        np.array([row[2] for row in rows], np.int64),
        np.array([row[3] for row in rows], np.int64),
        np.array([row[4] for row in rows], np.int32),
        np.array(
            [[np.nan if row[5][m] is None else row[5][m] for row in rows] for m in range(MEASURES)],
            np.float32,
        ).reshape(MEASURES, len(rows)),
    )
    assert encoded.tobytes() == b"".join(naive.encode_row(*row) for row in rows)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(value=json_values)
@settings(max_examples=200, deadline=None)
def test_members_are_counted_at_any_depth(value: object) -> None:
    for text in (json.dumps(value).encode(), json.dumps(value, ensure_ascii=False).encode()):
        assert jsontext.members_of(text) == naive.count_members(text)


def test_repeated_names_are_counted_each() -> None:
    assert jsontext.members_of(b'{"a":1,"a":{"\\":":2,"b":"\\\\"}}') == 4


@given(rows=rows_strategy)
@settings(max_examples=100, deadline=None)
def test_order_is_stable_and_by_pack_and_time(rows: Rows) -> None:
    pack, ts_ms, _ = columns(rows)
    order = identity.sorted_order(pack, ts_ms).tolist()
    assert order == sorted(range(len(rows)), key=lambda row: (rows[row][0], rows[row][1]))


@given(
    rows=st.lists(
        st.tuples(st.integers(1, 2), st.integers(0, 2), st.integers(-40, 60), st.integers(0, 2)), max_size=20
    ),
    reach_ms=st.integers(0, 10),
    before=st.integers(-3, 4),
)
@settings(max_examples=200, deadline=None)
def test_e15_touched_windows_equal_the_naive_twin(
    rows: list[tuple[int, int, int, int]], reach_ms: int, before: int
) -> None:
    rows.sort(key=lambda row: (row[1], row[2]))
    tenant, pack, ts_ms, batch = (
        np.array([row[column] for row in rows], kind)
        for column, kind in enumerate((np.int32, np.int32, np.int64, np.int32))
    )
    row_of, starts = touched_windows(
        tenant, pack, ts_ms, batch, reach_ms=reach_ms, window_ms=10, before_ms=10 * before
    )
    found = list(
        zip(
            tenant[row_of].tolist(),
            pack[row_of].tolist(),
            batch[row_of].tolist(),
            starts.tolist(),
            strict=True,
        )
    )
    assert len(set(found)) == len(found)
    assert set(found) == naive.touched_windows(rows, reach_ms, 10, 10 * before)


@given(st.lists(st.one_of(st.just(float("nan")), st.floats(-2_000_000, 2_000_000, width=32)), max_size=40))
def test_thousandths_of_stored_values_are_those_of_the_domain(values: list[float]) -> None:
    stored = np.array([values, values[::-1]], np.float32)
    assert thousandths_of(stored).tolist() == to_thousandths(stored).tolist()


@given(
    readings=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9), st.integers(0, 40)), max_size=20),
    tenures=st.dictionaries(
        st.integers(0, 9), st.lists(st.tuples(st.integers(0, 2), st.integers(1, 15)), max_size=3)
    ),
)
def test_tenures_are_found_where_a_search_of_all_finds_them(
    readings: list[tuple[int, int, int]], tenures: dict[int, list[tuple[int, int]]]
) -> None:
    holdings = []
    for pack, held in sorted(tenures.items()):
        begins = 0
        for tenant, duration in held:
            holdings.append((tenant, pack, begins, begins + duration))
            begins += duration
    expected = [
        next(
            (
                place
                for place, (of_tenant, of_pack, begins, ends) in enumerate(holdings)
                if (of_tenant, of_pack) == (tenant, pack) and begins <= ts < ends
            ),
            -1,
        )
        for tenant, pack, ts in readings
    ]
    found = np.empty(len(readings), np.int32)
    of_readings = np.array(readings, np.int64).reshape(-1, 3).T.copy()
    of_tenures = np.array(holdings, np.int64).reshape(-1, 4).T.copy()
    tenant, pack = of_readings[:2].astype(np.int32)
    of_tenant, of_pack = of_tenures[:2].astype(np.int32)
    find_tenures(tenant, pack, of_readings[2], of_tenant, of_pack, *of_tenures[2:], found)
    assert found.tolist() == expected
