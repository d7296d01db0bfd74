"""Items of quarantine as JSON, lines of JSON, and CSV that no spreadsheet runs."""

import csv
import io
import re
from collections.abc import Iterable
from typing import Any, Final

import orjson

from domain.quarantine import is_cut

Row = dict[str, Any]

COLUMNS: Final = (
    "id", "source", "mode", "reason", "field", "limit_value", "pack", "form", "raw", "whole", "times", "first_at",
    "last_at",
)  # fmt: skip

_FORMULA: Final = re.compile(r"[=+\-@\t\r]")
_NUMBER: Final = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)


def public(row: Row) -> Row:
    """An item as it is shown."""
    shown = row | {"id": row["uid"], "whole": not is_cut(row["raw"])}
    return {name: shown[name] for name in COLUMNS}


def json_lines(items: Iterable[Row]) -> bytes:
    """Items as they are shown, a line of JSON each."""
    return b"".join(orjson.dumps(item, default=str, option=orjson.OPT_APPEND_NEWLINE) for item in items)


def csv_lines(items: Iterable[Row]) -> bytes:
    """Items as they are shown, a line of CSV each."""
    return _csv([item[name] for name in COLUMNS] for item in items)


def csv_header() -> bytes:
    """The first line of CSV."""
    return _csv([COLUMNS])


def _csv(lines: Iterable[Iterable[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_cell(value) for value in line] for line in lines)
    return text.getvalue().encode()


def _cell(value: Any) -> str:
    """The text of a cell; what a spreadsheet would run as a formula begins with an apostrophe.

    >>> _cell("=1+1"), _cell("-60.0"), _cell(None), _cell(True)
    ("'=1+1", '-60.0', '', 'true')
    """
    if value is None:
        return ""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if _FORMULA.match(text) and not _NUMBER.fullmatch(text):
        return f"'{text}"
    return text
