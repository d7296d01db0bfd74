"""Tables as JSON columns, CSV and Arrow, encoded in chunks: series of packs and of groups, and what is like them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.csv
from starlette.responses import Response, StreamingResponse

from api.errors import may_answer
from api.routing import ARROW, CSV
from api.spreadsheet import cell
from domain.errors import ArchivedError, NotFoundError
from domain.measures import MEASURES
from domain.readings import BoolArray

CHUNK_ROWS: Final = 50_000
"""Longer answers are streamed, so many rows at a time."""


def content(csv_example: str) -> dict[str, Any]:
    """What OpenAPI says of an answer as CSV and Arrow."""
    return {
        CSV: {"schema": {"type": "string"}, "example": csv_example},
        ARROW: {"schema": {"type": "string", "format": "binary"}},
    }


RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": content("ts,temperature_c\n2026-01-31T12:00:00.000Z,53.2\n")},
    **may_answer(NotFoundError, ArchivedError),
}
"""What OpenAPI says of the formats beside JSON, and of what isn't there (any more)."""

_UNIT_OF_ENDING: Final = {
    "_ah": "Ah",
    "_wh": "Wh",
    "_count": "1",
    "packs": "1",
    "covered_s": "s",
    "ts": "ms",
}
_END_OF_STREAM: Final = b"\xff\xff\xff\xff\x00\x00\x00\x00"
"""Ends an Arrow IPC stream (Arrow Columnar Format, "IPC Streaming Format")."""

