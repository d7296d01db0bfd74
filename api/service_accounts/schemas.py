"""Shapes of service accounts and API keys."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import Path
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from api.routing import Moment, Name, Strict

StateName = Literal["active", "suspended"]
ShownStateName = Literal[StateName, "deleted"]

Description = Annotated[str, Field(max_length=2000, description="what it is for")]


def _once(names: list[str] | None) -> list[str] | None:
    if names is not None and len(set(names)) < len(names):
        raise ValueError("a name stands more than once")
    return names


Roles = Annotated[
    list[Name],
    Field(min_length=1, max_length=20, description="built-in roles and the tenant's own"),
    AfterValidator(_once),
]
Sites = Annotated[
    list[Name] | None,
    Field(max_length=1000, description="sites to which it is limited, by name or id; null for all"),
    AfterValidator(_once),
]
Regions = Annotated[
    list[Name] | None,
    Field(max_length=1000, description="and to the sites of these regions; null for none"),
    AfterValidator(_once),
]
State = Annotated[StateName, Field(description="a suspended one is refused with all its keys")]
KeyName = Annotated[Name, Field(description="what the key is for, such as where it is kept")]
ExpiresAt = Annotated[Moment | None, Field(description="from when on it is refused; null for never")]

KeyId = Annotated[
    str,
    Path(
        alias="key",
        description="id of the key, as it stands in its text",
        max_length=64,
        examples=["0Fq3ZkT9vBxA"],
    ),
    StringConstraints(pattern="^[0-9A-Za-z]+$"),
]


class NewServiceAccount(Strict):
    """A program that calls, with what it may do."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "reports", "roles": ["analyst"]}]})

    name: Name
    description: Description = ""
    roles: Roles
    sites: Sites = None
    regions: Regions = None


class ServiceAccountChange(Strict):
    """What changes."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"state": "suspended"}]})

    name: Name = ""
    description: Description = ""
    roles: Roles = Field(default_factory=list)
    sites: Sites = None
    regions: Regions = None
    state: State = "active"


class ServiceAccount(BaseModel):
    id: UUID
    name: str
    description: str
    roles: Annotated[list[str], Field(description="what it may do, by roles")]
    sites: Annotated[list[str] | None, Field(description="sites to which it is limited; null for all")]
    regions: Annotated[list[str] | None, Field(description="and to the sites of these regions")]
    state: Annotated[ShownStateName, Field(description="its keys are taken while it is active")]
    deleted_at: Annotated[str | None, Field(description="when it was deleted; null when it is not")]
    created_by: str
    created_at: str
    version: int


class ServiceAccountPage(BaseModel):
    items: list[ServiceAccount]
    next_cursor: str | None


class NewApiKey(Strict):
    """A key of a service account, which may be narrower than the account."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "server in Bern"}]})

    name: KeyName
    roles: Annotated[Roles | None, Field(description="some of the account's roles; null for all")] = None
    sites: Annotated[Sites, Field(description="some of the account's sites; null for all")] = None
    expires_at: ExpiresAt = None


class ApiKey(BaseModel):
    id: Annotated[str, Field(description="stands in the key's text, and is no secret")]
    name: Annotated[str, Field(description="what the key is for")]
    roles: Annotated[list[str] | None, Field(description="narrower than the account's; null for all")]
    sites: Annotated[list[str] | None, Field(description="narrower than the account's; null for all")]
    expires_at: Annotated[str | None, Field(description="from when on it is refused; null for never")]
    revoked_at: Annotated[str | None, Field(description="when it was revoked; null when it is not")]
    last_used_at: Annotated[
        str | None, Field(description="when it was used last, to about five minutes; null for never")
    ]
    created_by: str
    created_at: str


class MadeApiKey(ApiKey):
    """A key when it is made: the only time that its text is shown."""

    api_key: Annotated[
        str,
        Field(
            description="the key itself, which is never shown again",
            examples=["bpm_0Fq3ZkT9vBxA_8yq…"],
        ),
    ]


class ApiKeyPage(BaseModel):
    items: list[ApiKey]
    next_cursor: str | None
