"""Routes of users, and of the end of credentials."""

from typing import Annotated, Final

from fastapi import Depends, Query, Request
from starlette.responses import Response

from api.call import Call
from api.errors import may_answer
from api.routing import Allowed, IfMatch, PageOf, RecordId, answer, etag, listed, router, version_of
from api.users import schemas, service
from domain.errors import ConflictError, NotFoundError
from domain.policy import Action

routes = router("users")

HTTP_CREATED, HTTP_NO_CONTENT = 201, 204

_SHOWN_ONCE: Final = {"Cache-Control": "no-store"}

Reader = Annotated[Call, Depends(Allowed(Action.USER_READ))]
Writer = Annotated[Call, Depends(Allowed(Action.USER_WRITE))]


@routes.post(
    "/users",
    response_model=schemas.InvitedUser,
    status_code=HTTP_CREATED,
    responses=may_answer(ConflictError, NotFoundError),
)
async def invite(new: schemas.NewUser, call: Writer) -> Response:
    """Invite a user. The invitation is in this answer, and in no other: hand it over, it is good once and for a while.

    Nobody can give a role that grants more than the own credential may do.
    """
    row = await service.invite(call, new)
    return answer(row, HTTP_CREATED, etag(row["version"]) | _SHOWN_ONCE)


@routes.get("/users", response_model=schemas.UserPage)
async def page(request: Request, asked: Annotated[PageOf, Query()], call: Reader) -> Response:
    """List users by login, deleted ones too until they are purged."""
    items, after = await service.page(call, asked.cursor, asked.limit)
    return listed(request, items, after)


@routes.get("/users/{id}", response_model=schemas.User)
async def get(record_id: RecordId, call: Reader) -> Response:
    """Read a user."""
    row = await service.get(call, record_id)
    return answer(row, headers=etag(row["version"]))


@routes.patch("/users/{id}", response_model=schemas.User)
async def change(
    record_id: RecordId, changes: schemas.UserChange, call: Writer, if_match: IfMatch = None
) -> Response:
    """Edit a user: send what changes, with If-Match. With other roles or sites the user's access tokens end."""
    row = await service.change(call, record_id, version_of(if_match), changes)
    return answer(row, headers=etag(row["version"]))


@routes.post("/users/{id}/invite", response_model=schemas.InvitedUser, responses=may_answer(ConflictError))
async def invite_again(record_id: RecordId, call: Writer) -> Response:
    """Invite a user once more: the invitation was lost, or the password was forgotten. The one before ends."""
    row = await service.invite_again(call, record_id)
    return answer(row, headers=etag(row["version"]) | _SHOWN_ONCE)


@routes.post("/users/{id}/suspend", response_model=schemas.User, responses=may_answer(ConflictError))
async def suspend(record_id: RecordId, call: Writer) -> Response:
    """Suspend a user: it can't sign in, and its tokens and live connections end."""
    row = await service.suspend(call, record_id)
    return answer(row, headers=etag(row["version"]))


@routes.post("/users/{id}/resume", response_model=schemas.User)
async def resume(record_id: RecordId, call: Writer) -> Response:
    """Let a suspended user sign in again, or bring back a deleted one that isn't purged yet."""
    row = await service.resume(call, record_id)
    return answer(row, headers=etag(row["version"]))


@routes.delete("/users/{id}", response_model=schemas.User)
async def delete(record_id: RecordId, call: Writer) -> Response:
    """Delete a user: as when it is suspended, and some weeks later only its id is left, in the audit log."""
    row = await service.delete(call, record_id)
    return answer(row, headers=etag(row["version"]))


@routes.post("/revocations", status_code=HTTP_NO_CONTENT)
async def revoke(wanted: schemas.Revocation, call: Writer) -> Response:
    """End all tokens and live connections that a subject has in the tenant so far. A user can sign in again.

    An operator of the installation can take another token by its access grant: to keep it out, revoke that too.
    """
    await service.end_credentials(call, wanted.subject)
    return Response(status_code=HTTP_NO_CONTENT)
