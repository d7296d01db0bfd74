"""The Arrow body: an IPC stream with columns named as in the native body; the cheapest way in."""

import json
import math
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from domain.errors import BodyTooLargeError, BodyUnreadableError, InvalidRequestError
from domain.key_aliases import NATIVE_KEYS, NO_ALIASES, KeyAlias, KeyAliases
from domain.measures import MEASURE_NAMES
from domain.readings import BoolArray, Float64Array, Int32Array, Int64Array
from domain.receipts import QuarantineReason
from ingest.bodies.objects import pack_problem
from ingest.columns import (
    BodyLimits,
    Problem,
    RawReadings,
    converted,
    ignored_keys,
    kept_rows,
    merged,
    note_ambiguous,
)

_MS_OF_UNIT = {"s": (1000, 1), "ms": (1, 1), "us": (1, 1000), "ns": (1, 1_000_000)}
_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3
_DATA_FIELD = 1
_COMPRESSION_FIELD = 3

RAW_NAME_CHARACTERS_MAX = 1000

_VIEW_INTEGERS = 4

_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_TIMES = (pa.types.is_timestamp, pa.types.is_int64)
_NUMBERS = (pa.types.is_floating, pa.types.is_integer, pa.types.is_null)


def read_arrow(body: bytes, limits: BodyLimits, aliases: KeyAliases = NO_ALIASES) -> RawReadings:
    """The readings of an Arrow IPC stream.

    Columns: pack (string, a view of strings, or dictionary-encoded), ts (timestamp, without
    zone taken as UTC, or int64 milliseconds), and any of the measures (numbers; null is absent, NaN is invalid);
    others are ignored.
    Raises BodyUnreadableError when the stream is damaged or compressed, InvalidRequestError when a column is
    missing or of another type, BodyTooLargeError for too many readings.
    """
    table = _table(body, limits)
    problems: dict[int, Problem] = {}
    pack_names, pack_code = _packs(_columns(table, "pack", aliases, *_TEXTS), problems, limits)
    ts_ms = _times(_columns(table, "ts", aliases, *_TIMES), problems)
    values = np.full((len(MEASURE_NAMES), table.num_rows), np.nan)
    for row, name in enumerate(MEASURE_NAMES):
        parts = [
            converted(_numbers(name, _column(table, alias.alias, name, *_NUMBERS), problems), alias)
            for alias in (KeyAlias(name, name), *aliases.of(name))
            if alias.alias in table.column_names
        ]
        if parts:
            values[row] = merged(name, parts, problems)
    index = kept_rows(table.num_rows, problems).astype(np.int32)
    everything = len(index) == table.num_rows
    return RawReadings(
        received=table.num_rows,
        index=index,
        pack_names=pack_names,
        pack_code=pack_code if everything else pack_code[index],
        ts_ms=ts_ms if everything else ts_ms[index],
        values=values if everything else values[:, index],
        problems=tuple(problems[position] for position in sorted(problems)),
        ignored_keys=ignored_keys(table.column_names, limits, aliases),
        raw_of=TableRows(table, NATIVE_KEYS | aliases.names),
        item_pack=pack_code,
    )


def _table(body: bytes, limits: BodyLimits) -> pa.Table:
    batches = []
    rows = 0
    try:
        _refuse_compressed(body)
        with pa.ipc.open_stream(body) as reader:
            schema = reader.schema
            for batch in reader:
                batch.validate(full=True)
                rows += batch.num_rows
                if rows > limits.readings_max:
                    raise BodyTooLargeError(
                        f"more than {limits.readings_max} readings in one body", limit=limits.readings_max
                    )
                batches.append(batch)
        _refuse_repeated_columns(schema)
        return pa.Table.from_batches(batches, schema)
    except (pa.ArrowException, OSError, ValueError, struct.error, IndexError) as error:
        raise BodyUnreadableError(f"the body is not a valid Arrow IPC stream: {error}") from error


def _refuse_repeated_columns(schema: pa.Schema) -> None:
    if len(set(schema.names)) != len(schema.names):
        raise BodyUnreadableError("two columns of the stream have the same name")


