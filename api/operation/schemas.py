"""Shapes of what operators ask."""

from typing import Annotated

from pydantic import BaseModel, Field


class Health(BaseModel):
    """Whether the process lives."""

    status: Annotated[str, Field(examples=["alive"])]


class Disk(BaseModel):
    """The data directory's disk."""

    free_bytes: Annotated[int, Field(examples=[81_604_378_624])]
    low_bytes: Annotated[
        int, Field(description="with less free no readings are taken in; 0: off", examples=[1_073_741_824])
    ]
    days_until_full: Annotated[
        float | None,
        Field(
            description="until free space is down to low_bytes, by the last hours; null when it isn't filling up,"
            " or that can't be told yet",
            examples=[211.4],
        ),
    ]


class Readiness(BaseModel):
    """Whether readings are accepted."""

    status: Annotated[str, Field(description="`ready` or `not ready`", examples=["ready"])]
    code: Annotated[
        str | None,
        Field(
            description="why not, for programs: `loading`, `kafka_away`, `clock_jumped` or `disk_low`",
            examples=[None],
        ),
    ]
    reason: Annotated[str | None, Field(description="why not, for people", examples=[None])]
    version: Annotated[str, Field(description="of the engine", examples=["0.1.0"])]
    disk: Disk
