"""The CSV body: a header with the keys of the native body, and a reading a line."""

import csv
from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from domain.errors import BodyTooLargeError, BodyUnreadableError
from domain.key_aliases import NO_ALIASES, KeyAlias, KeyAliases
from domain.measures import MEASURE_NAMES
from domain.readings import BoolArray, Float64Array, Int32Array, Int64Array
from domain.receipts import QuarantineReason
from ingest.bodies import moments
from ingest.bodies.objects import JSON_NUMBER, pack_problem
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
from kernels import csvtext

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_NUMBER: Final = rf"\A(?:{JSON_NUMBER.pattern})\z"
_INTEGER_MS: Final = r"\A-?(?:0|[1-9][0-9]{0,15})\z"

HEADER_BYTES_MAX: Final = 4096
"""The header stands beside each row that is set aside, so it can't be of any length."""

_PROBLEMS: Final = {
    csvtext.NUL: "it holds a NUL",
    csvtext.QUOTE_WITHIN: "a quote stands within a cell that doesn't begin with one",
    csvtext.BEHIND_QUOTE: "text stands behind a closing quote",
    csvtext.NEVER_CLOSED: "a quote is never closed",
    csvtext.RAGGED: "it has another number of cells than the header",
}


def read_csv(body: bytes, limits: BodyLimits, aliases: KeyAliases = NO_ALIASES) -> RawReadings:
    """The readings of a CSV in UTF-8 with commas; an empty cell is absent, empty lines are passed over.

    Numbers are written as in JSON; ts is RFC 3339 with offset, or whole milliseconds.
    Raises BodyUnreadableError when the text has no such structure, BodyTooLargeError for too many readings.
    """
    body = body.removeprefix(_BYTE_ORDER_MARK)
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise BodyUnreadableError("the body is not UTF-8") from error
    header, names = _header(body, aliases)
    starts, ends = _records(body, len(names), limits)
    sheet = _Sheet(body[int(ends[0]) :], names, len(starts) - 1)
    problems: dict[int, Problem] = {}
    pack_names, pack_code = _packs(sheet.only_one("pack", aliases, problems), problems, limits)
    ts_ms = _times(sheet.only_one("ts", aliases, problems), problems)
    values = np.full((len(MEASURE_NAMES), len(sheet)), np.nan)
    for row, name in enumerate(MEASURE_NAMES):
        parts = [
            converted(_numbers(name, sheet.column(alias.alias), problems), alias)
            for alias in (KeyAlias(name, name), *aliases.of(name))
            if alias.alias in names
        ]
        if parts:
            values[row] = merged(name, parts, problems)
    kept = kept_rows(len(sheet), problems)
    return RawReadings(
        received=len(sheet),
        index=kept.astype(np.int32),
        pack_names=pack_names,
        pack_code=pack_code[kept],
        ts_ms=ts_ms[kept],
        values=values[:, kept],
        problems=tuple(problems[index] for index in sorted(problems)),
        ignored_keys=ignored_keys(names, limits, aliases),
        raw_of=CsvRows(body, header, starts[1:], ends[1:]),
        item_pack=pack_code,
    )


def _header(body: bytes, aliases: KeyAliases) -> tuple[str, list[str]]:
    """The header's text and its names. Raises BodyUnreadableError."""
    starts, ends, problem = csvtext.records_of(body, 0, 1)
    if problem or len(starts) == 0:
        why = _PROBLEMS.get(problem, "the body is empty")
        raise BodyUnreadableError(f"the header can't be read: {why}")
    text = body[int(starts[0]) : int(ends[0])].decode()
    if int(ends[0] - starts[0]) > HEADER_BYTES_MAX:
        raise BodyUnreadableError(
            f"the header has more than {HEADER_BYTES_MAX} bytes", limit=HEADER_BYTES_MAX
        )
    (names,) = csv.reader([text], strict=True)
    if len(set(names)) != len(names):
        raise BodyUnreadableError("the header names a column twice")
    for key in ("pack", "ts"):
        if not {key, *(alias.alias for alias in aliases.of(key))} & set(names):
            raise BodyUnreadableError(
                f"the first line must name the columns, separated by commas; {key} is not among them",
                field=key,
            )
    return text, names


def _records(body: bytes, cells: int, limits: BodyLimits) -> tuple[Int64Array, Int64Array]:
    """Where the header and the rows begin and end. Raises BodyUnreadableError, BodyTooLargeError."""
    starts, ends, problem = csvtext.records_of(body, cells, limits.readings_max + 2)
    if problem:
        raise BodyUnreadableError(f"row {len(starts)} can't be read: {_PROBLEMS[problem]}")
    if len(starts) - 1 > limits.readings_max:
        raise BodyTooLargeError(
            f"more than {limits.readings_max} readings in one body", limit=limits.readings_max
        )
    return starts, ends


