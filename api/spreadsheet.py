"""CSV that no spreadsheet runs: the one way in which text gets into a cell."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson

_IS_FORMULA: Final = re.compile("[=+\\-@\t\r]")
_NEEDS_QUOTES: Final = re.compile('[",\r\n]')
_IS_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?\Z")


def cell(value: Any) -> str:
    """The text of a cell; what a spreadsheet would run as a formula begins with an apostrophe.

    Numbers stay as they are, also those in a text. What is neither text nor number stands as in JSON.

    >>> cell("=1+1"), cell("-60.0"), cell(-60.5), cell("-60 V"), cell(None), cell(True), cell({"a": [1]})
    ("'=1+1", '-60.0', '-60.5', "'-60 V", '', 'true', '{"a":[1]}')
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        return orjson.dumps(value, default=str).decode().removeprefix('"').removesuffix('"')
    if _IS_FORMULA.match(value) and not _IS_NUMBER.match(value):
        return f"'{value}"
    return value


def lines(rows: Iterable[Iterable[Any]]) -> bytes:
    """Rows as lines of CSV."""
    return "".join(",".join(map(_quoted, map(cell, row))) + "\n" for row in rows).encode()


def _quoted(text: str) -> str:
    """Quoted where a reader needs it; Python's writer leaves a carriage return bare when lines end in another way."""
    if _NEEDS_QUOTES.search(text):
        return '"' + text.replace('"', '""') + '"'
    return text


def table(columns: Sequence[str], items: Iterable[Mapping[str, Any]]) -> bytes:
    """A header, and a line for each item."""
    return lines([columns]) + lines([item.get(name) for name in columns] for item in items)
