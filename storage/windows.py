"""A pack's windows as requests see them: one snapshot, equal to a recount of its readings (rule E16)."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
from psycopg.rows import tuple_row

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
from aggregations.calendars import day_bounds
from aggregations.groups import GroupRecord, group_record_from_bytes, percentiles_of
from aggregations.quarters import Columns, RecordArray, Records, records_from_bytes
from aggregations.windows import TOTAL
from domain.clock import from_ms
from domain.measures import MEASURE_NAMES, MEASURES
from domain.packs import ALWAYS_MS, FOREVER_MS
from domain.readings import Int32Array, Int64Array, to_thousandths
from domain.windows import QUARTER_MS
from storage.database import query, times
from storage.transactions import Transaction

_NEVER_MS = int(np.iinfo(np.int64).min)
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
    """
    found = await transaction.one("windows.counted_before")
    assert found is not None  # noqa: S101 - an aggregate gives a row
    mark_ms = _NEVER_MS if found["counted_before_ms"] is None else found["counted_before_ms"]
    gap_ms = found["gap_s_max"] * 1000
    holdings = Holdings(*_or_empty(await _columns(transaction, "windows.tenures_of_pack", {"pack_id": pack})))
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


async def _columns(transaction: Transaction, name: str, parameters: dict[str, Any]) -> tuple[Any, ...]:
    given = {"tenant_id": transaction.actor.tenant_id} | parameters
    async with transaction.connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(query(name), given, binary=True, prepare=False)
        return await cursor.fetchone() or ()


def _or_empty(columns: tuple[Any, ...]) -> tuple[Int64Array, Int64Array, Int32Array]:
    if columns[0] is None:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int32)
    from_ms_, to_ms_, number = columns
    return from_ms_, to_ms_, number


def _range(spans: Spans) -> dict[str, Any]:
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
    (noted_ms,) = await _columns(transaction, "windows.noted_of_pack", span)
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
    number, starts_ms, ends_ms, packed = await _columns(transaction, "windows.days_of_pack", span)
    if number is None:
        return none
    found = StoredDays(holdings.place_of(number), starts_ms, ends_ms, np.frombuffer(packed, TOTAL))
    return usable_days(found, bounds_ms, needed.quarters, holdings)


def _spans_of(days: StoredDays) -> Spans:
    starts_ms, first = np.unique(days.starts_ms, return_index=True)
    return starts_ms, days.ends_ms[first]


async def _quarters(transaction: Transaction, pack: int, spans: Spans, holdings: Holdings) -> Records:
    if len(spans[0]):
        found = await _columns(transaction, "windows.quarters_of_pack", {"pack_id": pack} | _range(spans))
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
    asked = {"pack_id": pack, "limit": readings_max + 1} | _range(spans)
    ts_ms, *values = await _columns(transaction, "windows.readings_of_pack", asked)
    if ts_ms is None:
        return none

    def held() -> Columns:
        holder = holdings.holder_of(ts_ms)
        some = holder >= 0
        return Columns(holder[some], ts_ms[some], to_thousandths(np.stack(values)[:, some]))

    # A cut at the limit must be seen, whoever held the pack.
    if len(ts_ms) > readings_max:
        return Columns(np.zeros(len(ts_ms), np.int32), ts_ms, np.empty((len(MEASURES), 0), np.int32))
    return await asyncio.to_thread(held)


NO_GROUP = UUID(int=0)
"""Stands for the group of all packs."""


@dataclass(frozen=True, slots=True)
class GroupDays:
    """A group's days: the number of packs and the percentiles of each; waiting: those that are still to be folded."""

    days: dict[date, tuple[int, GroupRecord]]
    waiting: frozenset[date]


async def group_days(transaction: Transaction, kind: str, group_id: UUID, days: Sequence[date]) -> GroupDays:
    """What is stored of some days of a group, as it was folded from days of packs."""
    span = {"from": days[0], "to": days[-1] + timedelta(days=1)}
    rows = await transaction.rows("windows.group_days", {"kind": kind, "group_id": group_id} | span)
    waiting = await transaction.rows("windows.waiting_days", span)
    return GroupDays(
        {row["day"]: (row["packs"], group_record_from_bytes(row["record"])) for row in rows},
        frozenset(row["day"] for row in waiting) & frozenset(days),
    )


@dataclass(frozen=True, slots=True)
class GroupLimits:
    """What may be computed for one answer: days of packs, and readings."""

    pack_days_max: int
    readings_max: int


async def group_days_now(
    transaction: Transaction, kind: str, group_id: UUID, days: Sequence[date], limits: GroupLimits
) -> dict[date, tuple[int, GroupRecord]] | None:
    """Days of a group computed from its packs' windows of this snapshot, as folding will store them.

    Days that aren't over at a pack's site are left out for it. None when the limits don't allow it.
    """
    found: dict[date, tuple[int, GroupRecord]] = {}
    left = limits
    for day in days:
        asked = {"kind": kind, "group_id": group_id, "day": day, "limit": left.pack_days_max + 1}
        bounds = {"always_ms": ALWAYS_MS, "forever_ms": FOREVER_MS}
        members = await transaction.rows("windows.members", asked | bounds)
        if len(members) > left.pack_days_max:
            return None
        parts = await _parts_of_day(transaction, day, members, left.readings_max)
        if parts is None:
            return None
        packs, totals, read = parts
        left = GroupLimits(left.pack_days_max - len(members), left.readings_max - read)
        if packs:
            found[day] = percentiles_of(np.array(packs, np.int32), np.concatenate(totals))
    return found


async def _parts_of_day(
    transaction: Transaction, day: date, members: Sequence[dict[str, Any]], readings_max: int
) -> tuple[list[int], list[RecordArray], int] | None:
    """The packs with anything on the day, their totals, and the readings read for them; None beyond the limit."""
    mark = await transaction.one("windows.counted_before")
    assert mark is not None  # noqa: S101 - an aggregate gives a row
    packs: list[int] = []
    totals: list[RecordArray] = []
    read = 0
    for member in members:
        starts_ms, ends_ms = day_bounds(day, ZoneInfo(member["zone"]))
        first_ms, behind_ms = max(starts_ms, member["from_ms"]), min(ends_ms, member["to_ms"])
        is_over = mark["counted_before_ms"] is not None and ends_ms <= mark["counted_before_ms"]
        if first_ms >= behind_ms or not is_over:
            continue
        bounds_ms = np.array([first_ms, behind_ms], np.int64)
        part = await pack_windows(transaction, member["pack_id"], bounds_ms, readings_max - read)
        if not part.complete:
            return None
        read += part.readings
        if part.totals["covered_ms"][0] or any(part.totals[name]["count"][0] for name in MEASURE_NAMES):
            packs.append(member["pack_id"])
            totals.append(part.totals)
    return packs, totals, read
