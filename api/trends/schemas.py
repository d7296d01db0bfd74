"""Shapes of trends."""

from typing import Annotated

from pydantic import BaseModel, Field


class Trend(BaseModel):
    """A pack's series as columns of one length; gaps are null."""

    pack: str
    columns: Annotated[
        dict[str, list[int | float | None]],
        Field(description="`ts` in milliseconds since 1970, and the measures"),
    ]
    units: dict[str, str]
