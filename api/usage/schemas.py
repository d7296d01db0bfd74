"""Shapes of usage."""

from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, Field

from api.routing import Moment, PageOf
from domain.usage import Period


class UsageAsked(PageOf):
    """Which periods."""

    starts: Annotated[
        Moment | None, Query(alias="from", description="the UTC day of this moment, and later ones")
    ] = None
    ends: Annotated[
        Moment | None, Query(alias="to", description="UTC days that begin before this moment")
    ] = None
    by: Annotated[Period, Query(description="each UTC day, or each month by its first day")] = Period.DAY


class UsedPeriod(BaseModel):
    period: Annotated[str, Field(description="the day, or the first day of the month, in UTC")]
    readings: Annotated[
        int, Field(description="readings stored of what arrived then; what was sent again counts nothing")
    ]
    batches: Annotated[int, Field(description="bodies that were committed, or their parts")]
    received_bytes: Annotated[
        int, Field(description="bytes of these bodies, or of their messages where they go through a topic")
    ]
    requests: Annotated[int, Field(description="requests that were allowed; the newest within some seconds")]
    packs: Annotated[int, Field(description="packs registered by its end")]


class UsagePage(BaseModel):
    items: list[UsedPeriod]
    next_cursor: str | None
