"""What the caller may do, and why not."""

from typing import Annotated

from fastapi import Depends, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from api.call import Call
from api.routing import Allowed, answer, router
from domain.errors import InvalidRequestError
from domain.policy import Action, decide

routes = router("me")


class Permission(BaseModel):
    action: Annotated[str, Field(description="what routes ask for")]
    allowed: Annotated[bool, Field(description="whether this credential may do it")]
    reason: Annotated[str, Field(description="which role grants it, or why it is denied")]


class Permissions(BaseModel):
    subject: Annotated[str, Field(description="who you are: the `sub` of the token")]
    tenant: Annotated[str, Field(description="name of your tenant")]
    roles: Annotated[list[str], Field(description="what the credential is for")]
    sites: Annotated[list[str] | None, Field(description="sites to which it is limited; null for all")]
    pack: Annotated[str | None, Field(description="pack to whose own device it belongs; null for none")]
    permissions: Annotated[list[Permission], Field(description="a decision for each action")]


@routes.get("/me/permissions", response_model=Permissions)
async def permissions(
    call: Annotated[Call, Depends(Allowed(Action.OWN_PERMISSIONS_READ))],
    action: Annotated[str | None, Query(description="this action alone", max_length=200)] = None,
) -> Response:
    """Say what this credential may do, and why what it may not is denied. Routes ask by the same decisions."""
    actor = call.actor
    decisions = {one: decide(actor, one) for one in _actions(action)}
    return answer(
        {
            "subject": actor.subject,
            "tenant": actor.tenant_name,
            "roles": actor.role_names,
            "sites": None if actor.sites is None else sorted(actor.sites),
            "pack": actor.device_pack,
            "permissions": [
                {"action": one, "allowed": decision.allowed, "reason": decision.reason}
                for one, decision in decisions.items()
            ],
        }
    )


def _actions(named: str | None) -> list[Action]:
    """The action of a name, or all. Raises InvalidRequestError for a name that none has."""
    if named is None:
        return [*Action]
    try:
        return [Action(named)]
    except ValueError as error:
        raise InvalidRequestError(f"actions are {', '.join(Action)}", field="action") from error
