"""Routes of aggregates."""

from typing import Annotated

from fastapi import Depends, Query, Request
from starlette.responses import Response

from api import series
from api.aggregates import kept, schemas, service
from api.call import Call
from api.routing import ARROW, CSV, JSON, Allowed, Moment, Name, chosen_format, router
from domain.policy import Action

routes = router("aggregates")


@routes.get(
    "/aggregates",
    response_model=schemas.Aggregate | schemas.Aggregates | schemas.GroupAggregate,
    responses=series.RESPONSES,
)
async def aggregates(
    request: Request,
    call: Annotated[Call, Depends(Allowed(Action.TELEMETRY_READ))],
    measure: Annotated[list[str], Query(min_length=1, max_length=7, description="may be repeated")],
    step: Annotated[str, Query(description=schemas.STEP, examples=["PT15M"])],
    starts: Annotated[Moment, Query(alias="from", description="RFC 3339 with offset, inclusive")],
    ends: Annotated[Moment, Query(alias="to", description="RFC 3339 with offset, exclusive")],
    pack: Annotated[
        list[Name], Query(default_factory=list, description="external id of a pack; may be repeated")
    ],
    group: Annotated[
        str | None,
        Query(max_length=300, description="all, site:NAME, model:NAME or saved:NAME, instead of packs"),
    ] = None,
    zone: Annotated[
        str, Query(max_length=100, description="IANA zone whose clock and calendar the windows follow")
    ] = "UTC",
) -> Response:
    """Windows of packs: counts, extremes, means, charge and energy; of groups, percentiles over packs in each."""
    chosen = chosen_format(request, JSON, CSV, ARROW)
    asked = service.ask(step, zone, starts, ends)
    question = kept.Question(asked, tuple(dict.fromkeys(pack)), group, tuple(dict.fromkeys(measure)), chosen)
    return await kept.answer(call, question, lambda tables: series.answer(tables, chosen))
