"""Items of quarantine as JSON, lines of JSON, and CSV."""

from collections.abc import Iterable
from typing import Any, Final

import orjson

from api import spreadsheet
from domain.quarantine import is_cut

Row = dict[str, Any]

COLUMNS: Final = (
    "id", "source", "mode", "reason", "field", "limit_value", "pack", "form", "raw", "whole", "times", "first_at",
    "last_at",
)  # fmt: skip


def public(row: Row) -> Row:
    """An item as it is shown."""
    shown = row | {"id": row["uid"], "whole": not is_cut(row["raw"])}
    return {name: shown[name] for name in COLUMNS}


def json_lines(items: Iterable[Row]) -> bytes:
    """Items as they are shown, a line of JSON each."""
    return b"".join(orjson.dumps(item, default=str, option=orjson.OPT_APPEND_NEWLINE) for item in items)


def csv_lines(items: Iterable[Row]) -> bytes:
    """Items as they are shown, a line of CSV each."""
    return spreadsheet.lines([item[name] for name in COLUMNS] for item in items)


def csv_header() -> bytes:
    """The first line of CSV."""
    return spreadsheet.lines([COLUMNS])
