"""Days of packs folded from stored quarter-hours, and percentiles over packs, within the counter's transaction."""

from datetime import date, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np

from aggregations.calendars import day_bounds
from aggregations.groups import percentiles_of
from aggregations.quarters import Records, records_from_bytes
from aggregations.windows import TOTAL, fold, totals_of
from domain.clock import from_ms
from domain.readings import Int32Array, Int64Array
from domain.windows import QUARTER_MS
from storage.database import int4s, times
from storage.partition_queries import PartitionQueries

_DAYS_MAX: Final = 500
"""Days of packs folded in one transaction: 96 quarter-hours of each are read at once."""

_PACKS_MAX: Final = 100
"""Packs whose days are all noted in one transaction: a year of one is 35,000 quarter-hours."""


def drop_days(
    queries: PartitionQueries,
    pack: Int32Array,
    starts_ms: Int64Array,
    tenure_pack: Int32Array | None,
    tenure_from_ms: Int64Array,
    tenure_to_ms: Int64Array,
    tenure_no: Int32Array,
    tenure_tenant: Int32Array,
) -> None:
    """Drop the days of quarter-hours that are counted again, and note them to be folded again.

    pack int32[n] and starts_ms int64[n] are the quarter-hours, in order of (pack, start); the others are of tenures.
    """
    queries.rows("windows.drop_days", {"pack": int4s(pack), "starts": times(starts_ms)})
    if tenure_pack is None:
        return
    zones = {
        row["tenure_no"]: ZoneInfo(row["zone"])
        for row in queries.rows("windows.zones_of", {"tenures": int4s(tenure_no)})
    }
    wanted: set[tuple[int, int, int, date]] = set()
    for place, number in enumerate(tenure_no.tolist()):
        first, behind = np.searchsorted(pack, [tenure_pack[place], tenure_pack[place] + 1])
        held = starts_ms[first:behind]
        held = held[(held + QUARTER_MS > tenure_from_ms[place]) & (held < tenure_to_ms[place])]
        owner = int(tenure_tenant[place]), int(tenure_pack[place]), number
        wanted |= {(*owner, from_ms(start).astimezone(zones[number]).date()) for start in held.tolist()}
    tenants, packs, numbers, days = zip(*sorted(wanted), strict=True) if wanted else ((), (), (), ())
    queries.rows(
        "windows.note_days",
        {"tenant": int4s(tenants), "pack": int4s(packs), "tenure": int4s(numbers), "day": list(days)},
    )


def note_closed_days(queries: PartitionQueries, counted_before_ms: int, reached_ms: int) -> None:
    """Note the days that end while the mark moves, of all packs in their zones, to be folded.

    In the transaction that moves the mark: a pack's day below it is folded, noted, or without readings.
    """
    for row in queries.rows("windows.zones"):
        zone, day = ZoneInfo(row["zone"]), row["folded_before"]
        first_open = _day_at(reached_ms, zone)
        if day is None:
            # Packs came to this zone with notes of what they had reported before.
            day = _day_at(counted_before_ms, zone)
        if row["folded_before"] is None or day < first_open:
            queries.rows("windows.move_day_mark", {"zone": row["zone"], "day": first_open})
        while day < first_open:
            starts_ms, ends_ms = day_bounds(day, zone)
            span = {"from": from_ms(starts_ms), "to": from_ms(ends_ms)}
            queries.rows("windows.note_closed_day", span | {"zone": row["zone"], "day": day})
            day += timedelta(days=1)


def _day_at(moment_ms: int, zone: ZoneInfo) -> date:
    return from_ms(moment_ms).astimezone(zone).date()


def fold_once(queries: PartitionQueries, counted_before_ms: int) -> bool:
    """Fold what can be: days of packs, then percentiles over them; whether there was anything."""
    return _note_packs(queries) or _fold_days(queries, counted_before_ms) or _fold_groups(queries)


def _note_packs(queries: PartitionQueries) -> bool:
    """Drop and note all days of packs whose site, model or zone was put right."""
    tenant, pack = queries.columns("windows.packs_to_fold", {"limit": _PACKS_MAX})
    if tenant is None:
        return False
    packs = {"tenant": int4s(tenant), "pack": int4s(pack)}
    for name in ("drop_days_of_packs", "note_days_of_packs", "delete_notes_of_packs"):
        queries.rows(f"windows.{name}", packs)
    return True


