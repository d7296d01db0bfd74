"""The route of the audit log."""

from typing import Annotated

from fastapi import Depends, Query, Request
from starlette.responses import Response

from api.audit import schemas, service
from api.call import Call
from api.routing import Allowed, listed, router
from domain.policy import Action

routes = router("audit")


@routes.get("/audit", response_model=schemas.EntryPage)
async def page(
    request: Request,
    asked: Annotated[schemas.Asked, Query()],
    call: Annotated[Call, Depends(Allowed(Action.AUDIT_READ))],
) -> Response:
    """List what was changed by whom, the newest first. An entry is written in the transaction of its change."""
    items, after = await service.page(call, asked)
    return listed(request, items, after)
