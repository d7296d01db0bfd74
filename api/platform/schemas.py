"""Shapes of tenants as customers, and of what operators of the installation see."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field

from api.routing import Moment, Name, PageOf, Strict
from api.sign_in.schemas import AccessToken
from api.usage.schemas import UsageAsked, UsagePage
from api.users.schemas import Login
from domain.cells import Placement
from domain.tenancy import RETENTION_CLASS_NAME, STANDARD_RETENTION, TENANT_NAME, TenantState

_NAME_PATTERN = f"^{TENANT_NAME.pattern}$"
_QUOTA_MAX = 10**15 - 1

TenantName = Annotated[
    str, Path(alias="tenant", pattern=_NAME_PATTERN, description="name of the tenant", examples=["acme"])
]
Quota = Annotated[int | None, Field(ge=0, le=_QUOTA_MAX, description="at most so many; null for no quota")]
Reason = Annotated[Name, Field(description="why, for the audit log", examples=["invoice 17 is unpaid"])]


class NewTenant(Strict):
    """A tenant that is made."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "acme"}]})

    name: Annotated[
        str,
        Field(
            pattern=_NAME_PATTERN,
            description="lower-case letters, digits, - and _, up to 63, the first a letter or digit",
            examples=["acme"],
        ),
    ]
    register_unknown_packs: Annotated[
        bool, Field(description="whether packs register themselves by their first reading")
    ] = False
    retention_class: Annotated[
        str,
        Field(
            pattern=f"^{RETENTION_CLASS_NAME.pattern}$",
            description="by which its readings are kept; one that a command of this installation has made",
            examples=["law"],
        ),
    ] = STANDARD_RETENTION


class Suspension(Strict):
    """Why a tenant is suspended."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "invoice 17 is unpaid"}]})

    reason: Reason


class Administrator(Strict):
    """Who is to be a tenant's first administrator."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"login": "ann@example.com"}]})

    login: Login


class TenantQuotas(Strict):
    """What a tenant may use at most."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "packs_max": 500,
                    "day_readings_max": 50_000_000,
                    "day_requests_max": 1_000_000,
                    "day_received_bytes_max": 20_000_000_000,
                }
            ]
        }
    )

    packs_max: Quota
    day_readings_max: Quota
    day_requests_max: Quota
    day_received_bytes_max: Quota


class PlatformTenant(BaseModel):
    name: Annotated[str, Field(description="name of the tenant", examples=["acme"])]
    state: Annotated[TenantState, Field(description="whether it is served")]
    placement: Annotated[Placement, Field(description="where it is, as seen from here")]
    cell: Annotated[
        str | None, Field(description="the cell on which it is, or to which it goes; null while it is here")
    ]
    created_at: str
    suspended_at: Annotated[str | None, Field(description="since when it is suspended; null when it is not")]
    suspended_for: Annotated[str | None, Field(description="why it is suspended; null when it is not")]
    deletion_asked_at: Annotated[
        str | None, Field(description="when its deletion was asked for; null when it was not")
    ]
    erased_from: Annotated[
        str | None, Field(description="from when on it may be erased; null when it is not being deleted")
    ]
    packs: Annotated[int, Field(description="packs that it has registered")]
    retention_class: Annotated[
        str, Field(description="by which its readings are kept", examples=["standard"])
    ]
    packs_max: Quota
    day_readings_max: Quota
    day_requests_max: Quota
    day_received_bytes_max: Quota


class PlatformTenantPage(BaseModel):
    items: list[PlatformTenant]
    next_cursor: str | None


class DeletionAsked(BaseModel):
    """How long a deleted tenant can be taken back."""

    model_config = ConfigDict(extra="forbid")

    grace_days: Annotated[
        float | None,
        Query(ge=0, le=3650, description="days until it may be erased, instead of BPM_TENANT_GRACE_DAYS"),
    ] = None


class TenantUsageAsked(UsageAsked):
    """Which periods of a tenant."""


class TenantUsagePage(UsagePage):
    """What a tenant used."""


class InvitedAdministrator(BaseModel):
    login: Login
    invitation: Annotated[
        str,
        Field(
            description="the secret with which the administrator chooses a password, once; it is in this answer only",
            examples=["q1Zk3c0Yx0l8n2m4v6b8"],
        ),
    ]
    invitation_expires_at: Annotated[str, Field(description="until when the invitation is open")]


class GivenAccess(BaseModel):
    id: UUID
    tenant: Annotated[str, Field(description="name of the tenant that gave it", examples=["acme"])]
    subject: Annotated[str | None, Field(description="the one operator for whom it is; null for all")]
    roles: Annotated[list[str], Field(description="as what operators may act", examples=[["read_only"]])]
    reason: Annotated[str, Field(description="why, in the tenant's words")]
    granted_at: Annotated[str, Field(description="when it was given")]
    ends_at: Annotated[str, Field(description="when it ends by itself")]


class GivenAccesses(BaseModel):
    subject: Annotated[
        str, Field(description="what tokens and logs call you; tenants may name it in a grant")
    ]
    grants: Annotated[
        list[GivenAccess], Field(description="by which you may act now, the first to end first")
    ]


class TenantToken(AccessToken):
    tenant: Annotated[str, Field(description="name of the tenant in which the token is good")]


class LogAsked(PageOf):
    """Which entries; what isn't named matches all."""

    starts: Annotated[Moment | None, Query(alias="from", description="entries from this moment on")] = None
    ends: Annotated[Moment | None, Query(alias="to", description="entries before this moment")] = None
    subject: Annotated[Name | None, Query(description="who did it: the `sub` of the token")] = None
    action: Annotated[Name | None, Query(description="what was done, such as `tenants.suspended`")] = None
    resource: Annotated[Name | None, Query(description="to what: `tenants`, `operators`, …")] = None
    resource_id: Annotated[Name | None, Query(description="to which: a tenant's name, or an id")] = None


class LogEntry(BaseModel):
    at: str
    subject: Annotated[str, Field(description="who did it: an operator, or `installation` for a command")]
    client_address: Annotated[
        str | None, Field(description="address that the request came from; null for a command")
    ]
    action: Annotated[str, Field(description="what was done: the kind of record and a verb")]
    resource: Annotated[str, Field(description="the kind of record")]
    resource_id: Annotated[str, Field(description="name of the tenant, or id of the record")]
    after: Annotated[dict[str, Any] | None, Field(description="what it says of the record; null for nothing")]
    request_id: Annotated[str, Field(description="the request's `X-Request-ID`; empty for a command")]


class LogEntryPage(BaseModel):
    items: list[LogEntry]
    next_cursor: str | None