def _fold_days(queries: PartitionQueries, counted_before_ms: int) -> bool:
    zones = [row["zone"] for row in queries.rows("windows.zones_to_fold")]
    first_open = [_day_at(counted_before_ms, ZoneInfo(zone)) for zone in zones]
    asked = {"zones": zones, "first_open": first_open, "limit": _DAYS_MAX}
    wanted = queries.rows("windows.days_to_fold", asked)
    if not wanted:
        return False
    bounds = {
        key: day_bounds(key[1], ZoneInfo(key[0])) for key in {(row["zone"], row["day"]) for row in wanted}
    }
    starts_ms, ends_ms = np.array([bounds[row["zone"], row["day"]] for row in wanted], np.int64).T
    columns = {
        "pack": int4s([row["pack_id"] for row in wanted]),
        "tenure": int4s([row["tenure_no"] for row in wanted]),
        "day": [row["day"] for row in wanted],
    }
    place, quarter_ms, packed = queries.columns(
        "windows.quarters_of_spans",
        {
            "place": int4s(np.arange(len(wanted))),
            "pack": columns["pack"],
            "tenure": columns["tenure"],
            "starts": times(starts_ms),
            "ends": times(ends_ms),
            "from": from_ms(int(starts_ms.min())),
            "to": from_ms(int(ends_ms.max())),
        },
    )
    queries.rows("windows.delete_days", columns)
    queries.rows("windows.delete_days_to_fold", columns)
    if place is not None:
        order = np.lexsort((quarter_ms, place))
        records = Records(place[order], quarter_ms[order], records_from_bytes(packed)[order])
        which, totals = fold(totals_of(records), records.series.astype(np.int64))
        _insert_days(
            queries, [wanted[one] for one in which.tolist()], starts_ms[which], ends_ms[which], totals
        )
    touched = sorted({(row["tenant_id"], row["day"]) for row in wanted})
    groups = {"tenant": int4s([tenant for tenant, _ in touched]), "day": [day for _, day in touched]}
    queries.rows("windows.note_groups", groups)
    return True


def _insert_days(
    queries: PartitionQueries,
    rows: list[dict[str, Any]],
    starts_ms: Int64Array,
    ends_ms: Int64Array,
    totals: Any,
) -> None:
    queries.rows(
        "windows.replace_days",
        {
            "tenant": int4s([row["tenant_id"] for row in rows]),
            "pack": int4s([row["pack_id"] for row in rows]),
            "tenure": int4s([row["tenure_no"] for row in rows]),
            "zone": [row["zone"] for row in rows],
            "day": [row["day"] for row in rows],
            "starts": times(starts_ms),
            "ends": times(ends_ms),
            "record": [total.tobytes() for total in totals],
        },
    )


def _fold_groups(queries: PartitionQueries) -> bool:
    """Percentiles over packs of one tenant's day, of all packs and by site and model."""
    wanted = queries.rows("windows.groups_to_fold")
    if not wanted:
        return False
    (key,) = wanted
    pack, packed, sites, models = queries.columns("windows.days_of_packs", key)
    queries.rows("windows.delete_groups", key)
    queries.rows("windows.delete_group_to_fold", key)
    if pack is None:
        return True
    totals = np.frombuffer(packed, TOTAL)
    groups: list[tuple[str, str | None, int, bytes]] = []
    for kind, ids in (("all", [""] * len(pack)), ("site", sites), ("model", models)):
        of = np.array(ids)
        for group_id in sorted(set(ids)):
            if kind != "all" and not group_id:
                continue
            chosen = np.flatnonzero(of == group_id)
            packs, record = percentiles_of(pack[chosen], totals[chosen])
            groups.append((kind, group_id or "00000000-0000-0000-0000-000000000000", packs, record.tobytes()))
    kinds, group_ids, counts, records = zip(*groups, strict=True)
    queries.rows(
        "windows.insert_groups",
        key
        | {"kind": list(kinds), "group_id": list(group_ids), "packs": int4s(counts), "record": list(records)},
    )
    return True
