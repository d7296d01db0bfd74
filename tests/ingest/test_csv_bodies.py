"""CSV bodies as columns."""

import numpy as np
import pytest

from domain.errors import BodyTooLargeError, BodyUnreadableError
from domain.key_aliases import KeyAlias, key_aliases
from domain.measures import MEASURE_INDEX
from ingest.bodies.csv_text import HEADER_BYTES_MAX, read_csv
from ingest.columns import BodyLimits, RawReadings

LIMITS = BodyLimits(readings_max=5, ignored_keys_max=3, pack_name_characters_max=10)
VOLTAGE = MEASURE_INDEX["voltage_v"]


def read(text: str) -> RawReadings:
    return read_csv(text.encode(), LIMITS)


def reasons(raw: RawReadings) -> list[tuple[int, str, str | None]]:
    return [(problem.index, problem.reason.value, problem.field) for problem in raw.problems]


def test_good_rows_are_columns_in_order() -> None:
    raw = read('ts,pack,voltage_v\r\n2026-01-01T00:00:00.0019Z,"P,1",3.5\r\n1767225600001,P2,\r\n')
    assert raw.pack_names == ("P,1", "P2")
    assert raw.ts_ms.tolist() == [1_767_225_600_001] * 2
    assert raw.values[VOLTAGE].tolist()[0] == 3.5
    assert np.isnan(raw.values[VOLTAGE][1])
    assert (raw.received, raw.problems) == (2, ())


def test_byte_order_mark_empty_lines_and_quoted_line_ends_are_read() -> None:
    raw = read('\ufeff\n\npack,ts,voltage_v,note\r\rP,1,2,"a\nb"\n\n\nP,2,3,\n')
    assert raw.ts_ms.tolist() == [1, 2]
    assert raw.raw_of(0) == 'pack,ts,voltage_v,note\nP,1,2,"a\nb"'
    assert raw.ignored_keys == ("note",)


def test_header_alone_is_no_reading() -> None:
    assert read("pack,ts\n").received == 0


@pytest.mark.parametrize("number", ["0", "-0", "1", "-12.5", "3e2", "1E-2", "0.1e+3"])
def test_numbers_are_those_of_json(number: str) -> None:
    raw = read(f"pack,ts,voltage_v\nP,1,{number}\n")
    assert raw.values[VOLTAGE].tolist() == [float(number)]


@pytest.mark.parametrize(
    "text", ["nan", "NaN", "inf", "-Infinity", "1_000", "0x10", "+1", "01", ".5", "5.", "1e", " 1", "1 ", "\u0661", '"1,5"', "true", "null", "1\u00a0000"]
)  # fmt: skip
def test_other_ways_to_write_a_number_are_the_wrong_type(text: str) -> None:
    assert reasons(read(f"pack,ts,voltage_v\nP,1,{text}\n")) == [(0, "invalid_type", "voltage_v")]


@pytest.mark.parametrize(
    ("ts", "reason"),
    [
        ("", "missing_field"),
        ("yesterday", "invalid_time"),
        ("1.5", "invalid_time"),
        ("1e12", "invalid_time"),
        ("+1", "invalid_time"),
        ("9007199254740992", "invalid_time"),
        ("99999999999999999999", "invalid_time"),
        ("2026-01-01T00:00:00", "time_without_offset"),
        ("2026-01-01T00:00Z", "invalid_time"),
    ],
)
@pytest.mark.parametrize("beside", ["1", "2026-01-01T00:00:00Z", "nothing"])
def test_wrong_time_is_its_rows_alone_whatever_stands_beside_it(ts: str, reason: str, beside: str) -> None:
    raw = read(f"pack,ts,voltage_v\nP,{beside},1\nP,{ts},1\n")
    assert (1, reason, "ts") in reasons(raw)
    assert (0 in raw.index) == (beside != "nothing")


def test_largest_time_is_read() -> None:
    assert read("pack,ts\nP,9007199254740991\nP,-5\n").ts_ms.tolist() == [2**53 - 1, -5]


@pytest.mark.parametrize(
    ("pack", "reason"), [("", "missing_field"), ("P" * 11, "out_of_range"), ("P\x85", "out_of_range")]
)
def test_wrong_name_is_its_rows_alone(pack: str, reason: str) -> None:
    raw = read(f"pack,ts,voltage_v\n{pack},1,1\nP,1,1\n")
    assert reasons(raw) == [(0, reason, "pack")]
    assert raw.index.tolist() == [1]


UNREADABLE = {
    "nothing": b"",
    "line ends only": b"\r\n\n",
    "no header": b"P-1,1,3.5\n",
    "semicolons": b"pack;ts;voltage_v\nP;1;2\n",
    "no pack": b"ts,voltage_v\n1,2\n",
    "no ts": b"pack,voltage_v\nP,2\n",
    "column twice": b"pack,ts,ts\nP,1,1\n",
    "too few cells": b"pack,ts,voltage_v\nP,1\n",
    "too many cells": b"pack,ts\nP,1,2\n",
    "blanks": b"pack,ts\nP,1\n \n",
    "quote never closed": b'pack,ts\n"P,1\n',
    "quote within": b'pack,ts\nP"1,1\n',
    "text behind a quote": b'pack,ts\n"P"1,1\n',
    "quote in the header never closed": b'pack,"ts\nP,1\n',
    "not UTF-8": b"pack,ts\nP\xff,1\n",
    "UTF-16": "pack,ts\nP,1\n".encode("utf-16"),
    "NUL": b"pack,ts\nP,1\0\n",
    "long header": b"pack,ts," + b"x" * HEADER_BYTES_MAX + b"\nP,1,\n",
}


@pytest.mark.parametrize("body", UNREADABLE)
def test_wrong_structure_refuses_the_body(body: str) -> None:
    with pytest.raises(BodyUnreadableError):
        read_csv(UNREADABLE[body], LIMITS)


def test_row_of_a_wrong_structure_is_named() -> None:
    with pytest.raises(BodyUnreadableError, match="row 2 can't be read: it has another number of cells"):
        read("pack,ts\nP,1\nP,1,2\n")


def test_as_many_rows_as_allowed_are_read_and_one_more_is_not() -> None:
    rows = "".join(f"P,{number}\n" for number in range(5))
    assert read("pack,ts\n" + rows).received == 5
    with pytest.raises(BodyTooLargeError):
        read("pack,ts\n" + rows + "P,6\n")


def test_aliases_are_converted_and_two_values_of_one_key_are_ambiguous() -> None:
    aliases = key_aliases(
        [KeyAlias("mV", "voltage_v", 0.001), KeyAlias("id", "pack"), KeyAlias("time", "ts")]
    )
    text = "id,pack,time,mV,voltage_v\nA,,1,3500,\n,B,2,,4\nA,,3,1,1\nA,B,4,1,\n"
    raw = read_csv(text.encode(), LIMITS, aliases)
    assert [raw.pack_names[code] for code in raw.pack_code] == ["A", "B"]
    assert raw.values[VOLTAGE].tolist() == [3.5, 4.0]
    assert reasons(raw) == [(2, "ambiguous_key", "voltage_v"), (3, "ambiguous_key", "pack")]
    assert raw.ignored_keys == ()
