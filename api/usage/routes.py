"""The route of usage."""

from typing import Annotated

from fastapi import Depends, Query, Request
from starlette.responses import Response

from api.call import Call
from api.routing import Allowed, listed, router
from api.usage import schemas, service
from domain.policy import Action

routes = router("usage")


@routes.get("/usage", response_model=schemas.UsagePage)
async def page(
    request: Request,
    asked: Annotated[schemas.UsageAsked, Query()],
    call: Annotated[Call, Depends(Allowed(Action.USAGE_READ))],
) -> Response:
    """What the tenant used on each day or in each month. Readings and bytes are counted where they are committed."""
    items, after = await service.page(call, asked)
    return listed(request, items, after)