def _refuse_compressed(body: bytes) -> None:
    """Raises BodyUnreadableError for compressed buffers, which could unfold to any size.

    PyArrow doesn't tell, so the message's flatbuffer is asked (Message.fbs: header type and header are fields
    1 and 2 of Message; compression is field 3 of RecordBatch, which is field 1 of DictionaryBatch).
    """
    reader = pa.ipc.MessageReader.open_stream(body)
    for message in reader:
        metadata = bytes(message.metadata)
        root = struct.unpack_from("<I", metadata)[0]
        kind_at, header_at = _field(metadata, root, 1), _field(metadata, root, 2)
        if (
            kind_at is None
            or header_at is None
            or metadata[kind_at] not in (_DICTIONARY_BATCH, _RECORD_BATCH)
        ):
            continue
        header = header_at + struct.unpack_from("<I", metadata, header_at)[0]
        if metadata[kind_at] == _DICTIONARY_BATCH:
            data_at = _field(metadata, header, _DATA_FIELD)
            if data_at is None:
                continue
            header = data_at + struct.unpack_from("<I", metadata, data_at)[0]
        if _field(metadata, header, _COMPRESSION_FIELD) is not None:
            raise BodyUnreadableError(
                "compressed Arrow buffers are not accepted: send the stream uncompressed"
            )


def _field(metadata: bytes, table: int, number: int) -> int | None:
    """Where a field of a flatbuffer table stands; None when it is left out."""
    vtable = table - struct.unpack_from("<i", metadata, table)[0]
    slot = 4 + 2 * number
    if slot >= struct.unpack_from("<H", metadata, vtable)[0]:
        return None
    offset = struct.unpack_from("<H", metadata, vtable + slot)[0]
    return table + offset if offset else None


def _columns(
    table: pa.Table, key: str, aliases: KeyAliases, *accepted: Callable[[pa.DataType], bool]
) -> list[pa.ChunkedArray]:
    """The columns under a key and its aliases, at least one. Raises InvalidRequestError."""
    names = [
        name for name in (key, *(alias.alias for alias in aliases.of(key))) if name in table.column_names
    ]
    if not names:
        raise InvalidRequestError(f"the stream has no column {key}", field=key)
    return [_column(table, name, key, *accepted) for name in names]


def _column(
    table: pa.Table, name: str, key: str, *accepted: Callable[[pa.DataType], bool]
) -> pa.ChunkedArray:
    """A column, if its type is accepted. Raises InvalidRequestError."""
    column = table.column(name)
    kind = column.type.value_type if pa.types.is_dictionary(column.type) and key == "pack" else column.type
    if not any(accepts(kind) for accepts in accepted):
        raise InvalidRequestError(
            f"column {name} is of type {column.type}, which is not accepted", field=name
        )
    return column


class TableRows:
    """The rows of a table as JSON text; the table is a view of the body, so there is nothing to release.

    Texts are cut: one long name in a dictionary may stand in every row.
    """

    def __init__(self, table: pa.Table, known: frozenset[str]) -> None:
        self._table = table.select([name for name in table.column_names if name in known])

    def __call__(self, index: int) -> str:
        return json.dumps(
            {name: _json_value(self._table.column(name)[index]) for name in self._table.column_names}
        )

    def release(self) -> None:
        """Nothing to do."""


def _json_value(cell: pa.Scalar) -> Any:
    """What JSON can say of a cell: a time as milliseconds, and numbers that it has no word for as text."""
    if pa.types.is_timestamp(cell.type) and cell.is_valid:
        # Not by way of datetime, which holds neither every year nor nanoseconds.
        multiply, divide = _MS_OF_UNIT[cell.type.unit]
        return cell.value * multiply // divide
    value = cell.as_py()
    if isinstance(value, str):
        return value[:RAW_NAME_CHARACTERS_MAX]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _nulls(column: pa.Array) -> Int64Array:
    if column.null_count == 0:
        return np.empty(0, np.int64)
    return np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))


