"""Windows of packs, and of groups of packs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from aggregations.calendars import calendar_windows, window_starts
from aggregations.groups import FIGURES, PERCENTILES
from aggregations.windows import measure_columns, pack_columns
from api.ranges import require_range
from api.series import Column, Table
from api.settings import Settings
from domain.clock import to_ms
from domain.errors import ForbiddenError, InvalidRequestError
from domain.groups import Group, GroupKind, group_of
from domain.measures import MEASURE_INDEX
from domain.readings import Int64Array
from domain.windows import DAY, QUARTER_S, USUAL_STEPS, Step, step_of
from storage import packs as stored_packs
from storage.group_parts import PackGroup
from storage.groups import GroupWindow, group_calendar, group_days, group_windows
from storage.pack_groups import members_of
from storage.records import MODELS, SITES
from storage.transactions import Transaction
from storage.windows import PackWindows, pack_windows, readings_within

YEAR_FIRST, YEAR_LAST = 1970, 2261
"""The years whose moments are milliseconds and microseconds in 64 bits, with a margin."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Windows of a step in a zone that overlap starts <= t < ends, with what lies outside left out."""

    step: Step
    zone: ZoneInfo
    starts: datetime
    ends: datetime

    @property
    def least_windows(self) -> int:
        """About how many windows there are, not fewer by more than calendars vary."""
        return int((self.ends - self.starts).total_seconds() // self.step.least_s) + 1


def ask(step: str, zone: str, starts: datetime, ends: datetime) -> Asked:
    """What is asked. Raises InvalidRequestError for no step or zone, and for an empty or too wide range."""
    require_range(starts, ends)
    for field, moment in (("from", starts), ("to", ends)):
        if not YEAR_FIRST <= moment.year <= YEAR_LAST:
            raise InvalidRequestError(f"years are {YEAR_FIRST} to {YEAR_LAST}", field=field, limit=YEAR_LAST)
    return Asked(step_of(step), zone_of(zone), starts, ends)


def zone_of(name: str) -> ZoneInfo:
    """The zone of an IANA name. Raises InvalidRequestError."""
    try:
        # Files of these names say what the machine's own zone is, or that it has none.
        if name not in ("localtime", "posixrules", "Factory"):
            return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        pass
    raise InvalidRequestError("this is no IANA zone, such as Europe/Zurich", field="zone")


async def pack_tables(
    transaction: Transaction, settings: Settings, asked: Asked, packs: Sequence[str], measures: Sequence[str]
) -> list[Table]:
    """The windows of each pack, in the order given.

    Raises NotFoundError for a pack, InvalidRequestError for an unknown measure, too many packs or windows, or too many
    readings: of a step under 15 minutes all, of others those that are still to be counted.
    """
    check_measures(measures)
    check_packs(settings, packs)
    windows_max = settings.aggregate_windows_max // len(packs)
    if asked.least_windows > windows_max:
        short = asked.step.least_s < QUARTER_S
        fits = short and await _short_steps_fit(transaction, settings, asked, packs)
        raise _too_short(asked, windows_max, 0 if fits else QUARTER_S)
    labels_ms = window_starts(asked.step, asked.zone, to_ms(asked.starts), to_ms(asked.ends))
    bounds_ms = labels_ms.copy()
    bounds_ms[0], bounds_ms[-1] = to_ms(asked.starts), to_ms(asked.ends)
    readings_left = settings.aggregate_readings_max
    tables = []
    for pack in packs:
        known = await stored_packs.get_by_name(transaction, pack)
        found = await pack_windows(transaction, known["pack_id"], bounds_ms, readings_left)
        if not found.complete and not asked.step.is_of_quarters:
            raise _too_short(asked, windows_max, QUARTER_S)
        if not found.complete:
            raise over_budget(settings)
        readings_left -= found.readings
        tables.append(_table(pack, labels_ms, found, measures))
    return tables


def over_budget(settings: Settings) -> InvalidRequestError:
    """What is answered when too many readings aren't counted yet."""
    limit = settings.aggregate_readings_max
    return InvalidRequestError(
        f"more than {limit} readings of this range are still to be counted: ask for a shorter range or fewer packs",
        field="to",
        limit=limit,
    )


async def _short_steps_fit(
    transaction: Transaction, settings: Settings, asked: Asked, packs: Sequence[str]
) -> bool:
    """Whether all readings may be read of which steps under 15 minutes are made."""
    numbers = [(await stored_packs.get_by_name(transaction, pack))["pack_id"] for pack in packs]
    readings_max = settings.aggregate_readings_max
    return await readings_within(transaction, numbers, asked.starts, asked.ends, readings_max) <= readings_max


def _too_short(asked: Asked, windows_max: int, least_s: int) -> InvalidRequestError:
    """Names the smallest usual step that fits, of at least `least_s`: those from 15 minutes on need no reading that
    was counted.
    """
    for step in USUAL_STEPS:
        wide_enough = Asked(step, asked.zone, asked.starts, asked.ends).least_windows <= windows_max
        if step.least_s >= asked.step.least_s and wide_enough and step.least_s >= least_s:
            return InvalidRequestError(
                f"too much for one answer: ask for {step.text} or longer, or for a shorter range",
                field="step",
                limit=step.text,
            )
    return InvalidRequestError("too much for one answer: ask for a shorter range", field="to")


def _table(pack: str, labels_ms: Int64Array, found: PackWindows, measures: Sequence[str]) -> Table:
    starts_ms = labels_ms[:-1]
    columns = {"ts": Column(starts_ms, np.ones(len(starts_ms), np.bool_))}
    for name in measures:
        columns |= {column: Column(*values) for column, values in measure_columns(found.totals, name).items()}
    columns |= {column: Column(*values) for column, values in pack_columns(found.totals).items()}
    return Table("pack", pack, columns)


async def group_table(
    transaction: Transaction, settings: Settings, asked: Asked, group: str, measures: Sequence[str]
) -> Table:
    """Percentiles over the packs of a group, of each window that begins in the range, as far as it has gone.

    Windows of whole days are those of each pack's own zone, that of its site; shorter parts are of the zone asked
    for, the same of all packs. Windows without packs are null.
    Raises InvalidRequestError, also when too much is still to be counted, NotFoundError for the group, ForbiddenError
    for one beyond the actor's sites.
    """
    check_measures(measures)
    if asked.least_windows > settings.aggregate_windows_max:
        raise _too_short(asked, settings.aggregate_windows_max, QUARTER_S)
    wanted = group_of(group)
    if wanted.kind in (GroupKind.ALL, GroupKind.MODEL) and transaction.actor.sites is not None:
        raise ForbiddenError("this group reaches all sites; the credential is limited to some", field="group")
    meant = await _meant(transaction, wanted)
    labels_ms, found = await _group_windows(transaction, settings, asked, meant)
    return _group_table(group, labels_ms, found, measures)


async def _group_windows(
    transaction: Transaction, settings: Settings, asked: Asked, group: PackGroup
) -> tuple[Int64Array, Sequence[GroupWindow | None]]:
    """Where the windows begin, and what is known of each."""
    from_ms_, to_ms_, rows_max = to_ms(asked.starts), to_ms(asked.ends), settings.aggregate_readings_max
    if not asked.step.is_of_days:
        bounds_ms = window_starts(asked.step, asked.zone, from_ms_, to_ms_)
        bounds_ms = bounds_ms[bounds_ms >= from_ms_]
        return bounds_ms[:-1], await group_windows(transaction, group, bounds_ms, rows_max)
    windows = calendar_windows(asked.step, asked.zone, from_ms_, to_ms_)
    labels_ms = np.array([window.starts_ms for window in windows], np.int64)
    if asked.step != DAY:
        spans = [(window.first, window.behind) for window in windows]
        return labels_ms, await group_calendar(transaction, group, spans, rows_max)
    days = await group_days(transaction, group, [window.first for window in windows], rows_max)
    return labels_ms, [days.get(window.first) for window in windows]


async def _meant(transaction: Transaction, group: Group) -> PackGroup:
    """Raises NotFoundError."""
    if group.kind is GroupKind.SAVED:
        return PackGroup(group.kind, packs=(await members_of(transaction, group.name)).number)
    if group.kind is GroupKind.SITE:
        return PackGroup(group.kind, await SITES.id_of(transaction, group.name, "group"))
    if group.kind is GroupKind.MODEL:
        return PackGroup(group.kind, await MODELS.id_of(transaction, group.name, "group"))
    return PackGroup(group.kind)


def _group_table(
    group: str, labels_ms: Int64Array, found: Sequence[GroupWindow | None], measures: Sequence[str]
) -> Table:
    nothing = 0, np.full((len(MEASURE_INDEX), len(FIGURES), len(PERCENTILES)), np.nan)
    known = np.array([one is not None for one in found], np.bool_)
    packs = np.array([(one or nothing)[0] for one in found], np.int64)
    records = np.array([(one or nothing)[1] for one in found]).reshape(len(found), *nothing[1].shape)
    columns = {"ts": Column(labels_ms, np.ones(len(found), np.bool_)), "packs": Column(packs, known)}
    for name in measures:
        for place, figure in enumerate(FIGURES):
            for rank, percentile in enumerate(PERCENTILES):
                values = records[:, MEASURE_INDEX[name], place, rank]
                columns[f"{name}_{figure}_p{percentile}"] = Column(values, ~np.isnan(values))
    return Table("group", group, columns)


def check_packs(settings: Settings, packs: Sequence[str]) -> None:
    """Raises InvalidRequestError for none and for too many."""
    if not packs:
        raise InvalidRequestError("ask for a pack or for a group", field="pack")
    if len(packs) > settings.aggregate_packs_max:
        limit = settings.aggregate_packs_max
        raise InvalidRequestError(f"more than {limit} packs", field="pack", limit=limit)


def check_measures(measures: Sequence[str]) -> None:
    """Raises InvalidRequestError for one that there isn't."""
    for name in measures:
        if name not in MEASURE_INDEX:
            raise InvalidRequestError(f"measures are {', '.join(MEASURE_INDEX)}", field="measure")
