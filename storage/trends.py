"""A pack's readings as columns."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from psycopg.rows import tuple_row

from domain.readings import Float64Array, Int32Array, Int64Array, to_thousandths, to_values
from storage.database import array_of, query
from storage.transactions import Transaction


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """ts_ms int64[n], ascending; thousandths int32[measures asked, n], ABSENT as a gap.

    complete: whether these are all, and not cut at the limit of rows.
    """

    ts_ms: Int64Array
    thousandths: Int32Array
    complete: bool = True

    def __len__(self) -> int:
        return len(self.ts_ms)

    def values(self) -> Float64Array:
        """float64[measures asked, n], NaN as a gap."""
        return to_values(self.thousandths)


def points_query(measures: Sequence[str]) -> bytes:
    """The text of the query for some measures, which are names of MEASURES and never text from outside."""
    return (
        query("trends.points")
        .decode()
        .replace("{asked_arrays}", ", ".join(map(array_of, measures)))
        .replace("{asked}", ", ".join(measures))
        .replace("{any_asked}", " OR ".join(f"{name} IS NOT NULL" for name in measures))
        .encode()
    )


async def points(
    transaction: Transaction, pack: int, measures: Sequence[str], starts: datetime, ends: datetime, limit: int
) -> Points:
    """The readings with any of these measures, starts <= t < ends, one point a time, from at most `limit` rows."""
    parameters = {
        "tenant_id": transaction.actor.tenant_id,
        "pack_id": pack,
        "from": starts,
        "to": ends,
        "limit": limit + 1,
    }
    async with transaction.connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(points_query(measures), parameters, binary=True, prepare=False)
        ts_ms, *values = await cursor.fetchone() or (None,)
    if ts_ms is None:
        return Points(np.empty(0, np.int64), np.empty((len(measures), 0), np.int32))
    points_of = await asyncio.to_thread(lambda: _one_point_a_time(ts_ms, to_thousandths(np.stack(values))))
    return Points(*points_of, complete=len(ts_ms) <= limit)


def _one_point_a_time(ts_ms: Int64Array, thousandths: Int32Array) -> tuple[Int64Array, Int32Array]:
    """Rows of one time, in order of time, put together; ABSENT is the least of all values."""
    is_first = np.ones(len(ts_ms), np.bool_)
    is_first[1:] = ts_ms[1:] != ts_ms[:-1]
    if is_first.all():
        return ts_ms, thousandths
    starts = np.flatnonzero(is_first)
    return ts_ms[starts], np.maximum.reduceat(thousandths, starts, axis=1)
