"""Cursors of lists: opaque texts that stand behind a key, each taken by the list that gave it alone."""

import base64
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from psycopg.rows import DictRow

from domain.errors import InvalidRequestError

_DIGITS_MAX: Final = 18
"""Of an int8, whatever they are."""


def no_cursor() -> InvalidRequestError:
    """The error for what isn't a cursor of the list, in the same words for every list."""
    return InvalidRequestError("this is not a cursor of this list", field="cursor")


@dataclass(frozen=True, slots=True)
class Cursors:
    """Those of one list. of: its name; with what it is a list of, where there is one list for each."""

    of: str

    def encode(self, key: str) -> str:
        """The cursor behind a key."""
        return base64.urlsafe_b64encode(f"{self.of}\n{key}".encode()).decode()

    def decode(self, cursor: str | None) -> str | None:
        """The key of a cursor. Raises InvalidRequestError when this list didn't give it."""
        if cursor is None:
            return None
        try:
            text = base64.b64decode(cursor.encode(), altchars=b"-_", validate=True).decode()
        except (ValueError, UnicodeError) as error:
            raise no_cursor() from error
        of, newline, key = text.partition("\n")
        if of != self.of or not newline or "\0" in key:
            raise no_cursor()
        return key

    def decode_number(self, cursor: str | None) -> int | None:
        """The key of a cursor of a list in order of numbers. Raises InvalidRequestError."""
        key = self.decode(cursor)
        return None if key is None else number_in(key)

    def page(self, rows: list[DictRow], limit: int, key: str) -> tuple[list[DictRow], str | None]:
        """The page, of rows fetched one beyond the limit, and the cursor of the next one."""
        if len(rows) <= limit:
            return rows, None
        return rows[:limit], self.encode(str(rows[limit - 1][key]))


def number_in(text: str) -> int:
    """A number in a cursor. Raises InvalidRequestError."""
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX):
        raise no_cursor()
    return int(text)


def signed_number_in(text: str) -> int:
    """A number in a cursor, which may be below zero. Raises InvalidRequestError."""
    return -number_in(text[1:]) if text.startswith("-") else number_in(text)


def moment_in(text: str) -> datetime:
    """A moment in a cursor. Raises InvalidRequestError."""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise no_cursor()
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise no_cursor() from error
