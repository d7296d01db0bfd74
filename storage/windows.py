"""A pack's windows as requests see them: one snapshot, equal to a recount of its readings (rule E16)."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from aggregations.answers import (
    Holdings,
    Sources,
    Spans,
    StoredDays,
    count_spans,
    put_together,
    sources,
    usable_days,
    widened,
    without,
)
from aggregations.quarters import Columns, RecordArray, Records, records_from_bytes
from aggregations.windows import TOTAL
from domain.clock import from_ms
from domain.measures import MEASURES
from domain.readings import Int32Array, Int64Array
from domain.windows import QUARTER_MS
from kernels.scaling import thousandths_of
from storage.database import float4s_from, times, times_from
from storage.retention import require_kept_windows
from storage.transactions import Transaction

NEVER_MS = int(np.iinfo(np.int64).min)
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True, eq=False)
class PackWindows:
    """totals TOTAL[k] of the windows asked; readings: how many were read for them, at most one above the limit."""

    totals: RecordArray
    readings: int
    complete: bool


async def pack_windows(
    transaction: Transaction, pack: int, bounds_ms: Int64Array, readings_max: int
) -> PackWindows:
    """The windows bounds_ms[w] <= t < bounds_ms[w + 1] of a pack, from its tenant's own readings.

    bounds_ms int64[k + 1]. Not complete, and without meaning, when more than `readings_max` readings had to be read.
    Raises ArchivedError for windows of readings that aren't kept.
    """
    found = await transaction.one("windows.counted_before")
    assert found is not None  # noqa: S101 - an aggregate gives a row
    require_kept_windows(found["archived_before"], bounds_ms)
    mark_ms = NEVER_MS if found["counted_before_ms"] is None else found["counted_before_ms"]
    gap_ms = found["gap_s_max"] * 1000
    holdings = Holdings(*_or_empty(await transaction.columns("windows.tenures_of_pack", {"pack_id": pack})))
    noted_ms = await _noted(transaction, pack, bounds_ms)
    needed = sources(bounds_ms, mark_ms, noted_ms)
    days = await _days(transaction, pack, bounds_ms, needed, holdings)
    whole = without(needed.quarters, _spans_of(days))
    quarters = await _quarters(transaction, pack, whole, holdings)
    readings = await _readings(transaction, pack, widened(needed.readings, gap_ms), holdings, readings_max)
    if len(readings) > readings_max:
        return PackWindows(np.empty(0, TOTAL), len(readings), complete=False)

    def together() -> RecordArray:
        counted = count_spans(readings, bounds_ms, needed.readings, gap_ms)
        return put_together(bounds_ms, quarters, counted, days)

    return PackWindows(await asyncio.to_thread(together), len(readings), complete=True)


async def readings_within(
    transaction: Transaction, packs: Sequence[int], starts: datetime, ends: datetime, readings_max: int
) -> int:
    """How many readings of the packs starts <= t < ends needs, with margins; at most one above the limit."""
    found = await transaction.one("windows.counted_before")
    assert found is not None  # noqa: S101 - an aggregate gives a row
    margin = timedelta(seconds=found["gap_s_max"])
    asked = {
        "packs": list(packs),
        "starts": starts - margin,
        "ends": ends + margin,
        "limit": readings_max + 1,
    }
    row = await transaction.one("windows.count_readings", asked)
    assert row is not None  # noqa: S101 - an aggregate gives a row
    return int(row["readings"])


def _or_empty(columns: tuple[Any, ...]) -> tuple[Int64Array, Int64Array, Int32Array]:
    if columns[0] is None:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int32)
    from_ms_, to_ms_, number = columns
    return from_ms_, to_ms_, number


def range_of(spans: Spans) -> dict[str, Any]:
    """Parameters of a query over spans, with the constant bounds by which partitions are left out."""
    return {
        "starts": times(spans[0]),
        "ends": times(spans[1]),
        "from": from_ms(int(spans[0].min())),
        "to": from_ms(int(spans[1].max())),
    }


async def _noted(transaction: Transaction, pack: int, bounds_ms: Int64Array) -> Int64Array:
    from_ms_ = int(bounds_ms[0]) // QUARTER_MS * QUARTER_MS
    span = {"pack_id": pack, "from": from_ms(from_ms_), "to": from_ms(int(bounds_ms[-1]))}
    (noted_ms,) = await transaction.columns("windows.noted_of_pack", span)
    return np.empty(0, np.int64) if noted_ms is None else noted_ms


async def _days(
    transaction: Transaction, pack: int, bounds_ms: Int64Array, needed: Sources, holdings: Holdings
) -> StoredDays:
    none = StoredDays(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, TOTAL))
    if len(needed.quarters[0]) == 0 or (np.diff(bounds_ms) < _DAY_MS // 2).all():
        return none
    span = {
        "pack_id": pack,
        "from": from_ms(int(needed.quarters[0].min())),
        "to": from_ms(int(needed.quarters[1].max())),
    }
    number, starts_ms, ends_ms, packed = await transaction.columns("windows.days_of_pack", span)
    if number is None:
        return none
    found = StoredDays(holdings.place_of(number), starts_ms, ends_ms, np.frombuffer(packed, TOTAL))
    return usable_days(found, bounds_ms, needed.quarters, holdings)


def _spans_of(days: StoredDays) -> Spans:
    starts_ms, first = np.unique(days.starts_ms, return_index=True)
    return starts_ms, days.ends_ms[first]


async def _quarters(transaction: Transaction, pack: int, spans: Spans, holdings: Holdings) -> Records:
    if len(spans[0]):
        found = await transaction.columns("windows.quarters_of_pack", {"pack_id": pack} | range_of(spans))
        number, starts_ms, packed = found
        if number is not None:
            return Records(holdings.place_of(number), starts_ms, records_from_bytes(packed))
    return Records(np.empty(0, np.int32), np.empty(0, np.int64), records_from_bytes(b""))


async def _readings(
    transaction: Transaction, pack: int, spans: Spans, holdings: Holdings, readings_max: int
) -> Columns:
    none = Columns(np.empty(0, np.int32), np.empty(0, np.int64), np.empty((len(MEASURES), 0), np.int32))
    if len(spans[0]) == 0:
        return none
    asked = {"pack_id": pack, "limit": readings_max + 1} | range_of(spans)
    packed_ts, *packed = await transaction.columns("windows.readings_of_pack", asked)
    if packed_ts is None:
        return none
    ts_ms = times_from(packed_ts)

    def held() -> Columns:
        holder = holdings.holder_of(ts_ms)
        some = holder >= 0
        return Columns(holder[some], ts_ms[some], thousandths_of(float4s_from(packed))[:, some])

    # A cut at the limit must be seen, whoever held the pack.
    if len(ts_ms) > readings_max:
        return Columns(np.zeros(len(ts_ms), np.int32), ts_ms, np.empty((len(MEASURES), 0), np.int32))
    return await asyncio.to_thread(held)
