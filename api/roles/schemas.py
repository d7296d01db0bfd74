"""Shapes of roles."""

from typing import Annotated
from uuid import UUID

from fastapi import Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from api.routing import Name, Strict
from domain.policy import Action
from domain.tenancy import ROLE_NAME, Role

Description = Annotated[str, Field(max_length=2000, description="what the role is for")]


def _free(name: str) -> str:
    if name in set(Role):
        raise ValueError("it is the name of a built-in role")
    return name


RoleName = Annotated[
    str,
    StringConstraints(pattern=f"^{ROLE_NAME.pattern}$"),
    AfterValidator(_free),
    Field(description="by which credentials name it; it stays. Lower-case letters, digits, - and _"),
]


def _known(action: str) -> str:
    if action not in set(Action):
        raise ValueError(f"actions are {', '.join(Action)}")
    return action


ActionName = Annotated[str, AfterValidator(_known), Field(examples=["pack:read"])]
"""Text, so that the generated client has no two classes of one name."""


def _once(actions: list[str]) -> list[str]:
    if len(set(actions)) < len(actions):
        raise ValueError("an action stands more than once")
    return actions


Actions = Annotated[
    list[ActionName],
    Field(min_length=1, max_length=len(Action), description="what the role lets one do"),
    AfterValidator(_once),
]


class NewRole(Strict):
    """A role of the tenant's own."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "night-shift", "actions": ["pack:read", "alert:read", "alert:write"]}]
        }
    )

    name: RoleName
    description: Description = ""
    actions: Actions


class RoleChange(Strict):
    """What changes. The name stays, since credentials are given by it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"actions": ["pack:read", "alert:read"]}]})

    description: Description = ""
    actions: Actions = Field(default_factory=list)


class CustomRole(BaseModel):
    id: UUID
    name: str
    description: str
    actions: Annotated[list[str], Field(description="what the role lets one do")]
    created_at: str
    version: int


class CustomRolePage(BaseModel):
    items: list[CustomRole]
    next_cursor: str | None


class OwnQuestion(BaseModel):
    """An action, and what it is to be done to."""

    model_config = ConfigDict(extra="forbid")

    action: Annotated[ActionName, Query(description="the action that is in question")]
    site: Annotated[Name | None, Query(description="done to something at this site")] = None
    pack: Annotated[Name | None, Query(description="done to this pack, at the site where it is now")] = None


class Question(OwnQuestion):
    """The same of a credential that one thinks of."""

    role: Annotated[list[Name], Query(max_length=20, description="a role of the credential; may repeat")] = []
    limited_to_site: Annotated[
        list[Name] | None, Query(max_length=1000, description="a site to which it is limited; may repeat")
    ] = None
    limited_to_region: Annotated[
        list[Name] | None, Query(max_length=1000, description="a region to which it is limited; may repeat")
    ] = None


class Explained(BaseModel):
    action: Annotated[str, Field(description="the action that was in question")]
    allowed: Annotated[bool, Field(description="whether it may be done")]
    reason: Annotated[str, Field(description="which role grants it, or why it is denied")]
    roles: Annotated[list[str], Field(description="roles of the credential that was looked at")]
    granted_by: Annotated[list[str], Field(description="all roles that grant the action")]
    sites: Annotated[list[str] | None, Field(description="sites to which it is limited; null for all")]