MOMENT: Final = pa.timestamp("ms", "UTC")


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """A column int64[n] or float64[n], and where it holds something: bool[n], or None for wherever it isn't NaN.

    type: its type in Arrow, where the name and the values don't tell; of texts object[n] and of flags bool[n].
    unit: its unit, where the name doesn't tell.
    """

    values: np.ndarray[Any, np.dtype[Any]]
    present: BoolArray | None = None
    type: pa.DataType | None = None
    unit: str | None = None

    def part(self, start: int) -> "Column":
        """The chunk that begins at a row."""
        chunk = slice(start, start + CHUNK_ROWS)
        present = None if self.present is None else self.present[chunk]
        return Column(np.ascontiguousarray(self.values[chunk]), present, self.type, self.unit)

    def gaps(self) -> BoolArray | None:
        """Where there is nothing, None for nowhere."""
        if self.present is not None:
            missing = ~self.present
        elif self.values.dtype == np.float64:
            missing = np.isnan(self.values)
        else:
            return None
        return missing if missing.any() else None


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A series of a pack or of a group, whose name it bears. kind: which of both. facts: what else is told of it."""

    kind: str
    name: str
    columns: dict[str, Column]
    facts: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())).values)

    @property
    def units(self) -> dict[str, str]:
        """Of each column that has one: numbers, and times of series."""
        units = {
            name: column.unit if column.type is not None else unit_of(name)
            for name, column in self.columns.items()
        }
        return {name: unit for name, unit in units.items() if unit is not None}


def unit_of(column: str) -> str:
    """The unit of a column, which its name tells.

    >>> unit_of("voltage_v_mean"), unit_of("voltage_v_last_ts"), unit_of("charged_ah")
    ('V', 'ms', 'Ah')
    """
    for ending, unit in _UNIT_OF_ENDING.items():
        if column.endswith(ending):
            return unit
    return next(measure.unit for measure in MEASURES if column.startswith(measure.name))


def answer(tables: Sequence[Table], chosen: str) -> Response:
    """The only series, or several, in the chosen format; a long one is streamed."""
    chunks = {CSV: csv_chunks, ARROW: arrow_chunks}.get(chosen, json_chunks)(tables)
    if sum(map(len, tables)) <= CHUNK_ROWS:
        return Response(b"".join(chunks), media_type=chosen)
    return StreamingResponse(chunks, media_type=chosen)


def json_chunks(tables: Sequence[Table]) -> Iterator[bytes]:
    """{"pack", "columns": {"ts": […], …}, "units"} with facts behind, or several of them as items."""
    if len(tables) == 1:
        yield from _json_table(tables[0])
        return
    yield b'{"items":['
    for place, table in enumerate(tables):
        if place:
            yield b","
        yield from _json_table(table)
    yield b"]}"


def _json_table(table: Table) -> Iterator[bytes]:
    yield b'{"' + table.kind.encode() + b'":' + orjson.dumps(table.name) + b',"columns":{'
    for place, (name, column) in enumerate(table.columns.items()):
        yield b'"' + name.encode() + b'":[' if place == 0 else b',"' + name.encode() + b'":['
        for start in range(0, len(table), CHUNK_ROWS):
            text = _json_numbers(column.part(start))
            yield text if start == 0 else b"," + text
        yield b"]"
    yield b"}," + orjson.dumps({"units": table.units} | table.facts)[1:]


def _json_numbers(column: Column) -> bytes:
    """The numbers of a JSON array without its brackets; gaps as null."""
    values = column.values
    if column.present is not None and not column.present.all():
        if values.dtype == np.int64:
            pairs = zip(values.tolist(), column.present.tolist(), strict=True)
            return orjson.dumps([one if some else None for one, some in pairs])[1:-1]
        values = np.where(column.present, values, np.nan)
    return orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]


def arrow_chunks(tables: Sequence[Table]) -> Iterator[bytes]:
    """An Arrow IPC stream: times timestamp[ms, UTC], counts int64, the others double; units in the metadata.

    With several tables their names are the first column, and the metadata's `items` has the facts of each; else name
    and facts are metadata. Written message by message: `ipc.new_stream` takes half as long again.
    """
    schema = _schema(tables)
    yield schema.serialize().to_pybytes()
    for table in tables:
        for start in range(0, len(table), CHUNK_ROWS):
            yield _batch(table, start, schema).serialize().to_pybytes()
    yield _END_OF_STREAM


def _schema(tables: Sequence[Table]) -> pa.Schema:
    fields = [(name, _type_of(name, column)) for name, column in tables[0].columns.items()]
    metadata: dict[str, bytes | str] = {"units": orjson.dumps(tables[0].units)}
    if len(tables) == 1:
        metadata[tables[0].kind] = tables[0].name
        metadata |= {name: orjson.dumps(fact) for name, fact in tables[0].facts.items()}
    else:
        fields.insert(0, (tables[0].kind, pa.string()))
        metadata["items"] = orjson.dumps([{table.kind: table.name} | table.facts for table in tables])
    return pa.schema(fields, metadata=metadata)


def _type_of(name: str, column: Column) -> pa.DataType:
    if column.type is not None:
        return column.type
    if name.endswith("ts"):
        return MOMENT
    return pa.int64() if column.values.dtype == np.int64 else pa.float64()


def _batch(table: Table, start: int, schema: pa.Schema) -> pa.RecordBatch:
    """A chunk around the memory of its columns: converting them took four fifths of the time."""
    arrays = []
    rows = min(CHUNK_ROWS, len(table) - start)
    if schema.names[0] == table.kind and table.kind not in table.columns:
        arrays.append(pa.repeat(table.name, rows))
    for name, column in table.columns.items():
        part = column.part(start)
        gaps = part.gaps()
        if part.values.dtype in (np.object_, np.bool_):
            arrays.append(pa.array(part.values, schema.field(name).type, mask=gaps))
            continue
        validity = None if gaps is None else pa.py_buffer(np.packbits(~gaps, bitorder="little"))
        buffers = [validity, pa.py_buffer(part.values)]
        arrays.append(
            pa.Array.from_buffers(schema.field(name).type, rows, buffers, -1 if validity is not None else 0)
        )
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def csv_chunks(tables: Sequence[Table]) -> Iterator[bytes]:
    """CSV with a header; times in RFC 3339, gaps empty. With several tables their names are the first column."""
    schema = _schema(tables)
    yield (",".join(schema.names) + "\n").encode()
    # Only texts need quotes, and looking for what does costs time.
    quoting = "needed" if pa.string() in schema.types else "none"
    options = pa.csv.WriteOptions(include_header=False, quoting_style=quoting)
    for table in tables:
        for start in range(0, len(table), CHUNK_ROWS):
            sink = pa.BufferOutputStream()
            pa.csv.write_csv(_as_texts(_batch(table, start, schema)), sink, options)
            yield sink.getvalue().to_pybytes()


def _as_texts(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rows with times as texts, and texts so that no spreadsheet runs them."""
    columns = []
    for column in batch.columns:
        if pa.types.is_timestamp(column.type):
            columns.append(_rfc_3339(column))
        elif pa.types.is_string(column.type):
            told = column.dictionary_encode()
            cells = pa.array([cell(text) for text in told.dictionary.to_pylist()], pa.string())
            columns.append(cells.take(told.indices))
        else:
            columns.append(column)
    return pa.RecordBatch.from_arrays(columns, batch.schema.names)


def _rfc_3339(moments: pa.Array) -> pa.Array:
    """Texts such as 2026-01-31T12:00:00.000Z of timestamps in milliseconds.

    `strftime` asks for the zone of each, which took nine tenths of a page of CSV.
    """
    without_zone = moments.cast(pa.timestamp("ms"))
    texts = pa.compute.binary_replace_slice(without_zone.cast(pa.string()), 10, 11, "T")
    return pa.compute.binary_join_element_wise(texts, "Z", "")
