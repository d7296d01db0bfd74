"""Queries on the one connection of a partition's writer."""

from typing import Any

import psycopg
from psycopg.rows import tuple_row

from storage.database import query


class PartitionQueries:
    """Queries of a partition over one connection; `partition_no` is among their parameters by itself."""

    def __init__(self, connection: psycopg.Connection[Any], partition_no: int) -> None:
        self.connection = connection
        self.partition_no = partition_no

    def rows(self, name: str, parameters: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """All rows of the query `file.name`; none for one that gives none."""
        given = {"partition_no": self.partition_no} | (parameters or {})
        cursor = self.connection.execute(query(name), given)
        return cursor.fetchall() if cursor.description else []

    def one(self, name: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
        """The only row of a query."""
        (row,) = self.rows(name, parameters)
        return row

    def columns(self, name: str, parameters: dict[str, Any] | None = None) -> tuple[Any, ...]:
        """The only row of a query that gathers each column as an array."""
        return self.columns_of(query(name), parameters)

    def columns_of(self, text: bytes, parameters: dict[str, Any] | None = None) -> tuple[Any, ...]:
        """The same of a query by its text."""
        with self.connection.cursor(row_factory=tuple_row) as cursor:
            row = cursor.execute(text, parameters, binary=True, prepare=False).fetchone()
        return row or ()
