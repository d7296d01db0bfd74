"""The route of the audit log."""

from typing import Annotated

from fastapi import Depends, Query, Request
from starlette.responses import Response

from api.audit import schemas
from api.call import Call
from api.routing import Allowed, listed, router
from domain.clock import rfc3339
from domain.policy import Action
from storage import audit

routes = router("audit")


@routes.get("/audit", response_model=schemas.EntryPage)
async def page(
    request: Request,
    asked: Annotated[schemas.Asked, Query()],
    call: Annotated[Call, Depends(Allowed(Action.AUDIT_READ))],
) -> Response:
    """List what was changed by whom, the newest first. An entry is written in the transaction of its change."""
    wanted = audit.Wanted(**asked.model_dump(exclude={"limit", "cursor"}))
    async with call.snapshot() as transaction:
        rows, after = await audit.page(transaction, wanted, asked.cursor, asked.limit)
    items = [
        {name: value for name, value in row.items() if name != "id"} | {"at": rfc3339(row["at"])}
        for row in rows
    ]
    return listed(request, items, after)
