"""Shapes of security events."""

from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, Field

from api.routing import Moment, Name, PageOf, Strict
from domain.security import PER_MINUTE_MAX, QUIET_S_MAX, QUIET_S_MIN, SecurityKind


class Asked(PageOf):
    """Which events; what isn't named matches all."""

    starts: Annotated[Moment | None, Query(alias="from", description="events from this moment on")] = None
    ends: Annotated[Moment | None, Query(alias="to", description="events before this moment")] = None
    kind: Annotated[SecurityKind | None, Query(description="what happened")] = None
    subject: Annotated[Name | None, Query(description="to whom: the `sub` of the token")] = None
    address_prefix: Annotated[
        Name | None, Query(description="from which network, such as `203.0.113.0/24`")
    ] = None
    route: Annotated[Name | None, Query(description="where, such as `/v1/packs/{id}`")] = None


class SecurityEvent(BaseModel):
    at: Annotated[str, Field(description="the end of the second in which it happened")]
    kind: Annotated[SecurityKind, Field(description="what happened")]
    subject: Annotated[str | None, Field(description="to whom: the `sub` of the token")]
    address_prefix: Annotated[
        str | None, Field(description="network of the address: /24 of IPv4, /48 of IPv6")
    ]
    route: Annotated[str | None, Field(description="the route; null where more happened than is told apart")]
    times: Annotated[int, Field(description="how often within the second; of a threshold, within its minute")]


class SecurityEventPage(BaseModel):
    items: list[SecurityEvent]
    next_cursor: str | None


_PerMinute = Annotated[int, Field(ge=1, le=PER_MINUTE_MAX)]
_Quiet = Annotated[int, Field(ge=QUIET_S_MIN, le=QUIET_S_MAX)]
_DENIED = "denied accesses within a minute from which on an alert is raised"
_NOT_FOUND = "ids that weren't found within a minute from which on an alert is raised"
_RATE_LIMITED = "requests refused by rate within a minute from which on an alert is raised"
_QUIET = "seconds without such a minute after which the alert clears"
_USUAL = "; null: the installation's"


class OwnThresholds(Strict):
    """Thresholds that the tenant has chosen."""

    model_config = Strict.model_config | {
        "json_schema_extra": {"example": {"denied_per_minute_max": 20, "quiet_s": 900}}
    }

    denied_per_minute_max: Annotated[_PerMinute | None, Field(description=_DENIED + _USUAL)] = None
    not_found_per_minute_max: Annotated[_PerMinute | None, Field(description=_NOT_FOUND + _USUAL)] = None
    rate_limited_per_minute_max: Annotated[_PerMinute | None, Field(description=_RATE_LIMITED + _USUAL)] = (
        None
    )
    quiet_s: Annotated[_Quiet | None, Field(description=_QUIET + _USUAL)] = None


class HoldingThresholds(BaseModel):
    """Thresholds as they hold."""

    denied_per_minute_max: Annotated[int, Field(description=_DENIED)]
    not_found_per_minute_max: Annotated[int, Field(description=_NOT_FOUND)]
    rate_limited_per_minute_max: Annotated[int, Field(description=_RATE_LIMITED)]
    quiet_s: Annotated[int, Field(description=_QUIET)]


class SecurityThresholds(BaseModel):
    """From how many refusals on an alert is raised."""

    own: Annotated[OwnThresholds, Field(description="what the tenant has chosen")]
    holding: Annotated[HoldingThresholds, Field(description="what holds: that, and otherwise the settings")]
    version: int
