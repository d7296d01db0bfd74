"""Shapes of live streams."""

from typing import Annotated
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from api.alerts.schemas import SeverityName
from api.packs.schemas import PacksOrGroup
from api.routing import Name, Strict

EVENTS = (
    'id: MDo0MQ\nevent: snapshot\ndata: {"alerts":[],"more":false}\n\n'
    'id: MDo0Mg\nevent: alert\ndata: {"event":{"kind":"raised"},"alert":{"severity":"critical"}}\n\n'
)
"""How a stream may begin; events and alerts have more fields."""


class Ticket(BaseModel):
    """With which one socket can be opened, once."""

    ticket: Annotated[str, Field(examples=["5NnNQzH0xkWg3lqGmUoXyTq2uT0V1lS0a3Vb8n0cJxE"])]
    expires_at: Annotated[str, Field(examples=["2026-01-31T12:00:30+00:00"])]


class AlertFilter(Strict):
    """Which alerts are wanted; a list that is empty wants all."""

    sites: Annotated[list[Name], Field(default_factory=list, max_length=1000)]
    severities: Annotated[list[SeverityName], Field(default_factory=list, max_length=10)]
    rules: Annotated[list[Annotated[UUID, Field(strict=False)]], Field(default_factory=list, max_length=1000)]
    packs: Annotated[list[Name], Field(default_factory=list, max_length=1000)]


class Subscribe(Strict):
    """The first frame of a client."""

    ticket: Annotated[str, Field(min_length=1, max_length=200)]
    cursor: Annotated[str, Field(max_length=2000)] | None = None
    filter: Annotated[AlertFilter, Field(default_factory=lambda: AlertFilter.model_validate({}))]


class Watch(PacksOrGroup):
    """The first frame of a client that wants latest values."""

    ticket: Annotated[str, Field(min_length=1, max_length=200)]
    packs: Annotated[list[Name], Field(min_length=1)] | None = None
    measures: Annotated[list[str], Field(min_length=1, max_length=100)] | None = None
    rate_hz: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0


class StreamAsked(BaseModel):
    """Which alerts an event stream brings, and from where on."""

    model_config = ConfigDict(extra="forbid")

    site: Annotated[
        list[Name],
        Query(default_factory=list, max_length=1000, description="name of a site; may be repeated"),
    ]
    severity: Annotated[
        list[SeverityName], Query(default_factory=list, max_length=10, description="may be repeated")
    ]
    rule: Annotated[
        list[UUID], Query(default_factory=list, max_length=1000, description="id of a rule; may be repeated")
    ]
    pack: Annotated[
        list[Name], Query(default_factory=list, max_length=1000, description="external id; may be repeated")
    ]
    cursor: Annotated[
        str | None, Query(max_length=2000, description="from where on; Last-Event-ID says the same")
    ] = None
