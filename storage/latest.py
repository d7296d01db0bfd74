"""The latest values of packs, for processes that own no partition."""

import numpy as np
from psycopg.rows import dict_row

from domain.readings import ABSENT, Int32Array, Int64Array
from storage.connections import connect
from storage.correcting import latest_of
from storage.database import adapt_columns
from storage.partition_queries import PartitionQueries


class LatestReader:
    """Reads what is stored; each look takes a connection of its own."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo

    def of_packs(self, pack: Int32Array, never_ms: int) -> tuple[Int64Array, Int32Array]:
        """Time in ms and thousandths of the latest values of n packs, [measures, n] each; never_ms for none."""
        different, place = np.unique(pack, return_inverse=True)
        with connect(self._conninfo, autocommit=True, row_factory=dict_row) as connection:
            adapt_columns(connection)
            found = latest_of(PartitionQueries(connection, 0), different.astype(np.int32))
        ts_ms = np.where(found.thousandths == ABSENT, never_ms, found.ts_ms)
        return ts_ms[:, place], found.thousandths[:, place]
