"""The fleet as it is now, from the writer's sketches; no reading and no pack is looked at."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
import orjson
from starlette.responses import Response

from aggregations.live import QUANTILES, Extreme, LiveFigures, Spread
from api import flat, series
from api.call import Call
from api.live_aggregates.schemas import COLUMNS, By
from api.routing import JSON
from domain.clock import MILLISECONDS_PER_SECOND, from_ms
from domain.errors import InvalidRequestError
from domain.packs import Place
from storage import live as stored
from storage.transactions import Transaction
from streams.live_alerts import KINDS
from streams.live_figures import Figures

STATES = ("never_seen", "silent", "reporting")
"""In the order of the sketches."""

Row = dict[str, Any]
Label = str | None


@dataclass(frozen=True, slots=True)
class _Groups:
    """Labels in their order, and the label of a place; KeyError for a place that the actor doesn't see."""

    labels: tuple[Label, ...]
    label_of: Callable[[Place], Label]


async def read(call: Call, by: By, chosen: str) -> Response:
    """The answer in a format. Raises InvalidRequestError (too many groups), UnavailableError while state is loaded."""
    picture = await call.engine.runner.picture()
    settings = call.engine.settings
    as_of_s = picture.as_of_s
    async with call.snapshot() as transaction:
        groups = await _groups(call, transaction, by, settings.live_groups_max)
        labels, figures = await asyncio.to_thread(_figures, call, picture, by, groups)
        holders = sorted({extreme.pack for one in figures for extreme in _extremes(one)})
        names = await stored.pack_names(transaction, holders) if holders else {}
    answer = {
        "by": by,
        "as_of": _text(as_of_s),
        "silent_after_s": settings.silent_after_s,
        "clock_skew_s_max": settings.live_skew_s_max,
        "stale_partitions": [
            {"partition": number, "as_of": None if second is None else _text(second)}
            for number, second in sorted(picture.stale.items())
        ],
    }
    # Of a thousand groups it takes too long for the event loop.
    return await asyncio.to_thread(_encoded, answer, labels, figures, names, chosen)


def _encoded(
    answer: Row, labels: Sequence[Label], figures: Sequence[LiveFigures], names: dict[int, str], chosen: str
) -> Response:
    items = [_item(label, one, names) for label, one in zip(labels, figures, strict=True)]
    if chosen == JSON:
        return Response(orjson.dumps(answer | {"items": items}), media_type=JSON)
    columns = flat.columns_of([answer | item for item in items], COLUMNS)
    return series.answer([series.Table("by", answer["by"], columns)], chosen)


def _text(moment_s: int) -> str:
    return from_ms(moment_s * MILLISECONDS_PER_SECOND).isoformat().replace("+00:00", "Z")


async def _groups(call: Call, transaction: Transaction, by: By, groups_max: int) -> _Groups:
    """How places are grouped. Sites are read where they name groups, or where the actor is limited to some."""
    limited = call.actor.sites is not None
    sites: dict[UUID, Row] = {}
    if limited or by in (By.SITE, By.REGION):
        rows = await stored.site_names(transaction, groups_max + 1 if by is By.SITE else None)
        sites = {row["id"]: row for row in rows}
    labels: Iterable[Label]
    if by is By.SITE:
        labels = [row["name"] for row in sites.values()]
    elif by is By.REGION:
        labels = sorted({row["region"] for row in sites.values() if row["region"] is not None})
    elif by is By.MODEL:
        models = {row["id"]: row["name"] for row in await stored.model_names(transaction, groups_max + 1)}
        labels = models.values()
    else:
        labels = ["fleet"]
    labels = tuple(labels)
    if len(labels) > groups_max:
        raise InvalidRequestError(f"more than {groups_max} groups", field="by", limit=groups_max)

    def label_of(place: Place) -> Label:
        site = sites[place.site_id] if place.site_id is not None and sites else None
        if limited and site is None:
            raise KeyError(place)
        if by is By.SITE:
            return None if place.site_id is None else sites[place.site_id]["name"]
        if by is By.REGION:
            return None if place.site_id is None else sites[place.site_id]["region"]
        if by is By.MODEL:
            return None if place.model_id is None else models[place.model_id]
        return "fleet"

    return _Groups(labels, label_of)


def _figures(
    call: Call, picture: Figures, by: By, groups: _Groups
) -> tuple[Sequence[Label], list[LiveFigures]]:
    """The labels with their figures; packs without a site, model or region come last, where there are any."""
    cells, of_cells = [], []
    for cell, place in picture.cells_of(call.actor.tenant_id):
        try:
            of_cells.append(groups.label_of(place))
        except KeyError:
            # At a site that the actor doesn't see, or that is newer than the names that were read.
            continue
        cells.append(cell)
    chosen = np.array(cells, np.int32)
    if by is By.STATE:
        found = dict(zip(STATES, picture.figures_by_state(chosen), strict=True))
        labels: tuple[Label, ...] = tuple(reversed(STATES))
        return labels, [found[state] for state in reversed(STATES)]
    labels = groups.labels if None not in of_cells else (*groups.labels, None)
    positions = {label: position for position, label in enumerate(labels)}
    group = np.array([positions[label] for label in of_cells], np.int32)
    return labels, picture.figures(chosen, group, len(labels))


def _extremes(figures: LiveFigures) -> list[Extreme]:
    found = (figures.hottest, figures.coldest, figures.highest_cell, figures.lowest_cell)
    return [extreme for extreme in found if extreme is not None]


def _item(label: Label, figures: LiveFigures, names: dict[int, str]) -> Row:
    ages_s, skews_s = figures.age_s or (None,) * 3, figures.skew_s or (None,) * 3
    return {
        "group": label,
        "packs": {
            "reporting": figures.reporting,
            "silent": figures.silent,
            "never_seen": figures.never_seen,
        },
        "readings_per_s": round(figures.readings_per_s, 3),
        "state_of_charge_pct": _distribution(figures.charge),
        "state_of_health_pct": _distribution(figures.health),
        "temperature_c": {"min": _held(figures.coldest, names), "max": _held(figures.hottest, names)},
        "cell_voltage_v": {
            "min": _held(figures.lowest_cell, names),
            "max": _held(figures.highest_cell, names),
        },
        "open_alerts": dict(zip(KINDS, figures.alerts, strict=True)),
        "freshness_s": dict(zip(("p50", "p95", "max"), ages_s, strict=True)),
        "clock_skew_s": dict(zip(("p50", "p95", "max"), skews_s, strict=True))
        | {"packs_beyond_limit": figures.skewed},
    }


def _distribution(spread: Spread) -> Row:
    quantiles = spread.quantiles or (None,) * len(QUANTILES)
    return {
        "packs": spread.packs,
        "mean": None if spread.mean is None else round(spread.mean, 3),
        **dict(zip(QUANTILES, quantiles, strict=True)),
        "histogram": {"from": 0, "width": spread.bucket_pct, "packs": list(spread.buckets)},
    }


def _held(extreme: Extreme | None, names: dict[int, str]) -> Row | None:
    """The extreme with the name of its pack; null for a pack that has changed hands since."""
    return None if extreme is None else {"value": extreme.value, "pack": names.get(extreme.pack)}
