"""Arrow bodies as senders make them, and as attackers do."""

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from domain.errors import BodyTooLargeError, BodyUnreadableError
from domain.receipts import QuarantineReason
from ingest.bodies.arrow import RAW_NAME_CHARACTERS_MAX, read_arrow
from ingest.columns import BodyLimits

LIMITS = BodyLimits(readings_max=1000, ignored_keys_max=10, pack_name_characters_max=200)


def stream(*tables: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, tables[0].schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for table in tables:
            writer.write_table(table)
    return sink.getvalue()


def table_of(pack: pa.Array) -> pa.Table:
    count = len(pack)
    return pa.table({"pack": pack, "ts": pa.array(range(count), pa.int64()), "voltage_v": [350.0] * count})


def test_dictionaries_of_each_batch_are_put_together() -> None:
    kind = pa.dictionary(pa.int8(), pa.string())
    names = [[f"A{n}" for n in range(100)], [f"B{n}" for n in range(100)]]
    raw = read_arrow(stream(*(table_of(pa.array(part, kind)) for part in names)), LIMITS)
    assert [raw.pack_names[code] for code in raw.pack_code] == names[0] + names[1]


def test_name_that_stands_twice_in_a_dictionary_is_one_pack() -> None:
    twice = pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), pa.array(["D", "D"]))
    raw = read_arrow(stream(table_of(twice)), LIMITS)
    assert len(set(raw.pack_code.tolist())) == 1


def test_null_pack_is_missing_wherever_the_null_stands() -> None:
    in_dictionary = pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), pa.array(["D", None]))
    in_column = pa.array(["D", None])
    for column in (in_dictionary, in_column):
        raw = read_arrow(stream(table_of(column)), LIMITS)
        assert [(problem.index, problem.reason) for problem in raw.problems] == [
            (1, QuarantineReason.MISSING_FIELD)
        ]
        assert '"pack": null' in raw.raw_of(1)


@pytest.mark.parametrize("pack", [pa.array(["P"] * 9), pa.array(["P"] * 9).dictionary_encode()])
def test_compressed_buffers_are_refused_also_in_dictionaries(pack: pa.Array) -> None:
    with pytest.raises(BodyUnreadableError, match="compressed"):
        read_arrow(stream(table_of(pack), compression="zstd"), LIMITS)


def test_long_name_in_a_dictionary_does_not_grow_with_its_rows() -> None:
    long = pa.DictionaryArray.from_arrays(pa.array([0] * 500, pa.int32()), pa.array(["x" * 300_000]))
    raw = read_arrow(stream(table_of(long)), LIMITS)
    assert len(raw.problems) == 500
    assert len(raw.raw_of(499)) < RAW_NAME_CHARACTERS_MAX + 200


def test_views_of_strings_are_read_and_may_not_unfold_to_more_than_names_have() -> None:
    names = ["P", None, "a name that is too long to stand in the view itself"]
    raw = read_arrow(stream(table_of(pa.array(names, pa.string_view()))), LIMITS)
    assert [raw.pack_names[code] for code in raw.pack_code] == [names[0], names[2]]
    view = np.zeros(500, np.dtype([("length", "<i4"), ("start", "S4"), ("buffer", "<i4"), ("offset", "<i4")]))
    view["length"], view["start"] = 1000, b"xxxx"
    buffers = [None, pa.py_buffer(view.tobytes()), pa.py_buffer(b"x" * 1000)]
    overlapping = pa.Array.from_buffers(pa.string_view(), 500, buffers)
    with pytest.raises(BodyTooLargeError, match="names"):
        read_arrow(stream(table_of(overlapping)), LIMITS)
    # A dictionary of views holds more of them than there are rows.
    dictionary = pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()), overlapping)
    with pytest.raises(BodyTooLargeError, match="names"):
        read_arrow(stream(table_of(dictionary)), LIMITS)


def test_a_buffer_of_views_with_bytes_left_over_is_read() -> None:
    names = [*"PQR"] * 3
    sent = stream(table_of(pa.array(names, pa.string_view())))
    views_bytes, more = (size.to_bytes(8, "little") for size in (9 * 16, 9 * 16 + 1))
    # The buffer's length, and where the next one begins.
    assert sent.count(views_bytes * 2) == 1
    raw = read_arrow(sent.replace(views_bytes * 2, more + views_bytes), LIMITS)
    assert [raw.pack_names[code] for code in raw.pack_code] == names


def test_empty_streams_have_no_readings() -> None:
    raw = read_arrow(stream(table_of(pa.array([], pa.string()))), LIMITS)
    assert (raw.received, len(raw.index), raw.values.dtype) == (0, 0, np.float64)
