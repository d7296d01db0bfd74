"""Shapes of silences."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from api.routing import Moment, Name, Strict

KindName = Literal["mute", "maintenance"]


class NewSilence(Strict):
    """Alerts raised in from <= t < to, by rule time, are stored as muted. What isn't named matches all."""

    kind: KindName
    pack: Annotated[Name | None, Field(description="external id of the pack")] = None
    site: Annotated[Name | None, Field(description="name or id of the site")] = None
    rule: Annotated[UUID | None, Field(strict=False, description="id of the rule")] = None
    starts: Annotated[Moment, Field(alias="from")]
    ends: Annotated[Moment, Field(alias="to")]
    reason: Name


class Silence(BaseModel):
    id: UUID
    kind: KindName
    pack: str | None
    site: str | None
    rule: UUID | None
    starts: Annotated[str, Field(alias="from")]
    ends: Annotated[str, Field(alias="to")]
    reason: str
    created_by: str
    created_at: str
    ended_at: Annotated[str | None, Field(description="when it was ended by hand")]


class SilencePage(BaseModel):
    items: list[Silence]
    next_cursor: str | None
