"""Shapes of sites."""

from typing import Annotated
from uuid import UUID
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, Field

from api.routing import Name, Strict


def _known_zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError("expected an IANA time zone, such as Europe/Berlin")
    return name


Zone = Annotated[str, AfterValidator(_known_zone), Field(max_length=100, description="IANA time zone")]
Region = Annotated[Name | None, Field(description="groups sites")]


class NewSite(Strict):
    name: Name
    zone: Zone
    region: Region = None


class SiteChange(Strict):
    name: Name = ""
    zone: Zone = ""
    region: Region = None


class Site(BaseModel):
    id: UUID
    name: str
    region: str | None
    zone: str
    created_at: str
    version: int


class SitePage(BaseModel):
    items: list[Site]
    next_cursor: str | None
