"""Shapes of what operators ask."""

from typing import Annotated

from pydantic import BaseModel, Field


class Health(BaseModel):
    """How the engine is."""

    status: Annotated[str, Field(examples=["ready"])]
    reason: Annotated[str | None, Field(description="why readings are not accepted", examples=[None])] = None
