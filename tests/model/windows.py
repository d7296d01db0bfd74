"""Windows as the engine answers and stores them, against the model's recount."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from aggregations.calendars import day_bounds
from aggregations.quarters import records_from_bytes
from domain.clock import to_ms
from storage.windows import pack_windows
from tests.model.model import QUARTER_MS, Model, Place
from tests.model.recount import Quarter
from tests.model.world import ZONES, World

_LEAST, _LARGEST = -(2**31), 2**31 - 1
_READINGS_MAX = 1_000_000
_HOLE_MS = 24 * 3_600_000

Window = tuple[Any, ...]


def total(window: Quarter) -> Window:
    """A window as the engine's packed totals hold it (aggregations.windows.TOTAL)."""
    measures = [
        (
            one.count,
            one.first_ms,
            one.last_ms,
            one.covered_ms,
            *divmod(one.total, 2**32),
            *divmod(one.squares, 2**32),
            *divmod(one.twice_area, 2**32),
            *((one.minimum, one.maximum) if one.count else (_LARGEST, _LEAST)),
            one.first,
            one.last,
            0,
        )
        for one in window.measures
    ]
    flows = (window.charged, window.discharged, window.charged_energy, window.discharged_energy)
    limbs = [limb for flow in flows for limb in divmod(flow, 2**32)]
    return (*measures, *limbs, window.covered_ms, window.energy_covered_ms)


def record(quarter: Quarter) -> Window:
    """A quarter-hour as the engine stores it (aggregations.quarters.QUARTER)."""
    measures = [
        (
            one.count,
            *((one.minimum, one.maximum) if one.count else (_LARGEST, _LEAST)),
            one.first,
            one.last,
            one.first_ms,
            one.last_ms,
            one.covered_ms,
            one.total,
            one.squares,
            one.twice_area,
        )
        for one in quarter.measures
    ]
    flows = (quarter.charged, quarter.discharged, quarter.charged_energy, quarter.discharged_energy)
    return (*measures, *flows, quarter.covered_ms, quarter.energy_covered_ms)


def stretches(starts: Iterable[int]) -> list[list[int]]:
    """Bounds of windows around these quarter-hours, and of the holes between; far ones stand apart."""
    found: list[list[int]] = []
    for start in sorted(starts):
        if not found or start - found[-1][-1] > _HOLE_MS:
            found.append([start])
        elif start != found[-1][-1]:
            found[-1].append(start)
        found[-1].append(start + QUARTER_MS)
    return found


async def differing_windows(
    world: World, model: Model, asked: Sequence[tuple[int, int, list[int]]]
) -> list[str]:
    """Where the engine's answer to (tenant, pack, bounds) is not the model's, in words."""
    found = []
    by_tenant: dict[int, list[tuple[int, list[int]]]] = defaultdict(list)
    for tenant, pack, bounds in asked:
        by_tenant[tenant].append((pack, bounds))
    for tenant, of_tenant in by_tenant.items():
        async with world.transaction(tenant, read_only=True) as transaction:
            for pack, bounds in of_tenant:
                answer = await pack_windows(transaction, pack, np.array(bounds, np.int64), _READINGS_MAX)
                for told, starts, ends in zip(answer.totals.tolist(), bounds[:-1], bounds[1:], strict=True):
                    expected = total(model.window(tenant, pack, starts, ends))
                    if told != expected:
                        found.append(
                            f"pack {pack} of {tenant}, {starts} to {ends}\n  engine: {told}\n  model:  {expected}"
                        )
    return found


async def differing_places(world: World, model: Model, places: Iterable[Place]) -> list[str]:
    """The same for touched quarter-hours."""
    starts_of: dict[tuple[int, int], set[int]] = defaultdict(set)
    for tenant, pack, starts in places:
        starts_of[tenant, pack].add(starts)
    asked = [
        (tenant, pack, bounds)
        for (tenant, pack), starts in sorted(starts_of.items())
        for bounds in stretches(starts)
    ]
    return await differing_windows(world, model, asked)


async def differing_days(world: World, model: Model) -> list[str]:
    """The same for the days of every pack in the zones of the sites, and in UTC."""
    asked = []
    for zone in (UTC, *map(ZoneInfo, ZONES)):
        for (tenant, _), pack in model.numbers.items():
            days = {datetime.fromtimestamp(ts / 1000, zone).date() for ts in model.times[pack]}
            bounds = sorted({bound for day in days for bound in day_bounds(day, zone)})
            if bounds:
                asked.append((tenant, pack, bounds))
    return await differing_windows(world, model, asked)


def stored_quarters(world: World) -> dict[tuple[int, int], Window]:
    """What is stored, by tenure and start."""
    rows = world.sql.execute("SELECT tenure_no, starts, record FROM quarters").fetchall()
    records = records_from_bytes(b"".join(row[2] for row in rows)).tolist()
    return {(row[0], to_ms(row[1])): one for row, one in zip(rows, records, strict=True)}


def recounted_quarters(model: Model, before: int) -> dict[tuple[int, int], Window]:
    """What must be stored when everything before that time is counted."""
    found = {}
    for pack, tenures in model.tenures.items():
        for start in model.quarters_near(pack, -(2**62), before):
            for tenure in tenures:
                if tenure.starts < start + QUARTER_MS and tenure.ends > start:
                    quarter = model.quarter(pack, tenure, start)
                    if quarter.anything:
                        found[tenure.number, start] = record(quarter)
    return found
