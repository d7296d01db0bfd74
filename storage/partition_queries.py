"""Queries on the one connection of a partition's writer."""

from typing import Any

import numpy as np
import psycopg
from psycopg.rows import tuple_row

from domain.readings import Int32Array
from storage.database import int4s, query
from storage.days import STANDARD_CLASS


class PartitionQueries:
    """Queries of a partition over one connection; `partition_no` and `partitions` are among their parameters.

    compresses: whether a large COPY of readings is to be compressed on arrival.
    """

    def __init__(self, connection: psycopg.Connection[Any], partition_no: int, partitions: int = 1) -> None:
        self.connection = connection
        self.partition_no = partition_no
        self.partitions = partitions
        self.compresses = False
        self._classes: dict[int, int] = {}

    def _given(self, parameters: dict[str, Any] | None) -> dict[str, Any]:
        return {"partition_no": self.partition_no, "partitions": self.partitions} | (parameters or {})

    def classes_of(self, tenants: Int32Array) -> dict[int, Int32Array]:
        """By class of retention the tenants of it, ascending; tenants int32[n] are those of n readings, or others.

        A tenant's class is asked for once: when it changes, all owners connect anew. One that is unknown counts as of
        the standard class: nothing of it is stored.
        """
        distinct = np.unique(tenants)
        unknown = [tenant for tenant in distinct.tolist() if tenant not in self._classes]
        if unknown:
            found = self.rows("partition.classes_of", {"tenants": int4s(unknown)})
            self._classes |= {row["tenant_id"]: row["retention_class"] for row in found}
        classes = np.array(
            [self._classes.get(tenant, STANDARD_CLASS) for tenant in distinct.tolist()], np.int32
        )
        return {int(number): distinct[classes == number] for number in np.unique(classes)}

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
