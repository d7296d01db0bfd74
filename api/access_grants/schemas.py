"""Shapes of access grants."""

from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from api.routing import Name, Strict

Operator = Annotated[
    Name | None,
    Field(
        description="the one operator of the installation for whom it is, as its tokens call it; null for all",
        examples=["operator:5f0c1d7e-8f0b-4d0e-9a3c-2b7a6d1e4f90"],
    ),
]
Roles = Annotated[
    list[Name],
    Field(
        min_length=1,
        max_length=20,
        description="as what operators may act: built-in roles and the tenant's own",
        examples=[["read_only"]],
    ),
]
Reason = Annotated[
    Name, Field(description="why, for the audit log", examples=["ticket 4711: trends of P-1 are empty"])
]


class NewAccessGrant(Strict):
    """What operators of the installation may do in the tenant for a time."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"hours": 4, "reason": "ticket 4711: trends of P-1 are empty"}]}
    )

    hours: Annotated[float, Field(ge=0.1, description="for so many hours", examples=[4])]
    reason: Reason
    roles: Roles = Field(default_factory=lambda: ["read_only"])
    subject: Operator = None


class AccessGrant(BaseModel):
    id: UUID
    subject: Operator
    roles: Roles
    reason: Reason
    granted_by: Annotated[str, Field(description="who gave it: the `sub` of the token")]
    granted_at: Annotated[str, Field(description="when it was given")]
    ends_at: Annotated[str, Field(description="when it ends by itself")]
    revoked_at: Annotated[str | None, Field(description="when it was revoked; null when it was not")]
    revoked_by: Annotated[str | None, Field(description="who revoked it; null when nobody did")]
    is_open: Annotated[bool, Field(description="whether operators may act by it now")]


class AccessGrantPage(BaseModel):
    items: list[AccessGrant]
    next_cursor: str | None
