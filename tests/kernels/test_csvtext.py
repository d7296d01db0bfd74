"""The scan of CSV against its naive twin."""

import csv

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kernels import csvtext
from tests.kernels import naive_csv

TEXTS = st.text(st.sampled_from('a,"\n\r\0 é'), max_size=24)


@given(TEXTS, st.integers(1, 3))
@example('"a""b",c', 2)
@example('a"b', 1)
@example('"a"b', 1)
@example('"a', 1)
@example('"a\r\n"\r\n\r\nb\r', 1)
def test_records_are_found_where_the_twin_finds_them(text: str, cells: int) -> None:
    body = text.encode()
    starts, ends, problem = csvtext.records_of(body, cells, 100)
    found = naive_csv.records(text, cells)
    assert (problem == csvtext.FINE) == (found is not None)
    if found is not None:
        pieces = [body[start:end].decode() for start, end in zip(starts, ends, strict=True)]
        assert [next(csv.reader([piece], strict=True)) for piece in pieces] == found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"a,b\0", csvtext.NUL),
        (b'a,b"c', csvtext.QUOTE_WITHIN),
        (b'"a"b,c', csvtext.BEHIND_QUOTE),
        (b'a,"b', csvtext.NEVER_CLOSED),
        (b"a,b,c", csvtext.RAGGED),
        (b"a", csvtext.RAGGED),
    ],
)
def test_problem_is_named_with_the_records_before_it(text: bytes, problem: int) -> None:
    starts, _, found = csvtext.records_of(b"x,y\n" + text, 2, 10)
    assert (len(starts), found) == (1, problem)


def test_scan_stops_at_as_many_records_as_are_asked_for() -> None:
    starts, _, problem = csvtext.records_of(b"a\nb\nc\n" * 1000 + b'"', 1, 2)
    assert (starts.tolist(), problem) == ([0, 2], csvtext.FINE)