class _Sheet:
    """The cells of a CSV without its header, by column."""

    def __init__(self, body: bytes, names: Sequence[str], rows: int) -> None:
        self._position = {name: str(position) for position, name in enumerate(names)}
        self._rows = rows
        self._table = _table(body, len(names)) if rows else None

    def __len__(self) -> int:
        return self._rows

    def column(self, name: str) -> pa.StringArray:
        """The cells of a column; absent ones are empty."""
        if self._table is None:
            return pa.array([], pa.string())
        return self._table.column(self._position[name]).combine_chunks()

    def only_one(self, key: str, aliases: KeyAliases, problems: dict[int, Problem]) -> pa.StringArray:
        """The cells under a key and its aliases; two of them in one row are a problem."""
        names = [
            name for name in (key, *(alias.alias for alias in aliases.of(key))) if name in self._position
        ]
        cells = self.column(names[0])
        for name in names[1:]:
            others = self.column(name)
            given = pc.not_equal(others, "")
            both = pc.and_(given, pc.not_equal(cells, ""))
            note_ambiguous(key, both.to_numpy(zero_copy_only=False), problems)
            cells = pc.if_else(given, others, cells)
        return cells


def _table(body: bytes, columns: int) -> pa.Table:
    names = [str(position) for position in range(columns)]
    try:
        return pa.csv.read_csv(
            pa.BufferReader(body),
            pa.csv.ReadOptions(use_threads=False, block_size=len(body) + 1, column_names=names),
            pa.csv.ParseOptions(newlines_in_values=True),
            pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
        )
    except pa.ArrowException as error:
        raise BodyUnreadableError(f"the body can't be read as CSV: {error}") from error


class CsvRows:
    """The header and a row, a line each, so that the row can be read by itself."""

    def __init__(self, body: bytes, header: str, starts: Int64Array, ends: Int64Array) -> None:
        self._body = body
        self._header = header
        self._starts = starts
        self._ends = ends

    def __call__(self, index: int) -> str:
        return f"{self._header}\n{self._body[int(self._starts[index]) : int(self._ends[index])].decode()}"

    def release(self) -> None:
        """Nothing to do."""


def _packs(
    cells: pa.StringArray, problems: dict[int, Problem], limits: BodyLimits
) -> tuple[tuple[str, ...], Int32Array]:
    encoded = cells.dictionary_encode()
    names: list[str] = encoded.dictionary.to_pylist()
    codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int32)
    refused: BoolArray = np.array([not limits.allows_pack_name(name) for name in names], np.bool_)
    for index in np.flatnonzero(refused[codes]).tolist() if names else ():
        name = names[codes[index]] or None
        problems.setdefault(index, pack_problem(index, name, limits))
    return tuple(name if limits.allows_pack_name(name) else "" for name in names), codes


def _times(cells: pa.StringArray, problems: dict[int, Problem]) -> Int64Array:
    result = np.zeros(len(cells), np.int64)
    whole = _matches(cells, _INTEGER_MS)
    if whole.any():
        result[whole] = cells.filter(pa.array(whole)).cast(pa.int64()).to_numpy()
        for index in np.flatnonzero(np.abs(result) >= moments.LARGEST_MS).tolist():
            problems.setdefault(index, Problem(index, QuarantineReason.INVALID_TIME, "ts"))
    if whole.all():
        return result
    texts: list[str] = cells.filter(pa.array(~whole)).to_pylist()
    parsed = moments.parse_all(texts)
    if parsed is not None:
        result[~whole] = parsed
        return result
    for index, text in zip(np.flatnonzero(~whole).tolist(), texts, strict=True):
        found = moments.parse_one(text) if text else QuarantineReason.MISSING_FIELD
        if isinstance(found, QuarantineReason):
            problems.setdefault(index, Problem(index, found, "ts"))
        else:
            result[index] = found
    return result


def _numbers(name: str, cells: pa.StringArray, problems: dict[int, Problem]) -> Float64Array:
    """Float64 of cells with numbers, NaN for empty ones; anything else is a problem of its row."""
    numbers = _matches(cells, _NUMBER)
    if not numbers.all():
        empty = pc.equal(cells, "").to_numpy(zero_copy_only=False)
        for index in np.flatnonzero(~numbers & ~empty).tolist():
            problems.setdefault(index, Problem(index, QuarantineReason.INVALID_TYPE, name))
        cells = pc.if_else(pa.array(numbers), cells, None)
    values: Float64Array = np.array(cells.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
    return values


def _matches(cells: pa.StringArray, pattern: str) -> BoolArray:
    matched: BoolArray = pc.match_substring_regex(cells, pattern).to_numpy(zero_copy_only=False)
    return matched
