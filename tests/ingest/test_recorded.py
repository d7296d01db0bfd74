import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from domain.measures import MEASURE_INDEX, MEASURES
from ingest.recorded import RecordedReadings, in_batches, joined, to_arrow_stream


def readings(n: int, start: int = 0) -> RecordedReadings:
    values = np.full((len(MEASURES), n), np.nan)
    values[MEASURE_INDEX["voltage_v"]] = np.arange(start, start + n)
    return RecordedReadings(np.arange(start, start + n), values)


@given(sizes=st.lists(st.integers(0, 12), max_size=8), readings_max=st.integers(1, 10))
def test_batches_hold_all_readings_in_order_and_only_the_last_is_smaller(sizes, readings_max):
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(int)
    parts = [readings(size, int(start)) for size, start in zip(sizes, starts[:-1], strict=True)]
    batches = list(in_batches(parts, readings_max))
    assert [len(batch) for batch in batches[:-1]] == [readings_max] * (len(batches) - 1)
    assert all(0 < len(batch) <= readings_max for batch in batches)
    np.testing.assert_array_equal(joined(batches).ts_ms, np.arange(sum(sizes)))


def test_arrow_stream_has_the_measures_that_are_there_and_null_where_one_is_absent():
    values = np.full((len(MEASURES), 2), np.nan)
    values[MEASURE_INDEX["voltage_v"]] = [1.5, np.nan]
    values[MEASURE_INDEX["current_a"]] = [np.nan, -2.0]
    stream = to_arrow_stream(RecordedReadings(np.array([10, 20]), values), "P-1")
    table = pa.ipc.open_stream(stream).read_all()
    assert table.to_pydict() == {
        "pack": ["P-1", "P-1"],
        "ts": [10, 20],
        "voltage_v": [1.5, None],
        "current_a": [None, -2.0],
    }
    assert table.schema.field("ts").type == pa.int64()
