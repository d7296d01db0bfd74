"""Routes of security events, and of the thresholds from which on they are an alert."""

from typing import Annotated

from fastapi import Depends, Query, Request
from starlette.responses import Response

from api.call import Call
from api.routing import Allowed, IfMatch, answer, etag, listed, router, version_of
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


@routes.get("/security-thresholds", response_model=schemas.SecurityThresholds)
async def thresholds(call: Annotated[Call, Depends(Allowed(Action.SECURITY_READ))]) -> Response:
    """Read from how many refusals within a minute on an alert is raised."""
    found = await service.thresholds(call)
    return answer(found, headers=etag(found["version"]))


@routes.patch("/security-thresholds", response_model=schemas.SecurityThresholds)
async def change_thresholds(
    changes: schemas.OwnThresholds,
    call: Annotated[Call, Depends(Allowed(Action.SECURITY_WRITE))],
    if_match: IfMatch = None,
) -> Response:
    """Choose thresholds of the tenant's own: send what changes, with If-Match; null goes back to the installation's."""
    given = changes.model_dump(exclude_unset=True)
    found = await service.change_thresholds(call, version_of(if_match), given)
    return answer(found, headers=etag(found["version"]))
