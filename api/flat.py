"""Nested records as rows: each part of a record that is a value has a column, with its unit, for CSV and Arrow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

import numpy as np
import pyarrow as pa

from api import series, spreadsheet
from api.examples import OF_NAME
from domain.clock import to_ms

Record = Mapping[str, Any]


class Kind(Enum):
    """What a column holds: its NumPy and Arrow types, what stands in a gap, and a cell of an example."""

    TEXT = (np.object_, pa.string(), None, "Bern")
    FLAG = (np.bool_, pa.bool_(), False, False)
    WHOLE = (np.int64, pa.int64(), 0, 3)
    NUMBER = (np.float64, pa.float64(), 0.0, 53.2)
    MOMENT = (np.int64, series.MOMENT, 0, "2026-01-31T12:00:00.000Z")


@dataclass(frozen=True, slots=True)
class Field:
    """A column: where its value stands in a record, what it is, its unit and, where that isn't the path, its name."""

    path: tuple[str | int, ...]
    kind: Kind
    unit: str | None = None
    called: str | None = None

    @property
    def name(self) -> str:
        """The names of the parts, from outside to inside."""
        return self.called or "_".join(map(str, self.path))

    def of(self, record: Record) -> Any:
        """The value in a record; None where a part of its path is null or missing."""
        found: Any = record
        for part in self.path:
            if found is None:
                return None
            found = found[part] if isinstance(part, int) else found.get(part)
        if self.kind is Kind.MOMENT and found is not None:
            return to_ms(datetime.fromisoformat(found) if isinstance(found, str) else found)
        return str(found) if self.kind is Kind.TEXT and found is not None else found


def columns_of(records: Sequence[Record], fields: Sequence[Field]) -> dict[str, series.Column]:
    """The columns of records; null is a gap."""
    columns = {}
    for field in fields:
        dtype, arrow, gap, _ = field.kind.value
        values = [field.of(record) for record in records]
        present = np.array([value is not None for value in values], np.bool_)
        filled = np.empty(len(values), dtype)
        filled[:] = [gap if value is None else value for value in values]
        columns[field.name] = series.Column(filled, present, arrow, field.unit)
    return columns


def responses(fields: Sequence[Field]) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of the formats beside JSON, with a row of CSV that has all columns."""
    cells = [_example(field) for field in fields]
    told = spreadsheet.lines([[field.name for field in fields], cells]).decode()
    return {200: {"content": series.content(told)}}


def _example(field: Field) -> Any:
    *_, cell = field.kind.value
    told = OF_NAME.get(field.name, OF_NAME.get(str(field.path[-1]), cell))
    return told if isinstance(told, type(cell)) else cell
