"""Shapes of users."""

from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from api.routing import Name, Strict
from domain.users import LOGIN_CHARACTERS_MAX, UserState

Login = Annotated[
    Name,
    Field(
        max_length=LOGIN_CHARACTERS_MAX,
        description="login name or e-mail address, unique in the tenant; capital letters are the same as small ones",
        examples=["ann@example.com"],
    ),
]
Roles = Annotated[
    list[Name],
    Field(
        min_length=1,
        max_length=20,
        description="what the user is for: built-in roles and the tenant's own",
        examples=[["operator"]],
    ),
]
Sites = Annotated[
    list[Name] | None,
    Field(max_length=1000, description="sites to which the user is limited; null for all", examples=[None]),
]


class NewUser(Strict):
    """Somebody who is invited."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"login": "ann@example.com", "roles": ["operator"]}]}
    )

    login: Login
    roles: Roles
    sites: Sites = None


class UserChange(Strict):
    """What changes of a user. When roles or sites do, the user's access tokens end."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"roles": ["analyst"]}]})

    login: Login = ""
    roles: Roles = Field(default_factory=list)
    sites: Sites = None


class User(BaseModel):
    id: UUID
    subject: Annotated[
        str,
        Field(
            description="what tokens and the audit log call the user",
            examples=["user:5f0c1d7e-8f0b-4d0e-9a3c-2b7a6d1e4f90"],
        ),
    ]
    login: Login
    state: UserState
    roles: Roles
    sites: Sites
    invitation_expires_at: Annotated[
        str | None, Field(description="until when an invitation is open; null for none")
    ]
    created_at: str
    purge_at: Annotated[
        str | None, Field(description="of a deleted user: when nothing but the id is left; null for others")
    ]
    version: int


class InvitedUser(User):
    invitation: Annotated[
        str,
        Field(
            description="the secret with which the user chooses a password, once; it is in this answer only",
            examples=["q1Zk3c0Yx0l8n2m4v6b8"],
        ),
    ]


class UserPage(BaseModel):
    items: list[User]
    next_cursor: str | None


class Revocation(Strict):
    """Whose credentials are to end."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"subject": "user:5f0c1d7e-8f0b-4d0e-9a3c-2b7a6d1e4f90"}]}
    )

    subject: Annotated[Name, Field(description="the `sub` of the tokens: of a user, or of anybody else")]