def _packs(
    columns: list[pa.ChunkedArray], problems: dict[int, Problem], limits: BodyLimits
) -> tuple[tuple[str, ...], Int32Array]:
    """The distinct names, and the code of each row's."""
    names: dict[str | None, int] = {None: 0}
    codes = _codes(columns[0], names, limits)
    for column in columns[1:]:
        others = _codes(column, names, limits)
        note_ambiguous("pack", (codes != 0) & (others != 0), problems)
        codes = np.where(others != 0, others, codes)
    refused: BoolArray = np.array([name is None or not limits.allows_pack_name(name) for name in names])
    listed = list(names)
    for index in np.flatnonzero(refused[codes]).tolist():
        problems.setdefault(index, pack_problem(index, listed[codes[index]], limits))
    return tuple("" if name is None or not limits.allows_pack_name(name) else name for name in listed), codes


def _codes(column: pa.ChunkedArray, names: dict[str | None, int], limits: BodyLimits) -> Int32Array:
    """The code of each row's name; batch by batch, since each may have its own dictionary."""
    parts = [np.empty(0, np.int32)]
    for chunk in column.chunks:
        _refuse_overlapping_views(chunk, limits)
        encoded = chunk if pa.types.is_dictionary(chunk.type) else pc.dictionary_encode(chunk)
        own = [*encoded.dictionary.to_pylist(), None]
        code_of = np.array([names.setdefault(name, len(names)) for name in own], np.int32)
        indices = encoded.indices.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
        codes = code_of[indices]
        codes[~encoded.is_valid().to_numpy(zero_copy_only=False)] = names[None]
        parts.append(codes)
    return np.concatenate(parts)


def _refuse_overlapping_views(chunk: pa.Array, limits: BodyLimits) -> None:
    """Raises BodyTooLargeError when views of strings, which may overlap, unfold to more than names can have.

    Those of a dictionary too, which may hold more of them than there are rows.
    """
    texts = chunk.dictionary if pa.types.is_dictionary(chunk.type) else chunk
    if not pa.types.is_string_view(texts.type) or len(texts) == 0:
        return
    # The buffer may end with bytes that are no view.
    views = np.frombuffer(texts.buffers()[1], np.int32, _VIEW_INTEGERS * (texts.offset + len(texts)))
    lengths = views[::_VIEW_INTEGERS][texts.offset :]
    bytes_max = limits.readings_max * limits.pack_name_characters_max
    if lengths.sum(dtype=np.int64) > bytes_max:
        raise BodyTooLargeError(f"the packs' names have more than {bytes_max} bytes", limit=bytes_max)


def _times(columns: list[pa.ChunkedArray], problems: dict[int, Problem]) -> Int64Array:
    missing, ts_ms = _one_times(columns[0])
    for column in columns[1:]:
        without, others = _one_times(column)
        note_ambiguous("ts", ~missing & ~without, problems)
        ts_ms = np.where(without, ts_ms, others)
        missing &= without
    for index in np.flatnonzero(missing).tolist():
        problems.setdefault(index, Problem(index, QuarantineReason.MISSING_FIELD, "ts"))
    return ts_ms


def _one_times(chunked: pa.ChunkedArray) -> tuple[BoolArray, Int64Array]:
    """Where a column has no time, and its times in milliseconds."""
    column = chunked.combine_chunks()
    missing: BoolArray = np.zeros(len(column), np.bool_)
    missing[_nulls(column)] = True
    integers = column.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    if pa.types.is_int64(column.type):
        return missing, np.array(integers)
    multiply, divide = _MS_OF_UNIT[column.type.unit]
    # Seconds beyond the range of milliseconds would wrap around: held at the ends, they are out of any limit.
    bound = np.iinfo(np.int64).max // multiply
    return missing, np.asarray(np.clip(integers, -bound, bound) * multiply // divide)


def _numbers(name: str, chunked: pa.ChunkedArray, problems: dict[int, Problem]) -> Float64Array:
    column = chunked.combine_chunks()
    absent = _nulls(column)
    values = np.array(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
    invalid = np.isnan(values)
    invalid[absent] = False
    for index in np.flatnonzero(invalid):
        problems.setdefault(int(index), Problem(int(index), QuarantineReason.NOT_A_NUMBER, name))
    return values
