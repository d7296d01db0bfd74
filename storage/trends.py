"""A pack's readings as columns."""

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
    """ts_ms int64[n], ascending; thousandths int32[measures asked, n], ABSENT as a gap."""

    ts_ms: Int64Array
    thousandths: Int32Array

    def __len__(self) -> int:
        return len(self.ts_ms)

    def values(self) -> Float64Array:
        """float64[measures asked, n], NaN as a gap."""
        return to_values(self.thousandths)


async def points(
    transaction: Transaction, pack: int, measures: Sequence[str], starts: datetime, ends: datetime, limit: int
) -> Points:
    """The readings with any of these measures, starts <= t < ends, at most `limit` of the earliest.

    measures are names of MEASURES, never text from outside.
    """
    replaced = (
        query("trends.points")
        .decode()
        .replace("{asked_arrays}", ", ".join(map(array_of, measures)))
        .replace("{asked_maxima}", ", ".join(f"max({name}) AS {name}" for name in measures))
        .replace("{any_asked}", " OR ".join(f"{name} IS NOT NULL" for name in measures))
    )
    parameters = {
        "tenant_id": transaction.actor.tenant_id,
        "pack_id": pack,
        "from": starts,
        "to": ends,
        "limit": limit,
    }
    async with transaction.connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(replaced.encode(), parameters, binary=True, prepare=False)
        ts_ms, *values = await cursor.fetchone() or (None,)
    if ts_ms is None:
        return Points(np.empty(0, np.int64), np.empty((len(measures), 0), np.int32))
    return Points(ts_ms, to_thousandths(np.stack(values)))
