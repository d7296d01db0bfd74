"""Windows of groups of packs as requests see them: one snapshot, equal to a recount of the readings (rule E16)."""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from itertools import pairwise
from typing import Final

import numpy as np

from aggregations.groups import (
    Days,
    GroupRecord,
    days_of,
    doubtful,
    group_record_from_bytes,
    percentiles_each,
    percentiles_of,
    runs_of,
    spans_around,
)
from aggregations.quarters import RecordArray, Records
from aggregations.windows import TOTAL, fold, totals_of
from domain.groups import GroupKind
from domain.readings import BoolArray, Int32Array, Int64Array
from domain.windows import QUARTER_MS
from storage.counting import Tenures
from storage.group_parts import GroupParts, Members, PackGroup, Uncounted, both
from storage.retention import require_kept_windows
from storage.transactions import Transaction
from storage.windows import NEVER_MS

_QUARTERS_MAX: Final = 96_000
"""Stored quarter-hours that are read at once: the days of a thousand tenures."""

_TOTALS_MAX: Final = 50_000
"""Windows of tenures that are held at once, and days."""

GroupWindow = tuple[int, GroupRecord]
"""The number of packs, and the percentiles over them."""

GroupDays = dict[date, GroupWindow]
"""Days without packs are absent."""


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
    span = {"from": days[0], "to": days[-1] + timedelta(days=1)}
    rows = await transaction.rows("windows.group_days", group.parameters | span)
    stored = {row["day"]: (row["packs"], group_record_from_bytes(row["record"])) for row in rows}
    if group.kind is GroupKind.SAVED:
        waiting = set(days)
    else:
        waiting = {row["day"] for row in await transaction.rows("windows.waiting_days", span)}
    parts = GroupParts(transaction, group, rows_max)
    await parts.open()
    computed = await _doubtful_days(parts, days, waiting)
    return {day: one for day, one in stored.items() if day not in computed} | {
        day: one for day, one in computed.items() if one is not None
    }


