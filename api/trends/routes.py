"""Routes of trends."""

from enum import StrEnum
from typing import Annotated

from fastapi import Depends, Query, Request
from starlette.responses import Response

from aggregations.trends import Method
from aggregations.trends_analysis import Direction
from api import flat, series
from api.aggregates.schemas import STEP, GroupAggregate
from api.call import Call
from api.errors import may_answer
from api.routing import ARROW, CSV, JSON, Allowed, Moment, Name, answer, chosen_format, router
from api.trends import analysis, schemas, service
from domain.errors import ArchivedError, NotFoundError
from domain.policy import Action

routes = router("trends")

Starts = Annotated[Moment, Query(alias="from", description="RFC 3339 with offset, inclusive")]
Ends = Annotated[Moment, Query(alias="to", description="RFC 3339 with offset, exclusive")]
StepOf = Annotated[str | None, Query(description=STEP, examples=["P1D"])]
ZoneOf = Annotated[
    str | None,
    Query(max_length=100, description="IANA zone whose clock and calendar the windows follow; UTC without"),
]


class Band(StrEnum):
    """Which packs lie beside one: all, those of its site, or those of its model."""

    ALL = "all"
    SITE = "site"
    MODEL = "model"


@routes.get(
    "/trends",
    response_model=schemas.Trend | schemas.Trends | GroupAggregate,
    responses=series.RESPONSES,
)
async def trend(
    request: Request,
    call: Annotated[Call, Depends(Allowed(Action.TELEMETRY_READ))],
    measure: Annotated[list[str], Query(min_length=1, max_length=7, description="may be repeated")],
    starts: Starts,
    ends: Ends,
    pack: Annotated[
        list[Name], Query(default_factory=list, description="external id of a pack; may be repeated")
    ],
    points: Annotated[
        int | None, Query(description="at most so many points of each measure, instead of every reading")
    ] = None,
    method: Annotated[
        Method | None,
        Query(description="how points are chosen: lttb keeps the shape (the default), min_max every spike"),
    ] = None,
    step: StepOf = None,
    zone: ZoneOf = None,
    group: Annotated[
        str | None,
        Query(
            max_length=300,
            description="all, site:NAME, model:NAME or saved:NAME, instead of packs; by days, or by the step",
        ),
    ] = None,
    band: Annotated[
        Band | None, Query(description="packs whose percentiles lie beside the pack, with a step")
    ] = None,
) -> Response:
    """Readings of packs, points of them, or windows, in from <= t < to; of groups, percentiles of each window."""
    chosen = chosen_format(request, JSON, CSV, ARROW)
    packs, measures = list(dict.fromkeys(pack)), list(dict.fromkeys(measure))
    asked = service.Question(
        packs, measures, starts, ends, points, method, step, zone, group, None if band is None else band.value
    )
    return series.answer(await service.read(call, asked), chosen)


@routes.get(
    "/trends/analysis",
    response_model=schemas.Analysis,
    responses=flat.responses(schemas.analysis_columns(None)) | may_answer(NotFoundError, ArchivedError),
)
async def trend_analysis(
    request: Request,
    call: Annotated[Call, Depends(Allowed(Action.TELEMETRY_READ))],
    pack: Annotated[Name, Query(description="external id of the pack")],
    measure: Annotated[str, Query(description="one measure", examples=["state_of_health_pct"])],
    starts: Starts,
    ends: Ends,
    step: StepOf = None,
    zone: ZoneOf = None,
    threshold: Annotated[
        float | None, Query(description="a value in the measure's unit", examples=[80])
    ] = None,
    direction: Annotated[
        Direction | None, Query(description="which side of the threshold is across it; below without")
    ] = None,
) -> Response:
    """Slopes of a pack's measure in from <= t < to, its crossings of a threshold, and the projected one.

    Of readings, or with `step` of the means of windows.
    """
    asked = analysis.Question(pack, measure, starts, ends, step, zone, threshold, direction)
    chosen = chosen_format(request, JSON, CSV, ARROW)
    found = await analysis.read(call, asked)
    if chosen == JSON:
        return answer(found)
    columns = flat.columns_of([found], schemas.analysis_columns(found["unit"]))
    return series.answer([series.Table("pack", pack, columns)], chosen)
