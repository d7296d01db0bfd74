"""Routes of devices."""

from typing import Annotated

from fastapi import Depends, Query, Request
from starlette.responses import Response

from api.call import Call
from api.devices import schemas, service
from api.devices.service import SERVICE
from api.errors import may_answer
from api.routing import Allowed, IfMatch, PageOf, RecordId, answer, etag, listed, router, version_of
from api.service_accounts import schemas as accounts
from domain.errors import ConflictError, NotFoundError
from domain.policy import Action

routes = router("devices")

HTTP_CREATED, HTTP_NO_CONTENT = 201, 204

Reader = Annotated[Call, Depends(Allowed(Action.DEVICE_READ))]
Writer = Annotated[Call, Depends(Allowed(Action.DEVICE_WRITE))]


@routes.post(
    "/devices",
    response_model=schemas.Device,
    status_code=HTTP_CREATED,
    responses=may_answer(ConflictError, NotFoundError),
)
async def create(new: schemas.NewDevice, call: Writer) -> Response:
    """Make a device: it sends the readings of its own pack, and of no other."""
    row = await service.create(call, new)
    return answer(row, HTTP_CREATED, etag(row["version"]))


@routes.get("/devices", response_model=schemas.DevicePage)
async def page(request: Request, asked: Annotated[PageOf, Query()], call: Reader) -> Response:
    """List devices by name, those too that are deleted and can be restored."""
    items, after = await SERVICE.page(call, asked.cursor, asked.limit)
    return listed(request, items, after)


@routes.get("/devices/{id}", response_model=schemas.Device)
async def get(record_id: RecordId, call: Reader) -> Response:
    """Read a device."""
    row = await SERVICE.get(call, record_id)
    return answer(row, headers=etag(row["version"]))


@routes.patch("/devices/{id}", response_model=schemas.Device, responses=may_answer(ConflictError))
async def change(
    record_id: RecordId, changes: schemas.DeviceChange, call: Writer, if_match: IfMatch = None
) -> Response:
    """Edit a device, with If-Match. A suspended one is refused with all its keys until it is active again."""
    given = changes.model_dump(exclude_unset=True)
    row = await SERVICE.change(call, record_id, version_of(if_match), given)
    return answer(row, headers=etag(row["version"]))


@routes.delete("/devices/{id}", status_code=HTTP_NO_CONTENT)
async def delete(record_id: RecordId, call: Writer) -> Response:
    """Delete a device. Its keys are refused; for `BPM_ACCOUNT_GRACE_DAYS` it can be restored."""
    await SERVICE.delete(call, record_id)
    return Response(status_code=HTTP_NO_CONTENT)


@routes.post("/devices/{id}/restore", response_model=schemas.Device, responses=may_answer(ConflictError))
async def restore(record_id: RecordId, call: Writer) -> Response:
    """Restore a device that was deleted, as it was, with its keys."""
    row = await SERVICE.restore(call, record_id)
    return answer(row, headers=etag(row["version"]))


@routes.post(
    "/devices/{id}/keys",
    response_model=accounts.MadeApiKey,
    status_code=HTTP_CREATED,
    responses=may_answer(ConflictError),
)
async def add_key(record_id: RecordId, new: schemas.NewDeviceKey, call: Writer) -> Response:
    """Make an API key of a device. It is shown this once; with two of them it is changed without a gap."""
    return answer(
        await SERVICE.add_key(call, record_id, new.name, new.expires_at),
        HTTP_CREATED,
    )


@routes.get("/devices/{id}/keys", response_model=accounts.ApiKeyPage)
async def keys(
    request: Request, record_id: RecordId, asked: Annotated[PageOf, Query()], call: Reader
) -> Response:
    """List the API keys of a device, revoked ones too, without their texts."""
    items, after = await SERVICE.keys(call, record_id, asked.cursor, asked.limit)
    return listed(request, items, after)


@routes.delete("/devices/{id}/keys/{key}", status_code=HTTP_NO_CONTENT)
async def revoke_key(record_id: RecordId, key_id: accounts.KeyId, call: Writer) -> Response:
    """Revoke an API key of a device. It is refused within a minute, live streams included."""
    await SERVICE.revoke_key(call, record_id, key_id)
    return Response(status_code=HTTP_NO_CONTENT)
