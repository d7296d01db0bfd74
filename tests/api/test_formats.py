"""Which format Accept chooses, and CSV that no spreadsheet runs."""

import csv
import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from api import spreadsheet
from api.routing import CSV, JSON, NDJSON, chosen_format
from domain.errors import NotAcceptableError

CHOSEN = {
    "*/*": JSON,
    "text/csv": CSV,
    "TEXT/CSV; charset=utf-8": CSV,
    "text/*": CSV,
    "application/*": JSON,
    "application/json;q=0.5, text/csv;q=0.8": CSV,
    "application/json, text/csv;q=0.999": JSON,
    "application/json;q=0, */*": CSV,
    "*/*;q=0.1, application/x-ndjson": NDJSON,
    "text/csv;q=0, text/*": None,
    "text/html, application/xhtml+xml, */*;q=0.8": JSON,
    "text/html": None,
    "text/csv;q=2": None,
    "text/csv;q=-1": None,
    "text/csv;q=nan, application/x-ndjson;q=0.001": NDJSON,
    "text/csv;q=0.0001": None,
    "*/*;q=0": None,
    "csv": None,
    ",,": None,
}


@pytest.mark.parametrize("accept", CHOSEN)
def test_the_most_exact_range_weighs_a_format_and_the_heaviest_is_chosen(accept: str) -> None:
    request = Request({"type": "http", "headers": [(b"accept", accept.encode())]})
    expected = CHOSEN[accept]
    if expected is None:
        with pytest.raises(NotAcceptableError):
            chosen_format(request, JSON, CSV, NDJSON)
    else:
        assert chosen_format(request, JSON, CSV, NDJSON) == expected


def test_several_accept_headers_are_one() -> None:
    headers = [(b"accept", b"text/csv;q=0.5"), (b"accept", b"application/json;q=0.4")]
    assert chosen_format(Request({"type": "http", "headers": headers}), JSON, CSV) == CSV


def test_without_accept_the_first_format_is_given() -> None:
    assert chosen_format(Request({"type": "http", "headers": []}), NDJSON, JSON) == NDJSON


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.builds(lambda first, rest: first + rest, st.sampled_from("=+-@\t\r"), st.text(max_size=5)),
)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(rows=st.lists(st.lists(VALUES, min_size=2, max_size=4), max_size=5))
def test_no_cell_begins_a_formula_and_every_cell_can_be_read_back(rows: list[list[Any]]) -> None:
    text = spreadsheet.lines(rows).decode()
    read = list(csv.reader(io.StringIO(text, newline="")))
    assert len(read) == len(rows)
    for cells, values in zip(read, rows, strict=True):
        for cell, value in zip(cells, values, strict=True):
            if isinstance(value, str):
                assert cell in (value, f"'{value}")
                assert cell[:1] not in tuple("=+@\t\r")
                assert cell[:1] != "-" or float(cell) <= 0
            elif isinstance(value, int | float) and not isinstance(value, bool):
                assert float(cell) == value
            else:
                assert cell in ("", "true", "false")
