"""Shapes of packs and tenures."""

from typing import Annotated, Literal, Self
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field, model_validator

from api.routing import Moment, Name, PageOf, Strict

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
    """A move: from a time on, the pack is at another site, or counts as another model; null is none.

    What isn't sent stays as it was.
    """

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
    looked_at: Annotated[
        int, Field(description="packs looked at for this page, of which `items` match", examples=[20_000])
    ]


class PacksAsked(PageOf):
    """Which packs are listed, and in which order; a search holds for packs as they are now."""

    pack: Annotated[Name | None, Query(description="the external id", examples=["NX-1"])] = None
    search: Annotated[
        Name | None,
        Query(description="a part of the external id; small and large letters are alike", examples=["nx-1"]),
    ] = None
    site: Annotated[Name | None, Query(description="name or id of the site", examples=["Bern"])] = None
    region: Annotated[Name | None, Query(description="region of the site", examples=["Mittelland"])] = None
    model: Annotated[Name | None, Query(description="name or id of the model", examples=["NX-90"])] = None
    order: Annotated[Literal["ascending", "descending"], Query(description="of external ids")] = "ascending"


class PackDetail(Pack):
    """A pack with its tenures and the latest value of each measure that it ever sent."""

    tenures: list[Tenure]
    latest: dict[str, LatestValue]


class PacksOrGroup(Strict):
    """The packs themselves, or a group of them."""

    packs: Annotated[list[Name] | None, Field(description="external ids")] = None
    group: Annotated[
        str | None, Field(max_length=300, description="all, site:NAME, model:NAME or saved:NAME")
    ] = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.packs is None) == (self.group is None):
            raise ValueError("give either packs or a group")
        return self


class LatestAsked(PacksOrGroup):
    """Whose latest values are looked up."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"packs": ["P-1", "P-2"]}, {"group": "saved:night shift"}]}
    )


class LatestOfPacks(BaseModel):
    """The latest values of packs as columns of one length; what a pack never sent is null."""

    columns: Annotated[
        dict[str, list[str | float | int | None]],
        Field(
            description="`pack`, and of each measure its value and `…_ts`, its time in milliseconds since 1970"
        ),
    ]
    units: dict[str, str]
    unknown: Annotated[list[str], Field(description="those of the packs asked for that there are none of")]


class Latest(BaseModel):
    pack: str
    latest: dict[str, LatestValue]


LATEST_LINE = (
    '{"pack": "P-1", "latest": {"voltage_v": {"value": 357.2, "ts": "2026-01-31T12:00:00Z", "unit": "V"}}}\n'
)
LATEST_CSV = "pack,voltage_v,voltage_v_ts\nP-1,357.2,2026-01-31T12:00:00.000Z\n"
"""Latest values as lines, for OpenAPI."""
