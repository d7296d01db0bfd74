"""Shapes of packs and tenures."""

from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, Field

from api.routing import Moment, Name, Strict

ByName = Annotated[Name | None, Field(description="name or id")]


class NewPack(Strict):
    pack: Annotated[Name, Field(description="the tenant's own id of the pack")]
    model: ByName = None
    site: ByName = None


class PackChange(Strict):
    """What is put right; a move in time is a new tenure."""

    pack: Name = ""
    model: ByName = None
    site: ByName = None


class NewTenure(Strict):
    """A move: from a time on, the pack is at another site, or counts as another model."""

    starts: Annotated[Moment, Field(alias="from")]
    site: ByName = None
    model: ByName = None


class Tenure(BaseModel):
    """A span of time from <= t < to; null ends are open."""

    starts: Annotated[str | None, Field(alias="from")]
    ends: Annotated[str | None, Field(alias="to")]
    site: str | None
    model: str | None


class LatestValue(BaseModel):
    value: float
    ts: Annotated[str, Field(description="event time, RFC 3339")]
    unit: str


class Pack(BaseModel):
    id: UUID
    pack: str
    model: str | None
    site: str | None
    region: str | None
    zone: str | None
    created_at: str
    version: int


class PackPage(BaseModel):
    items: list[Pack]
    next_cursor: str | None


class PackDetail(Pack):
    """A pack with its tenures and the latest value of each measure that it ever sent."""

    tenures: list[Tenure]
    latest: dict[str, LatestValue]


class Latest(BaseModel):
    pack: str
    latest: dict[str, LatestValue]
