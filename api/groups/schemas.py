"""Shapes of saved groups."""

from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from api.routing import Name, Strict

Description = Annotated[str, Field(max_length=2000, description="what the group is for")]
Packs = Annotated[list[Name], Field(description="external ids of packs")]


class NewGroup(Strict):
    """A name for some packs, by which they are asked for together: `saved:NAME`."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "night shift", "packs": ["P-1", "P-2"]}]}
    )

    name: Name
    description: Description = ""
    packs: Packs = Field(default_factory=list)


class GroupChange(Strict):
    """What changes. Packs that are members already, or are none, are passed over."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"add": ["P-3"], "remove": ["P-1"]}]})

    name: Name = ""
    description: Description = ""
    add: Packs = Field(default_factory=list)
    remove: Packs = Field(default_factory=list)


class SavedGroup(BaseModel):
    id: UUID
    name: str
    description: str
    packs: Annotated[int, Field(description="how many of its packs the credential sees")]
    created_at: str
    version: int


class GroupPage(BaseModel):
    items: list[SavedGroup]
    next_cursor: str | None


class GroupPack(BaseModel):
    id: UUID
    pack: str


class GroupPackPage(BaseModel):
    items: list[GroupPack]
    next_cursor: str | None
