"""Route of live aggregates."""

from typing import Annotated

from fastapi import Depends, Query, Request
from starlette.responses import Response

from api import flat
from api.call import Call
from api.live_aggregates import schemas, service
from api.routing import ARROW, CSV, JSON, Allowed, chosen_format, router
from domain.policy import Action

routes = router("aggregates")


@routes.get(
    "/aggregates/live", response_model=schemas.LiveAggregate, responses=flat.responses(schemas.COLUMNS)
)
async def live(
    request: Request,
    call: Annotated[Call, Depends(Allowed(Action.TELEMETRY_READ))],
    by: Annotated[schemas.By, Query(description="what the fleet is split by")] = schemas.By.FLEET,
) -> Response:
    """The fleet as it is now: packs by state, rates, distributions, extremes, open alerts, freshness, clock skew."""
    return await service.read(call, by, chosen_format(request, JSON, CSV, ARROW))
