"""Points as JSON columns, CSV and Arrow, in chunks."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.csv

from domain.measures import MEASURE_INDEX, MEASURES
from domain.readings import Float64Array, Int64Array

CHUNK_POINTS = 50_000


class Series(Protocol):
    """Points with int64[n] times in milliseconds and float64[measures, n] values, NaN as a gap."""

    @property
    def ts_ms(self) -> Int64Array: ...

    def values(self) -> Float64Array: ...


def units_of(measures: Sequence[str]) -> dict[str, str]:
    """The units of a series' columns."""
    return {"ts": "ms"} | {name: MEASURES[MEASURE_INDEX[name]].unit for name in measures}


def json_chunks(pack: str, measures: Sequence[str], series: Series) -> Iterator[bytes]:
    """{"pack", "columns": {"ts": […], measure: […]}, "units"}."""
    yield b'{"pack":' + orjson.dumps(pack) + b',"columns":{"ts":['
    yield from numbers(series.ts_ms)
    for name, values in zip(measures, series.values(), strict=True):
        yield b'],"' + name.encode() + b'":['
        yield from numbers(values)
    yield b']},"units":' + orjson.dumps(units_of(measures)) + b"}"


def numbers(column: Int64Array | Float64Array) -> Iterator[bytes]:
    """The numbers of a JSON array without its brackets; NaN as null."""
    for start in range(0, len(column), CHUNK_POINTS):
        part = np.ascontiguousarray(column[start : start + CHUNK_POINTS])
        text = orjson.dumps(part, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
        yield text if start == 0 else b"," + text


def _table(measures: Sequence[str], series: Series, ts: pa.DataType) -> pa.Table:
    values = {
        name: pa.array(column, from_pandas=True)
        for name, column in zip(measures, series.values(), strict=True)
    }
    return pa.table({"ts": pa.array(series.ts_ms).cast(ts)} | values)


def arrow_chunks(pack: str, measures: Sequence[str], series: Series) -> Iterator[bytes]:
    """An Arrow IPC stream: ts timestamp[ms, UTC], measures double, the pack and units in the metadata."""
    units = orjson.dumps(units_of(measures))
    table = _table(measures, series, pa.timestamp("ms", "UTC"))
    table = table.replace_schema_metadata({"pack": pack, "units": units})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=CHUNK_POINTS)
    yield sink.getvalue().to_pybytes()


def csv_chunks(measures: Sequence[str], series: Series) -> Iterator[bytes]:
    """CSV with a header; ts in RFC 3339, gaps empty."""
    yield (",".join(["ts", *measures]) + "\n").encode()
    table = _table(measures, series, pa.timestamp("ms"))
    options = pa.csv.WriteOptions(include_header=False, quoting_style="none")
    for start in range(0, table.num_rows, CHUNK_POINTS):
        part = table.slice(start, CHUNK_POINTS)
        sink = pa.BufferOutputStream()
        pa.csv.write_csv(part.set_column(0, "ts", rfc_3339(part.column("ts"))), sink, options)
        yield sink.getvalue().to_pybytes()


def rfc_3339(moments: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts such as 2026-01-31T12:00:00.000Z of timestamps in milliseconds without a zone.

    `strftime` asks for the zone of each, which took nine tenths of a page of CSV.
    """
    texts = pa.compute.binary_replace_slice(moments.cast(pa.string()), 10, 11, "T")
    return pa.compute.binary_join_element_wise(texts, "Z", "")
