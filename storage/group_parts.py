"""What windows of groups of packs are made of, in one snapshot: parts that stand, and readings for all else."""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np

from aggregations.groups import Days, Notes
from aggregations.quarters import RecordArray, Records, records_from_bytes
from aggregations.windows import TOTAL
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


@dataclass(frozen=True, slots=True, eq=False)
class Members:
    """Tenures of a group, t of them, with the position of each one's zone, int32[t]; counted: made of readings."""

    tenures: Tenures
    zone: Int32Array
    notes: Notes
    counted: Records


@dataclass(frozen=True, slots=True, eq=False)
class Uncounted:
    """Readings that aren't counted, in order of time: columns as `storage.counting.counted_of` takes them."""

    columns: tuple[Any, ...]

    @property
    def ts_ms(self) -> Int64Array:
        found: Int64Array = self.columns[2]
        return found

    @property
    def last_ms(self) -> int:
        return int(self.ts_ms[-1]) if len(self.ts_ms) else NEVER_MS

    def records(self, tenures: Tenures, bounds_ms: Int64Array, gap_ms: int) -> Records:
        """Records of the parts of bounds_ms[w] <= t < bounds_ms[w + 1], cut at quarter-hours too."""
        first, behind = np.searchsorted(self.ts_ms, [bounds_ms[0] - gap_ms, bounds_ms[-1] + gap_ms + 1])
        if first == behind:
            return no_records()
        quarters = np.arange(-(-bounds_ms[0] // QUARTER_MS) * QUARTER_MS, bounds_ms[-1], QUARTER_MS)
        cuts_ms = np.unique(np.concatenate([bounds_ms, quarters]))
        return counted_of([column[first:behind] for column in self.columns], tenures, cuts_ms, gap_ms)


class GroupParts:
    """Reads a group's parts, up to `rows_max` rows of them in all.

    Whatever reads them raises InvalidRequestError beyond.
    """

    def __init__(self, transaction: Transaction, group: PackGroup, rows_max: int) -> None:
        self._transaction = transaction
        self._group = group.parameters
        self._rows_max = rows_max
        self._rows = 0
        self.zones: list[ZoneInfo] = []
        self.mark_ms = NEVER_MS
        self.gap_ms = 0
        self.kept_since: datetime | None = None

    async def open(self) -> None:
        """Read what all answers need: the packs' zones, the counting mark, how far lines reach, what is kept."""
        rows = await self._transaction.rows("windows.zones_of_group", self._group)
        self.zones = [ZoneInfo(row["zone"]) for row in rows]
        found = await self._transaction.one("windows.counted_before")
        assert found is not None  # noqa: S101 - an aggregate gives a row
        if found["counted_before_ms"] is not None:
            self.mark_ms = found["counted_before_ms"]
        self.gap_ms = found["gap_s_max"] * 1000
        self.kept_since = found["archived_before"]

    def require(self, rows: int) -> None:
        """Raises InvalidRequestError when so many rows, beside those that were read, are too many."""
        if self._rows + rows > self._rows_max:
            raise InvalidRequestError(
                f"this takes more than {self._rows_max} readings, quarter-hours and days of packs: ask for a shorter"
                " range or a smaller group",
                field="to",
                limit=self._rows_max,
            )

    async def _columns(self, name: str, parameters: dict[str, Any]) -> tuple[Any, ...] | None:
        """The columns of a query whose rows are within what may be read; None without a row."""
        limit = {"limit": self._rows_max - self._rows + 1}
        found = await self._transaction.columns(name, self._group | parameters | limit)
        if found[0] is None:
            return None
        self.require(len(found[0]))
        self._rows += len(found[0])
        return found

    async def notes(self, from_ms_: int, to_ms: int) -> Notes:
        span = {"from": from_ms(from_ms_), "to": from_ms(to_ms)}
        found = await self._columns("windows.noted_of_group", span)
        return Notes(*(found or (np.empty(0, np.int32), np.empty(0, np.int64))))

    async def tenures(self, from_ms_: int, to_ms: int) -> tuple[Tenures, Int32Array] | None:
        """The group's tenures of a span, and the position of each one's zone; None without any."""
        span = {"from": from_ms(from_ms_), "to": from_ms(to_ms)}
        *found, zone = await self._transaction.columns("windows.tenures_of_group", self._group | span)
        if zone is None:
            return None
        position = {one.key: place for place, one in enumerate(self.zones)}
        return Tenures(*found), np.array([position[name] for name in zone], np.int32)

    async def members(self, notes: Notes, from_ms_: int, to_ms: int) -> tuple[Members, int] | None:
        """The group's members in a span, and the time of the last reading that isn't counted; None without any."""
        held = await self.tenures(from_ms_, to_ms)
        if held is None:
            return None
        tenures, zone = held
        noted = await self._counted_again(tenures, notes)
        first_ms = max(self.mark_ms, from_ms_) // QUARTER_MS * QUARTER_MS
        uncounted = await self.uncounted(tenures, first_ms, to_ms)

        def counted() -> Records:
            bounds_ms = np.array([first_ms, uncounted.last_ms // QUARTER_MS * QUARTER_MS + QUARTER_MS])
            return both(noted, uncounted.records(tenures, bounds_ms, self.gap_ms))

        records = await asyncio.to_thread(counted) if uncounted.last_ms >= first_ms else noted
        return Members(tenures, zone, notes, records), uncounted.last_ms

    async def _counted_again(self, tenures: Tenures, notes: Notes) -> Records:
        """Records of the noted quarter-hours below the mark."""
        below = notes.starts_ms < self.mark_ms
        pack, starts_ms = notes.pack[below], notes.starts_ms[below]
        if len(pack) == 0:
            return no_records()
        spans = merged_spans(pack, starts_ms - self.gap_ms, starts_ms + QUARTER_MS + self.gap_ms)
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
            return no_records()

        def counted() -> Records:
            bounds_ms = np.unique(np.concatenate([starts_ms, starts_ms + QUARTER_MS]))
            found = counted_of(readings, tenures, bounds_ms, self.gap_ms)
            # The neighbours' readings, and stretches between, were read in part.
            return found.of(Notes(pack, starts_ms).among(tenures.pack[found.series], found.starts_ms))

        return await asyncio.to_thread(counted)

    async def uncounted(self, tenures: Tenures, from_ms_: int, to_ms: int) -> Uncounted:
        """Readings of from <= t < to with the margins in which a line's other end may lie."""
        if from_ms_ < to_ms:
            packs = None if self._group["kind"] == "all" else int4s(np.unique(tenures.pack))
            span = {"from": from_ms(from_ms_ - self.gap_ms), "to": from_ms(to_ms + self.gap_ms)}
            found = await self._columns("windows.readings_since", span | {"packs": packs})
            if found is not None:
                order = np.argsort(found[2], kind="stable")
                return Uncounted(tuple(column[order] for column in found))
        return Uncounted((np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.int64)))

    async def days(self, members: Members, days: Days) -> tuple[Int32Array, Int64Array, RecordArray]:
        """The folded days that stand: in the zone as it is now, counted to their end, and without note.

        The position of each one's tenure, that of the day, and its total.
        """
        none = np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, TOTAL)
        if (days.edges_ms[:, 0] >= self.mark_ms).all():
            return none
        found = await self._columns("windows.days_of_group", {"from": days.first, "to": days.behind})
        if found is None:
            return none
        number, starts_ms, ends_ms, day, packed = found
        place, known = _places(members.tenures.number, number)
        edges_ms = days.edges_ms[members.zone[place]]
        rows = np.arange(len(place))
        good = known & (starts_ms == edges_ms[rows, day]) & (ends_ms == edges_ms[rows, day + 1])
        good &= ends_ms <= self.mark_ms
        pack = members.tenures.pack[place]
        order = np.lexsort((starts_ms, pack))
        good[order] &= ~members.notes.touch(pack[order], starts_ms[order], ends_ms[order])
        return place[good], day[good].astype(np.int64), np.frombuffer(packed, TOTAL)[good]

    async def quarters(
        self, members: Members, tenure: Int32Array, starts_ms: Int64Array, ends_ms: Int64Array
    ) -> Records:
        """Stored quarter-hours below the mark that have no note, of tenures, each in spans of its own."""
        before = starts_ms < self.mark_ms
        tenure, starts_ms, ends_ms = tenure[before], starts_ms[before], ends_ms[before]
        if len(tenure) == 0:
            return no_records()
        until_ms = np.minimum(ends_ms, self.mark_ms)
        found = await self._columns(
            "windows.quarters_of_tenures",
            {
                "place": int4s(tenure),
                "pack": int4s(members.tenures.pack[tenure]),
                "tenure": int4s(members.tenures.number[tenure]),
                "starts": times(starts_ms),
                "ends": times(until_ms),
                "from": from_ms(int(starts_ms.min())),
                "to": from_ms(int(until_ms.max())),
            },
        )
        if found is None:
            return no_records()
        place, quarter_ms, packed = found
        noted = members.notes.among(members.tenures.pack[place], quarter_ms)
        return Records(place, quarter_ms, records_from_bytes(packed)).of(~noted)


def _places(numbers: Int32Array, given: Int32Array) -> tuple[Int32Array, BoolArray]:
    """Positions of numbers among others, and which of them are there at all."""
    order = np.argsort(numbers)
    near = np.minimum(np.searchsorted(numbers, given, sorter=order), len(numbers) - 1)
    place = order[near].astype(np.int32)
    return place, numbers[place] == given


def no_records() -> Records:
    return Records(np.empty(0, np.int32), np.empty(0, np.int64), records_from_bytes(b""))


def both(one: Records, other: Records) -> Records:
    """In order of (series, start); they don't overlap."""
    series = np.concatenate([one.series, other.series])
    starts_ms = np.concatenate([one.starts_ms, other.starts_ms])
    order = np.lexsort((starts_ms, series))
    return Records(series[order], starts_ms[order], np.concatenate([one.records, other.records])[order])
