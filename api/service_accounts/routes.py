"""Routes of service accounts."""

from typing import Annotated

from fastapi import Depends, Query, Request
from starlette.responses import Response

from api.call import Call
from api.errors import may_answer
from api.routing import Allowed, IfMatch, PageOf, RecordId, answer, etag, listed, router, version_of
from api.service_accounts import schemas
from api.service_accounts.service import SERVICE
from domain.errors import ConflictError, NotFoundError
from domain.policy import Action

routes = router("service accounts")

HTTP_CREATED, HTTP_NO_CONTENT = 201, 204

Reader = Annotated[Call, Depends(Allowed(Action.SERVICE_ACCOUNT_READ))]
Writer = Annotated[Call, Depends(Allowed(Action.SERVICE_ACCOUNT_WRITE))]


@routes.post(
    "/service-accounts",
    response_model=schemas.ServiceAccount,
    status_code=HTTP_CREATED,
    responses=may_answer(ConflictError, NotFoundError),
)
async def create(new: schemas.NewServiceAccount, call: Writer) -> Response:
    """Make a service account: a program that calls. You can't give it what you may not do."""
    row = await SERVICE.create(call, new.model_dump() | {"pack": None})
    return answer(row, HTTP_CREATED, etag(row["version"]))


@routes.get("/service-accounts", response_model=schemas.ServiceAccountPage)
async def page(request: Request, asked: Annotated[PageOf, Query()], call: Reader) -> Response:
    """List service accounts by name, those too that are deleted and can be restored."""
    items, after = await SERVICE.page(call, asked.cursor, asked.limit)
    return listed(request, items, after)


@routes.get("/service-accounts/{id}", response_model=schemas.ServiceAccount)
async def get(record_id: RecordId, call: Reader) -> Response:
    """Read a service account."""
    row = await SERVICE.get(call, record_id)
    return answer(row, headers=etag(row["version"]))


@routes.patch(
    "/service-accounts/{id}", response_model=schemas.ServiceAccount, responses=may_answer(ConflictError)
)
async def change(
    record_id: RecordId, changes: schemas.ServiceAccountChange, call: Writer, if_match: IfMatch = None
) -> Response:
    """Edit a service account, with If-Match. A suspended one is refused with all its keys until it is active again."""
    given = changes.model_dump(exclude_unset=True)
    row = await SERVICE.change(call, record_id, version_of(if_match), given)
    return answer(row, headers=etag(row["version"]))


@routes.delete("/service-accounts/{id}", status_code=HTTP_NO_CONTENT)
async def delete(record_id: RecordId, call: Writer) -> Response:
    """Delete a service account. Its keys are refused; for `BPM_ACCOUNT_GRACE_DAYS` it can be restored."""
    await SERVICE.delete(call, record_id)
    return Response(status_code=HTTP_NO_CONTENT)


@routes.post(
    "/service-accounts/{id}/restore",
    response_model=schemas.ServiceAccount,
    responses=may_answer(ConflictError),
)
async def restore(record_id: RecordId, call: Writer) -> Response:
    """Restore a service account that was deleted, as it was, with its keys."""
    row = await SERVICE.restore(call, record_id)
    return answer(row, headers=etag(row["version"]))


@routes.post(
    "/service-accounts/{id}/keys",
    response_model=schemas.MadeApiKey,
    status_code=HTTP_CREATED,
    responses=may_answer(ConflictError),
)
async def add_key(record_id: RecordId, new: schemas.NewApiKey, call: Writer) -> Response:
    """Make an API key of a service account. It is shown this once; with two of them it is changed without a gap."""
    return answer(
        await SERVICE.add_key(call, record_id, new.name, new.expires_at, new.roles, new.sites), HTTP_CREATED
    )


@routes.get("/service-accounts/{id}/keys", response_model=schemas.ApiKeyPage)
async def keys(
    request: Request, record_id: RecordId, asked: Annotated[PageOf, Query()], call: Reader
) -> Response:
    """List the API keys of a service account, revoked ones too, without their texts."""
    items, after = await SERVICE.keys(call, record_id, asked.cursor, asked.limit)
    return listed(request, items, after)


@routes.delete("/service-accounts/{id}/keys/{key}", status_code=HTTP_NO_CONTENT)
async def revoke_key(record_id: RecordId, key_id: schemas.KeyId, call: Writer) -> Response:
    """Revoke an API key of a service account. It is refused within a minute, live streams included."""
    await SERVICE.revoke_key(call, record_id, key_id)
    return Response(status_code=HTTP_NO_CONTENT)
