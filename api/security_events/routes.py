"""The route of security events."""

from typing import Annotated

from fastapi import Depends, Query, Request
from starlette.responses import Response

from api.call import Call
from api.routing import Allowed, listed, router
from api.security_events import schemas, service
from domain.policy import Action

routes = router("security")


@routes.get("/security-events", response_model=schemas.SecurityEventPage)
async def page(
    request: Request,
    asked: Annotated[schemas.Asked, Query()],
    call: Annotated[Call, Depends(Allowed(Action.SECURITY_READ))],
) -> Response:
    """List what was refused to the tenant's credentials, the newest first.

    What happened alike within a second is one item.
    """
    items, after = await service.page(call, asked)
    return listed(request, items, after)
