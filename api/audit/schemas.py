"""Shapes of the audit log."""

from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, Field

from api.routing import Moment, Name, PageOf


class Asked(PageOf):
    """Which entries; what isn't named matches all."""

    starts: Annotated[Moment | None, Query(alias="from", description="entries from this moment on")] = None
    ends: Annotated[Moment | None, Query(alias="to", description="entries before this moment")] = None
    subject: Annotated[Name | None, Query(description="who did it: the `sub` of the token")] = None
    action: Annotated[Name | None, Query(description="what was done, such as `rules.changed`")] = None
    resource: Annotated[Name | None, Query(description="to what kind of record, such as `rules`")] = None
    resource_id: Annotated[Name | None, Query(description="to which record")] = None
    request_id: Annotated[Name | None, Query(description="in which request: its `X-Request-ID`")] = None
    client_address: Annotated[Name | None, Query(description="from which address")] = None
    site: Annotated[Name | None, Query(description="about which site, by the name that it had then")] = None


class Entry(BaseModel):
    at: str
    subject: Annotated[str, Field(description="who did it: the `sub` of the token")]
    client_address: Annotated[
        str | None, Field(description="address that the request came from; null for what the engine did")
    ]
    action: Annotated[str, Field(description="what was done: the kind of record and a verb")]
    resource: Annotated[str, Field(description="the kind of record")]
    resource_id: Annotated[str, Field(description="id of the record")]
    site: Annotated[str | None, Field(description="site of the record; null for what belongs to no one site")]
    before: Annotated[
        dict[str, Any] | None,
        Field(description="the record before, with `[redacted]` for what is secret; null for a new one"),
    ]
    after: Annotated[dict[str, Any] | None, Field(description="the record after; null for one that is gone")]
    request_id: Annotated[str, Field(description="the request's `X-Request-ID`")]


class EntryPage(BaseModel):
    items: list[Entry]
    next_cursor: str | None
