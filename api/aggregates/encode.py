"""Windows as JSON columns, CSV and Arrow."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.csv

from api.trends.encode import numbers, rfc_3339
from domain.measures import MEASURES
from domain.readings import BoolArray

_UNIT_OF_ENDING = {
    "_ah": "Ah",
    "_wh": "Wh",
    "_count": "1",
    "packs": "1",
    "covered_s": "s",
    "ts": "ms",
}


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """A column int64[n] or float64[n], and where it holds something: bool[n]."""

    values: np.ndarray[Any, np.dtype[Any]]
    present: BoolArray


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """The windows of a pack or of a group, whose name it bears. kind: which of both."""

    kind: str
    name: str
    columns: dict[str, Column]

    @property
    def units(self) -> dict[str, str]:
        return {name: unit_of(name) for name in self.columns}


def unit_of(column: str) -> str:
    """The unit of a column, which its name tells.

    >>> unit_of("voltage_v_mean"), unit_of("voltage_v_last_ts"), unit_of("charged_ah")
    ('V', 'ms', 'Ah')
    """
    for ending, unit in _UNIT_OF_ENDING.items():
        if column.endswith(ending):
            return unit
    return next(measure.unit for measure in MEASURES if column.startswith(measure.name))


def json_body(tables: Sequence[Table]) -> bytes:
    """The only table, or several as items."""
    if len(tables) == 1:
        return b"".join(_json_table(tables[0]))
    return b'{"items":[' + b",".join(b"".join(_json_table(table)) for table in tables) + b"]}"


def _json_table(table: Table) -> Iterator[bytes]:
    yield b'{"' + table.kind.encode() + b'":' + orjson.dumps(table.name) + b',"columns":{'
    for place, (name, column) in enumerate(table.columns.items()):
        yield b'"' + name.encode() + b'":[' if place == 0 else b',"' + name.encode() + b'":['
        yield from _json_numbers(column)
        yield b"]"
    yield b'},"units":' + orjson.dumps(table.units) + b"}"


def _json_numbers(column: Column) -> Iterator[bytes]:
    if column.present.all():
        yield from numbers(column.values)
    elif column.values.dtype == np.int64:
        whole = [
            one if some else None
            for one, some in zip(column.values.tolist(), column.present.tolist(), strict=True)
        ]
        yield orjson.dumps(whole)[1:-1]
    else:
        yield from numbers(np.where(column.present, column.values, np.nan))


def _arrow(tables: Sequence[Table], ts: pa.DataType) -> pa.Table:
    made = []
    for table in tables:
        columns: dict[str, Any] = {}
        if len(tables) > 1:
            rows = len(table.columns["ts"].values)
            columns[table.kind] = pa.array([table.name] * rows, pa.string())
        for name, column in table.columns.items():
            array = pa.array(column.values, mask=~column.present)
            columns[name] = array.cast(ts) if name.endswith("ts") else array
        made.append(pa.table(columns))
    return pa.concat_tables(made)


def arrow_body(tables: Sequence[Table]) -> bytes:
    """An Arrow IPC stream: times timestamp[ms, UTC], counts int64, the others double; units in the metadata.

    With several tables their names are the first column, else the name is in the metadata.
    """
    table = _arrow(tables, pa.timestamp("ms", "UTC"))
    metadata = {"units": orjson.dumps(tables[0].units)}
    if len(tables) == 1:
        metadata[tables[0].kind] = tables[0].name.encode()
    table = table.replace_schema_metadata(metadata)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def csv_body(tables: Sequence[Table]) -> bytes:
    """CSV with a header; times in RFC 3339, gaps empty. With several tables their names are the first column."""
    table = _arrow(tables, pa.timestamp("ms"))
    for place, name in enumerate(table.column_names):
        if pa.types.is_timestamp(table.schema.field(place).type):
            table = table.set_column(place, name, rfc_3339(table.column(place)))
    sink = pa.BufferOutputStream()
    options = pa.csv.WriteOptions(include_header=False, quoting_style="needed")
    pa.csv.write_csv(table, sink, options)
    return (",".join(table.column_names) + "\n").encode() + bytes(sink.getvalue().to_pybytes())
