"""Queries on the one connection of a partition's writer."""

from typing import Any

import psycopg
from psycopg.rows import tuple_row

from storage.database import query


class PartitionQueries:
    """Queries of a partition over one connection; `partition_no` and `partitions` are among their parameters.

    compresses: whether a large COPY of readings is to be compressed on arrival.
    """

    def __init__(self, connection: psycopg.Connection[Any], partition_no: int, partitions: int = 1) -> None:
        self.connection = connection
        self.partition_no = partition_no
        self.partitions = partitions
        self.compresses = False

    def _given(self, parameters: dict[str, Any] | None) -> dict[str, Any]:
        return {"partition_no": self.partition_no, "partitions": self.partitions} | (parameters or {})

    def rows(self, name: str, parameters: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """All rows of the query `file.name`; none for one that gives none."""
        cursor = self.connection.execute(query(name), self._given(parameters))
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
            row = cursor.execute(text, self._given(parameters), binary=True, prepare=False).fetchone()
        return row or ()
