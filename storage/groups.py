"""Days of groups of packs as requests see them: one snapshot, equal to a recount of the readings (rule E16)."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np

from aggregations.calendars import day_bounds
from aggregations.groups import (
    GroupRecord,
    Notes,
    doubtful,
    group_record_from_bytes,
    percentiles_of,
    spans_around,
)
from aggregations.quarters import RecordArray, Records, records_from_bytes
from aggregations.windows import TOTAL, fold, totals_of
from domain.clock import from_ms
from domain.errors import InvalidRequestError
from domain.groups import GroupKind
from domain.readings import BoolArray, Int32Array, Int64Array
from domain.windows import QUARTER_MS
from storage.counting import Tenures, counted_of, merged_spans
from storage.database import int4s, times
from storage.transactions import Transaction
from storage.windows import NEVER_MS

NO_GROUP: Final = UUID(int=0)
"""Stands for the group of all packs."""

_SERIES_MAX: Final = 1000
"""Tenures whose quarter-hours of a day are read at once."""


@dataclass(frozen=True, slots=True, eq=False)
class PackGroup:
    """Some packs of a tenant: by the site or model of their tenures, or by their numbers, int32[n]."""

    kind: GroupKind
    id: UUID | None = None
    packs: Int32Array | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        packs = None if self.packs is None else int4s(self.packs)
        return {"kind": str(self.kind), "group_id": self.id or NO_GROUP, "packs": packs}


GroupDays = dict[date, tuple[int, GroupRecord]]
"""The number of packs and the percentiles of each day; days without packs are absent."""


async def group_days(
    transaction: Transaction, group: PackGroup, days: Sequence[date], rows_max: int
) -> GroupDays:
    """Some days of a group, ascending: as stored, or computed where that may be behind the readings.

    Of a saved group nothing is stored: its days are computed from those of its packs.
    Raises InvalidRequestError when more than `rows_max` readings, notes and stored quarter-hours and days of packs
    had to be read to compute them.
    """
    if not days:
        return {}
    asked = group.parameters
    span = {"from": days[0], "to": days[-1] + timedelta(days=1)}
    rows = await transaction.rows("windows.group_days", asked | span)
    stored = {row["day"]: (row["packs"], group_record_from_bytes(row["record"])) for row in rows}
    if group.kind is GroupKind.SAVED:
        waiting = set(days)
    else:
        waiting = {row["day"] for row in await transaction.rows("windows.waiting_days", span)}
    zones = [ZoneInfo(row["zone"]) for row in await transaction.rows("windows.zones_of_group", asked)]
    found = await transaction.one("windows.counted_before")
    assert found is not None  # noqa: S101 - an aggregate gives a row
    mark_ms = NEVER_MS if found["counted_before_ms"] is None else found["counted_before_ms"]
    now = _Now(transaction, asked, zones, mark_ms, found["gap_s_max"] * 1000, rows_max)
    computed = await now.compute(days, waiting)
    return {day: one for day, one in stored.items() if day not in computed} | {
        day: one for day, one in computed.items() if one is not None
    }


@dataclass(frozen=True, slots=True, eq=False)
class _Members:
    """Tenures of a group, t of them, with the position of each one's zone, int32[t]; counted: made of readings."""

    tenures: Tenures
    zone: Int32Array
    notes: Notes
    counted: Records


