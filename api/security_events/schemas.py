"""Shapes of security events."""

from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, Field

from api.routing import Moment, Name, PageOf
from domain.security import SecurityKind


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
