"""Trends of packs: every reading, a number of points of them, or windows; and windows of groups."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np

from aggregations.trends import POINTS_MIN, Method
from api.aggregates import service as aggregates
from api.call import Call
from api.ranges import require_range
from api.series import Column, Table
from api.settings import Settings
from api.trends.thinning import Thinner
from domain.errors import InvalidRequestError
from domain.windows import DAY
from storage import packs as stored_packs
from storage.retention import require_kept
from storage.transactions import Transaction
from storage.trends import Points, points

BAND: Final = ("p5", "p50", "p95")
_WINDOW_FIGURES: Final = ("mean", "min", "max")


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of trends; None for what isn't given."""

    packs: Sequence[str]
    measures: Sequence[str]
    starts: datetime
    ends: datetime
    points: int | None = None
    method: Method | None = None
    step: str | None = None
    zone: str | None = None
    group: str | None = None
    band: str | None = None


async def read(call: Call, asked: Question) -> list[Table]:
    """The series asked for, of one snapshot.

    Raises NotFoundError for a pack or group, ForbiddenError for a group beyond the actor's sites, and
    InvalidRequestError for what contradicts itself, an unknown measure, an empty range, and too much; ArchivedError for
    readings that aren't kept.
    """
    settings = call.engine.settings
    _check(asked, settings)
    async with call.snapshot() as transaction:
        if asked.group is not None:
            windows = _windows_asked(asked)
            return [await aggregates.group_table(transaction, settings, windows, asked.group, asked.measures)]
        aggregates.check_packs(settings, asked.packs)
        if asked.step is not None:
            return await _windowed(transaction, settings, asked)
        await require_kept(transaction, asked.starts)
        if asked.points is not None:
            return await _of_points(transaction, settings, asked, asked.points)
        return await _of_readings(transaction, settings, asked)


def _check(asked: Question, settings: Settings) -> None:
    aggregates.check_measures(asked.measures)
    require_range(asked.starts, asked.ends)
    if asked.zone is not None:
        aggregates.zone_of(asked.zone)
    is_windowed = asked.step is not None or asked.group is not None
    refused = {
        "group": asked.group is not None and bool(asked.packs),
        "points": asked.points is not None and is_windowed,
        "method": asked.method is not None and asked.points is None,
        "zone": asked.zone is not None and not is_windowed,
        "band": asked.band is not None and (asked.step is None or asked.group is not None),
    }
    for name, is_refused in refused.items():
        if is_refused:
            raise InvalidRequestError(_CONTRADICTIONS[name], field=name)
    if asked.points is not None and not POINTS_MIN <= asked.points <= settings.trend_points_max:
        limit = POINTS_MIN if asked.points < POINTS_MIN else settings.trend_points_max
        raise InvalidRequestError(
            f"points are {POINTS_MIN} to {settings.trend_points_max}", field="points", limit=limit
        )


_CONTRADICTIONS: Final = {
    "group": "ask for packs or for a group, not for both",
    "points": "ask for points of packs, or for windows by a step",
    "method": "a method chooses points: say how many",
    "zone": "a zone is of windows: say which step",
    "band": "a band lies beside windows of packs: say which step",
}


def _windows_asked(asked: Question) -> aggregates.Asked:
    step, zone = asked.step, asked.zone
    return aggregates.ask(
        DAY.text if step is None else step, "UTC" if zone is None else zone, asked.starts, asked.ends
    )


async def _windowed(transaction: Transaction, settings: Settings, asked: Question) -> list[Table]:
    """Means, least and largest values of the windows of aggregates."""
    windows = _windows_asked(asked)
    tables = await aggregates.pack_tables(transaction, settings, windows, asked.packs, asked.measures)
    names = ["ts", *(f"{name}_{figure}" for name in asked.measures for figure in _WINDOW_FIGURES)]
    tables = [
        Table(table.kind, table.name, {name: table.columns[name] for name in names}) for table in tables
    ]
    if asked.band is None:
        return tables
    groups: dict[str, Table] = {}
    for table in tables:
        group = await _group_of(transaction, table.name, asked.band)
        if group not in groups:
            groups[group] = await aggregates.group_table(
                transaction, settings, windows, group, asked.measures
            )
        table.columns.update(_band(table.columns["ts"], groups[group], asked.measures))
        table.facts["band"] = group
    return tables


async def _group_of(transaction: Transaction, pack: str, kind: str) -> str:
    """The group of a kind in which a pack is now. Raises InvalidRequestError when it is in none."""
    if kind == "all":
        return kind
    known = await stored_packs.get_by_name(transaction, pack)
    if known[kind] is None:
        raise InvalidRequestError(f"the pack {pack} has no {kind}", field="band")
    return f"{kind}:{known[kind]}"


def _band(windows: Column, group: Table, measures: Sequence[str]) -> dict[str, Column]:
    """The group's packs and the percentiles of their means, at the windows of a pack; null where the group has none."""
    group_ms, own_ms = group.columns["ts"].values, windows.values
    place = np.searchsorted(group_ms, own_ms)
    known = np.zeros(len(own_ms), np.bool_)
    inside = place < len(group_ms)
    known[inside] = group_ms[place[inside]] == own_ms[inside]

    def beside(column: Column) -> Column:
        values = np.zeros(len(own_ms), column.values.dtype)
        values[known] = column.values[place[known]]
        present = known.copy()
        if column.present is not None:
            present[known] = column.present[place[known]]
        return Column(values, present)

    names = {f"{name}_band_{rank}": f"{name}_mean_{rank}" for name in measures for rank in BAND}
    columns = {"band_packs": beside(group.columns["packs"])}
    return columns | {name: beside(group.columns[of]) for name, of in names.items()}


async def _of_readings(transaction: Transaction, settings: Settings, asked: Question) -> list[Table]:
    """Every reading of each pack."""
    rows_left = settings.trend_points_max
    tables = []
    for pack in asked.packs:
        number = (await stored_packs.get_by_name(transaction, pack))["pack_id"]
        found = await points(transaction, number, asked.measures, asked.starts, asked.ends, rows_left)
        if not found.complete:
            raise too_many(settings)
        rows_left -= len(found)
        tables.append(_table(pack, asked.measures, found, {}))
    return tables


async def _of_points(
    transaction: Transaction, settings: Settings, asked: Question, points_max: int
) -> list[Table]:
    """As many points of each pack as are asked for."""
    method = asked.method or Method.LTTB
    thinner = Thinner(transaction, settings, asked.measures, points_max, method, len(asked.packs))
    tables = []
    for pack in asked.packs:
        number = (await stored_packs.get_by_name(transaction, pack))["pack_id"]
        thinned = await thinner.read(number, asked.starts, asked.ends)
        tables.append(_table(pack, asked.measures, thinned.points, thinned.facts))
    return tables


def too_many(settings: Settings) -> InvalidRequestError:
    """What is answered when every reading would be too much."""
    limit = settings.trend_points_max
    return InvalidRequestError(
        f"more than {limit} readings: ask for a shorter range, for points, or for a step",
        field="to",
        limit=limit,
    )


def _table(pack: str, measures: Sequence[str], found: Points, facts: dict[str, Any]) -> Table:
    columns = {"ts": Column(found.ts_ms)}
    for name, values in zip(measures, found.values(), strict=True):
        columns[name] = Column(values)
    return Table("pack", pack, columns, facts)