class _Now:
    """Days of a group computed in one snapshot: from days and quarter-hours that stand, and readings for all else."""

    def __init__(
        self,
        transaction: Transaction,
        group: dict[str, Any],
        zones: Sequence[ZoneInfo],
        mark_ms: int,
        gap_ms: int,
        rows_max: int,
    ) -> None:
        self._transaction = transaction
        self._group = group
        self._zones = zones
        self._mark_ms = mark_ms
        self._gap_ms = gap_ms
        self._rows_max = rows_max
        self._rows = 0

    async def compute(
        self, days: Sequence[date], waiting: set[date]
    ) -> dict[date, tuple[int, GroupRecord] | None]:
        """Those of the days that can't be taken as they are stored; None without packs."""
        around_ms = spans_around(np.array(days, "datetime64[ms]").astype(np.int64))
        notes = await self._notes(int(around_ms[0, 0]), int(around_ms[-1, 1]))
        noted_ms = np.unique(notes.starts_ms)
        is_waiting = np.array([day in waiting for day in days], np.bool_)
        asked = np.flatnonzero(doubtful(around_ms, is_waiting, self._mark_ms, noted_ms))
        # Days that begin behind the mark may lie in the future, where a calendar needn't be asked for each.
        later = asked[around_ms[asked, 0] >= self._mark_ms]
        asked = asked[around_ms[asked, 0] < self._mark_ms]
        bounds = {place: self._bounds(days[place]) for place in asked.tolist()}
        hulls_ms = np.array([_hull(bounds[place]) for place in asked.tolist()], np.int64).reshape(-1, 2)
        asked = asked[doubtful(hulls_ms, is_waiting[asked], self._mark_ms, noted_ms)]
        every = np.sort(np.concatenate([asked, later]))
        found: dict[date, tuple[int, GroupRecord] | None] = {days[place]: None for place in every.tolist()}
        if len(every) == 0:
            return found
        ends_ms = [int(bounds[place][:, 1].max()) for place in asked.tolist()]
        ends_ms += around_ms[later, 1].tolist()
        members, last_ms = await self._members(notes, int(around_ms[every[0], 0]), max(ends_ms))
        if members is None:
            return found
        bounds |= {
            place: self._bounds(days[place]) for place in later[around_ms[later, 0] <= last_ms].tolist()
        }
        for place in every.tolist():
            if place in bounds:
                found[days[place]] = await self._day(members, days[place], bounds[place])
        return found

    def _bounds(self, day: date) -> Int64Array:
        """int64[zones, 2]."""
        return np.array([day_bounds(day, zone) for zone in self._zones], np.int64).reshape(-1, 2)

    def _spend(self, rows: int) -> None:
        self._rows += rows
        if self._rows > self._rows_max:
            raise InvalidRequestError(
                f"days of this range are still to be counted or folded, and need more than {self._rows_max}"
                " readings, quarter-hours and days of packs: ask for a shorter range or a smaller group",
                field="to",
                limit=self._rows_max,
            )

    async def _columns(self, name: str, parameters: dict[str, Any]) -> tuple[Any, ...] | None:
        """The columns of a query whose rows are within what may be read; None without a row."""
        limit = {"limit": self._rows_max - self._rows + 1}
        found = await self._transaction.columns(name, self._group | parameters | limit)
        if found[0] is None:
            return None
        self._spend(len(found[0]))
        return found

    async def _notes(self, from_ms_: int, to_ms: int) -> Notes:
        span = {"from": from_ms(from_ms_), "to": from_ms(to_ms)}
        found = await self._columns("windows.noted_of_group", span)
        return Notes(*(found or (np.empty(0, np.int32), np.empty(0, np.int64))))

    async def _members(self, notes: Notes, from_ms_: int, to_ms: int) -> tuple[_Members | None, int]:
        """The group's tenures of a span, and the time of the last reading that isn't counted."""
        span = {"from": from_ms(from_ms_), "to": from_ms(to_ms)}
        *found, zone = await self._transaction.columns("windows.tenures_of_group", self._group | span)
        if zone is None:
            return None, NEVER_MS
        tenures = Tenures(*found)
        position = {one.key: place for place, one in enumerate(self._zones)}
        noted = await self._counted_again(tenures, notes)
        uncounted, last_ms = await self._uncounted(tenures, max(self._mark_ms, from_ms_), to_ms)
        places = np.array([position[name] for name in zone], np.int32)
        return _Members(tenures, places, notes, _both(noted, uncounted)), last_ms

    async def _counted_again(self, tenures: Tenures, notes: Notes) -> Records:
        """Records of the noted quarter-hours below the mark."""
        below = notes.starts_ms < self._mark_ms
        pack, starts_ms = notes.pack[below], notes.starts_ms[below]
        if len(pack) == 0:
            return _no_records()
        spans = merged_spans(pack, starts_ms - self._gap_ms, starts_ms + QUARTER_MS + self._gap_ms)
        readings = await self._columns(
            "windows.readings_of_packs",
            {
                "pack": int4s(spans[0]),
                "starts": times(spans[1]),
                "ends": times(spans[2]),
                "from": from_ms(int(spans[1].min())),
                "to": from_ms(int(spans[2].max())),
            },
        )
        if readings is None:
            return _no_records()

        def counted() -> Records:
            bounds_ms = np.unique(np.concatenate([starts_ms, starts_ms + QUARTER_MS]))
            found = counted_of(readings, tenures, bounds_ms, self._gap_ms)
            # The neighbours' readings, and stretches between, were read in part.
            return found.of(Notes(pack, starts_ms).among(tenures.pack[found.series], found.starts_ms))

        return await asyncio.to_thread(counted)

    async def _uncounted(self, tenures: Tenures, from_ms_: int, to_ms: int) -> tuple[Records, int]:
        """Records of the quarter-hours behind the mark, and the time of their last reading."""
        first_ms = from_ms_ // QUARTER_MS * QUARTER_MS
        if first_ms >= to_ms:
            return _no_records(), NEVER_MS
        packs = None if self._group["kind"] == "all" else int4s(np.unique(tenures.pack))
        span = {"from": from_ms(first_ms - self._gap_ms), "to": from_ms(to_ms + self._gap_ms)}
        readings = await self._columns("windows.readings_since", span | {"packs": packs})
        if readings is None:
            return _no_records(), NEVER_MS
        last_ms = int(readings[2].max())

        def counted() -> Records:
            bounds_ms = np.arange(first_ms, last_ms + 2 * QUARTER_MS, QUARTER_MS, dtype=np.int64)
            return counted_of(readings, tenures, bounds_ms, self._gap_ms)

        return await asyncio.to_thread(counted), last_ms

    async def _day(
        self, members: _Members, day: date, bounds_ms: Int64Array
    ) -> tuple[int, GroupRecord] | None:
        tenures = members.tenures
        starts_ms, ends_ms = bounds_ms[members.zone].T
        holds = (tenures.from_ms < ends_ms) & (tenures.to_ms > starts_ms)
        series, totals = await self._stored(members, day, starts_ms, ends_ms)
        holds[series] = False
        parts = [(series, totals)]
        open_series = np.flatnonzero(holds).astype(np.int32)
        for first in range(0, len(open_series), _SERIES_MAX):
            some = open_series[first : first + _SERIES_MAX]
            quarters = await self._quarters(members, some, starts_ms, ends_ms)
            counted = members.counted
            inside = np.isin(counted.series, some)
            inside &= (counted.starts_ms >= starts_ms[counted.series]) & (
                counted.starts_ms < ends_ms[counted.series]
            )
            parts.append(await asyncio.to_thread(_folded, _both(quarters, counted.of(inside))))

        def together() -> tuple[int, GroupRecord] | None:
            every = np.concatenate([series for series, _ in parts])
            if len(every) == 0:
                return None
            order = np.argsort(every, kind="stable")
            found = np.concatenate([totals for _, totals in parts])[order]
            return percentiles_of(tenures.pack[every[order]], found)

        return await asyncio.to_thread(together)

    async def _stored(
        self, members: _Members, day: date, starts_ms: Int64Array, ends_ms: Int64Array
    ) -> tuple[Int32Array, RecordArray]:
        """The folded days that stand: in the zone as it is now, counted to their end, and without note."""
        none = np.empty(0, np.int32), np.empty(0, TOTAL)
        if (starts_ms >= self._mark_ms).all():
            return none
        found = await self._columns("windows.days_of_group", {"day": day})
        if found is None:
            return none
        number, day_starts_ms, day_ends_ms, packed = found
        place, known = _places(members.tenures.number, number)
        touched = members.notes.touch(members.tenures.pack, starts_ms, ends_ms)
        good = known & (day_starts_ms == starts_ms[place]) & (day_ends_ms == ends_ms[place])
        good &= ~touched[place] & (ends_ms[place] <= self._mark_ms)
        return place[good], np.frombuffer(packed, TOTAL)[good]

    async def _quarters(
        self, members: _Members, series: Int32Array, starts_ms: Int64Array, ends_ms: Int64Array
    ) -> Records:
        """Stored quarter-hours below the mark that have no note, of some tenures' days."""
        series = series[starts_ms[series] < self._mark_ms]
        if len(series) == 0:
            return _no_records()
        until_ms = np.minimum(ends_ms[series], self._mark_ms)
        found = await self._columns(
            "windows.quarters_of_tenures",
            {
                "place": int4s(series),
                "pack": int4s(members.tenures.pack[series]),
                "tenure": int4s(members.tenures.number[series]),
                "starts": times(starts_ms[series]),
                "ends": times(until_ms),
                "from": from_ms(int(starts_ms[series].min())),
                "to": from_ms(int(until_ms.max())),
            },
        )
        if found is None:
            return _no_records()
        place, quarter_ms, packed = found
        noted = members.notes.among(members.tenures.pack[place], quarter_ms)
        return Records(place, quarter_ms, records_from_bytes(packed)).of(~noted)