async def group_calendar(
    transaction: Transaction, group: PackGroup, windows: Sequence[tuple[date, date]], rows_max: int
) -> list[GroupWindow | None]:
    """Windows of whole days first <= day < behind of a group, ascending; each pack's days are those of its zone.

    Nothing of it is stored: they are put together from the days of packs. None without packs.
    Raises InvalidRequestError as `group_days` does.
    """
    found: list[GroupWindow | None] = [None] * len(windows)
    if not windows:
        return found
    parts = GroupParts(transaction, group, rows_max)
    await parts.open()
    begins_ms = np.array([first for first, _ in windows], "datetime64[ms]").astype(np.int64)
    last_day_ms = np.array([windows[-1][1] - timedelta(days=1)], "datetime64[ms]").astype(np.int64)
    from_ms_, to_ms = int(spans_around(begins_ms)[0, 0]), int(spans_around(last_day_ms)[0, 1])
    held = await parts.members(await parts.notes(from_ms_, to_ms), from_ms_, to_ms)
    if held is None:
        return found
    members, last_ms = held
    reached_ms = max(parts.mark_ms, last_ms + 1)
    begins_ms = spans_around(np.array([first for first, _ in windows], "datetime64[ms]").astype(np.int64))[
        :, 0
    ]
    count = int(np.searchsorted(begins_ms, reached_ms))
    parts.require(count * len(members.tenures.pack))
    days_max = max(1, _TOTALS_MAX // len(members.tenures.pack))
    for place, (first, behind) in enumerate(windows[:count]):
        totals = []
        for done in range(0, (behind - first).days, days_max):
            begins = first + timedelta(days=done)
            days = days_of(begins, min(behind, begins + timedelta(days=days_max)), parts.zones)
            totals.append(await _totals(parts, members, days))
        found[place] = await asyncio.to_thread(_spread, members.tenures, totals)
    return found


async def group_windows(
    transaction: Transaction, group: PackGroup, bounds_ms: Int64Array, rows_max: int
) -> list[GroupWindow | None]:
    """The windows bounds_ms[w] <= t < bounds_ms[w + 1] of a group, the same of all its packs; None without packs.

    bounds_ms int64[k + 1]. From stored quarter-hours, or from readings when windows aren't made of whole ones.
    Raises InvalidRequestError as `group_days` does, ArchivedError for windows of readings that aren't kept.
    """
    found: list[GroupWindow | None] = [None] * (len(bounds_ms) - 1)
    parts = GroupParts(transaction, group, rows_max)
    await parts.open()
    from_ms_, to_ms = int(bounds_ms[0]), int(bounds_ms[-1])
    members: Members | None = None
    require_kept_windows(parts.kept_since, bounds_ms)
    if (bounds_ms % QUARTER_MS).any():
        held = await parts.tenures(from_ms_, to_ms)
        if held is None:
            return found
        tenures = held[0]
        uncounted = await parts.uncounted(tenures, from_ms_, to_ms)
        reached_ms = uncounted.last_ms + 1
    else:
        notes = await parts.notes(from_ms_, to_ms)
        known = await parts.members(notes, from_ms_, to_ms)
        if known is None:
            return found
        members, last_ms = known
        tenures, reached_ms = members.tenures, max(parts.mark_ms, last_ms + 1)
    count = min(int(np.searchsorted(bounds_ms, reached_ms)), len(found))
    parts.require(count * len(tenures.pack))
    at_once = max(1, _TOTALS_MAX // len(tenures.pack))
    for first in range(0, count, at_once):
        some_ms = bounds_ms[first : min(first + at_once, count) + 1]
        if members is None:
            keyed = [await asyncio.to_thread(_keyed_readings, uncounted, tenures, some_ms, parts.gap_ms)]
        else:
            keyed = await _keyed_quarters(parts, members, some_ms)
        found[first : first + len(some_ms) - 1] = await asyncio.to_thread(
            _spread_each, tenures, keyed, len(some_ms) - 1
        )
    return found


async def _doubtful_days(
    parts: GroupParts, days: Sequence[date], waiting: set[date]
) -> dict[date, GroupWindow | None]:
    """Those of the days that can't be taken as they are stored; None without packs."""
    around_ms = spans_around(np.array(days, "datetime64[ms]").astype(np.int64))
    notes = await parts.notes(int(around_ms[0, 0]), int(around_ms[-1, 1]))
    noted_ms = np.unique(notes.starts_ms)
    is_waiting = np.array([day in waiting for day in days], np.bool_)
    asked = np.flatnonzero(doubtful(around_ms, is_waiting, parts.mark_ms, noted_ms))
    # Days that begin behind the mark may lie in the future, where a calendar needn't be asked for each.
    later = asked[around_ms[asked, 0] >= parts.mark_ms]
    asked = asked[around_ms[asked, 0] < parts.mark_ms]
    known = {place: _day(parts, days[place]) for place in asked.tolist()}
    hulls_ms = np.array([_hull(known[place]) for place in asked.tolist()], np.int64).reshape(-1, 2)
    asked = asked[doubtful(hulls_ms, is_waiting[asked], parts.mark_ms, noted_ms)]
    every = np.sort(np.concatenate([asked, later]))
    found: dict[date, GroupWindow | None] = {days[place]: None for place in every.tolist()}
    if len(every) == 0:
        return found
    ends_ms = [_hull(known[place])[1] for place in asked.tolist()]
    ends_ms += around_ms[later, 1].tolist()
    held = await parts.members(notes, int(around_ms[every[0], 0]), max(ends_ms))
    if held is None:
        return found
    members, last_ms = held
    known |= {place: _day(parts, days[place]) for place in later[around_ms[later, 0] <= last_ms].tolist()}
    for place in every.tolist():
        if place in known:
            totals = await _totals(parts, members, known[place])
            found[days[place]] = await asyncio.to_thread(_spread, members.tenures, [totals])
    return found


def _day(parts: GroupParts, day: date) -> Days:
    return days_of(day, day + timedelta(days=1), parts.zones)


def _hull(days: Days) -> tuple[int, int]:
    """The span of days in all zones, empty without any."""
    if len(days.edges_ms) == 0:
        return NEVER_MS, NEVER_MS
    return int(days.edges_ms[:, 0].min()), int(days.edges_ms[:, -1].max())


Totals = tuple[Int64Array, RecordArray]
"""Keys, ascending, and TOTALs of them."""


async def _totals(parts: GroupParts, members: Members, days: Days) -> Totals:
    """What each tenure has in successive days, by its position: days that stand, quarter-hours for all else."""
    tenures, zone = members.tenures, members.zone
    edges_ms = days.edges_ms[zone]
    starts_ms, ends_ms = edges_ms[:, :-1], edges_ms[:, 1:]
    wanted: BoolArray = (tenures.from_ms[:, None] < ends_ms) & (tenures.to_ms[:, None] > starts_ms)
    wanted &= starts_ms < ends_ms
    tenure, day, totals = await parts.days(members, days)
    wanted[tenure, day] = False
    keyed: list[Totals] = [(tenure * np.int64(len(days)) + day, totals)]
    runs = runs_of(days, zone, wanted)
    counted_day = days.day_of(zone[members.counted.series], members.counted.starts_ms)
    inside = (counted_day >= 0) & (counted_day < len(days))
    counted_run = np.full(len(members.counted), -1)
    counted_run[inside] = runs.run_of[members.counted.series[inside], counted_day[inside]]
    for some in _parts_of(runs.starts_ms, runs.ends_ms):
        quarters = await parts.quarters(members, runs.tenure[some], runs.starts_ms[some], runs.ends_ms[some])
        counted = members.counted.of((counted_run >= some.start) & (counted_run < some.stop))
        keyed.append(await asyncio.to_thread(_by_day, both(quarters, counted), days, zone))

    def together() -> Totals:
        keys, totals = _in_order(keyed)
        return fold(totals, keys // len(days))

    return await asyncio.to_thread(together)


def _parts_of(starts_ms: Int64Array, ends_ms: Int64Array) -> Iterable[slice]:
    """Spans in parts of not many more quarter-hours than are read at once."""
    behind = np.cumsum((ends_ms - starts_ms) // QUARTER_MS)
    cuts = np.flatnonzero(np.diff(behind // _QUARTERS_MAX, prepend=0)) + 1
    bounds = np.unique(np.concatenate([[0], cuts, [len(starts_ms)]])).tolist()
    return [slice(first, stop) for first, stop in pairwise(bounds)]


def _by_day(records: Records, days: Days, zone: Int32Array) -> Totals:
    day = days.day_of(zone[records.series], records.starts_ms)
    keys, totals = fold(totals_of(records), records.series * np.int64(len(days)) + day)
    return keys, totals


async def _keyed_quarters(parts: GroupParts, members: Members, bounds_ms: Int64Array) -> list[Totals]:
    """What each tenure has in each window, from quarter-hours, by (position of the tenure, window)."""
    tenures, counted = members.tenures, members.counted
    holding = np.flatnonzero((tenures.from_ms < bounds_ms[-1]) & (tenures.to_ms > bounds_ms[0])).astype(
        np.int32
    )
    starts_ms, ends_ms = (np.full(len(holding), bounds_ms[place]) for place in (0, -1))
    inside = (counted.starts_ms >= bounds_ms[0]) & (counted.starts_ms < bounds_ms[-1])
    found = []
    for some in _parts_of(starts_ms, ends_ms):
        quarters = await parts.quarters(members, holding[some], starts_ms[some], ends_ms[some])
        own = counted.of(inside & np.isin(counted.series, holding[some]))
        found.append(await asyncio.to_thread(_by_window, both(quarters, own), bounds_ms))
    return found


def _keyed_readings(uncounted: Uncounted, tenures: Tenures, bounds_ms: Int64Array, gap_ms: int) -> Totals:
    """What each tenure has in each window, from readings, by (position of the tenure, window)."""
    return _by_window(uncounted.records(tenures, bounds_ms, gap_ms), bounds_ms)


def _by_window(records: Records, bounds_ms: Int64Array) -> Totals:
    window = np.searchsorted(bounds_ms, records.starts_ms, "right") - 1
    return fold(totals_of(records), records.series * np.int64(len(bounds_ms) - 1) + window)


def _in_order(keyed: Sequence[Totals]) -> Totals:
    """In order of their keys, and where these are equal in the order in which they are given."""
    keys = np.concatenate([keys for keys, _ in keyed] or [np.empty(0, np.int64)])
    order = np.argsort(keys, kind="stable")
    return keys[order], np.concatenate([totals for _, totals in keyed] or [np.empty(0, TOTAL)])[order]


def _spread(tenures: Tenures, by_tenure: Sequence[Totals]) -> GroupWindow | None:
    """Percentiles of one window, from parts of it in order of time by the positions of tenures."""
    tenure, totals = _in_order(by_tenure)
    return percentiles_of(tenures.pack[tenure], totals) if len(tenure) else None


def _spread_each(tenures: Tenures, keyed: Sequence[Totals], count: int) -> list[GroupWindow | None]:
    """Percentiles of each of some windows, by keys of (position of the tenure, window)."""
    keys, totals = _in_order(keyed)
    tenure, window = np.divmod(keys, count)
    found: list[GroupWindow | None] = [None] * count
    if len(keys):
        windows, packs, records = percentiles_each(window, tenures.pack[tenure], totals)
        for place, of_packs, record in zip(windows.tolist(), packs.tolist(), records, strict=True):
            found[place] = of_packs, record
    return found
