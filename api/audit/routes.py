"""The route of the audit log."""

from typing import Annotated

from fastapi import Depends, Query, Request
from starlette.responses import Response

from api.audit import encode, schemas, service
from api.call import Call
from api.routing import ARROW, CSV, JSON, NDJSON, Allowed, chosen_format, cursor_header, listed, router
from domain.policy import Action

routes = router("audit")


@routes.get(
    "/audit",
    response_model=schemas.EntryPage,
    responses={200: {"content": {ARROW: {"schema": {"type": "string", "format": "binary"}}}}},
)
async def page(
    request: Request,
    asked: Annotated[schemas.Asked, Query()],
    call: Annotated[Call, Depends(Allowed(Action.AUDIT_READ))],
) -> Response:
    """List what was changed by whom, the newest first. An entry is written in the transaction of its change."""
    chosen = chosen_format(request, JSON, NDJSON, CSV, ARROW)
    rows, after = await service.page(call, asked)
    if chosen == ARROW:
        return Response(encode.arrow_body(rows), headers=cursor_header(after), media_type=chosen)
    return listed(request, [service.public(row) for row in rows], after, chosen)
