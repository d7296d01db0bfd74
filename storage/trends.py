"""A pack's readings as columns."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from psycopg.rows import tuple_row

from aggregations.trends import Sought
from domain.clock import from_ms
from domain.readings import Float64Array, Int32Array, Int64Array, to_thousandths, to_values
from storage.database import array_of, int4s, query, times
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


def points_query(measures: Sequence[str], name: str = "trends.points") -> bytes:
    """The text of a query for some measures, which are names of MEASURES and never text from outside."""
    return (
        query(name)
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
    span = {"pack_id": pack, "from": starts, "to": ends, "limit": limit + 1}
    ts_ms, *values = await _columns(transaction, points_query(measures), span)
    if ts_ms is None:
        return no_points(measures)
    points_of = await asyncio.to_thread(lambda: _one_point_a_time(ts_ms, to_thousandths(np.stack(values))))
    return Points(*points_of, complete=len(ts_ms) <= limit)


def no_points(measures: Sequence[str]) -> Points:
    """Nothing of so many measures."""
    return Points(np.empty(0, np.int64), np.empty((len(measures), 0), np.int32))


async def _columns(transaction: Transaction, text: bytes, parameters: dict[str, Any]) -> tuple[Any, ...]:
    given = {"tenant_id": transaction.actor.tenant_id} | parameters
    async with transaction.connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(text, given, binary=True, prepare=False)
        return await cursor.fetchone() or (None,)


async def extent(
    transaction: Transaction, pack: int, starts: datetime, ends: datetime
) -> tuple[int, int] | None:
    """Milliseconds of the first and the last reading in starts <= t < ends, None without one."""
    found = await transaction.one("trends.extent", {"pack_id": pack, "from": starts, "to": ends})
    return None if found is None or found["first_ms"] is None else (found["first_ms"], found["last_ms"])


async def points_sought(
    transaction: Transaction, pack: int, by_measure: Mapping[str, Sought], measures: Sequence[str]
) -> Points:
    """The readings of all times that are sought for any measure, with all measures that they have then."""
    moments_ms = [sought.ts_ms for sought in by_measure.values()]
    for name, sought in by_measure.items():
        if len(sought.starts_ms):
            moments_ms.append(await _first_of_values(transaction, pack, name, sought))
    ts_ms = np.unique(np.concatenate(moments_ms))
    if len(ts_ms) == 0:
        return no_points(measures)
    span = {
        "pack_id": pack,
        "moments": times(ts_ms),
        "from": from_ms(int(ts_ms[0])),
        "to": from_ms(int(ts_ms[-1]) + 1),
    }
    found_ms, *values = await _columns(transaction, points_query(measures, "trends.points_at"), span)
    if found_ms is None:
        return no_points(measures)
    return Points(*_one_point_a_time(found_ms, to_thousandths(np.stack(values))))


async def _first_of_values(transaction: Transaction, pack: int, measure: str, sought: Sought) -> Int64Array:
    span = {
        "pack_id": pack,
        "starts": times(sought.starts_ms),
        "ends": times(sought.ends_ms),
        "thousandths": int4s(sought.thousandths),
        "from": from_ms(int(sought.starts_ms.min())),
        "to": from_ms(int(sought.ends_ms.max())),
    }
    text = query("trends.first_of_values").replace(b"{measure}", measure.encode())
    (found_ms,) = await _columns(transaction, text, span)
    return np.empty(0, np.int64) if found_ms is None else found_ms


def _one_point_a_time(ts_ms: Int64Array, thousandths: Int32Array) -> tuple[Int64Array, Int32Array]:
    """Rows of one time, in order of time, put together; ABSENT is the least of all values."""
    is_first = np.ones(len(ts_ms), np.bool_)
    is_first[1:] = ts_ms[1:] != ts_ms[:-1]
    if is_first.all():
        return ts_ms, thousandths
    starts = np.flatnonzero(is_first)
    return ts_ms[starts], np.maximum.reduceat(thousandths, starts, axis=1)