def _hull(bounds_ms: Int64Array) -> tuple[int, int]:
    """The span of a day in all zones, empty without any."""
    if len(bounds_ms) == 0:
        return NEVER_MS, NEVER_MS
    return int(bounds_ms[:, 0].min()), int(bounds_ms[:, 1].max())


def _places(numbers: Int32Array, given: Int32Array) -> tuple[Int32Array, BoolArray]:
    """Positions of numbers among others, and which of them are there at all."""
    order = np.argsort(numbers)
    near = np.minimum(np.searchsorted(numbers, given, sorter=order), len(numbers) - 1)
    place = order[near].astype(np.int32)
    return place, numbers[place] == given


def _no_records() -> Records:
    return Records(np.empty(0, np.int32), np.empty(0, np.int64), records_from_bytes(b""))


def _both(one: Records, other: Records) -> Records:
    """In order of (series, start); they don't overlap."""
    series = np.concatenate([one.series, other.series])
    starts_ms = np.concatenate([one.starts_ms, other.starts_ms])
    order = np.lexsort((starts_ms, series))
    return Records(series[order], starts_ms[order], np.concatenate([one.records, other.records])[order])


def _folded(records: Records) -> tuple[Int32Array, RecordArray]:
    series, totals = fold(totals_of(records), records.series.astype(np.int64))
    return series.astype(np.int32), totals
