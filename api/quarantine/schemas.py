"""Shapes of quarantine."""

from typing import Annotated, Self
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field, model_validator

from api.routing import Moment, Name, PageOf, Strict
from domain.quarantine import RawForm
from domain.receipts import ItemOutcome, Mode, QuarantineReason

IDS_MAX = 1000


class Quarantined(BaseModel):
    """Equal items set aside for the same reason, with how often and when they came."""

    id: UUID
    source: str
    mode: Mode
    reason: QuarantineReason
    field: str | None
    limit_value: str | None
    pack: Annotated[str | None, Field(description="external id in the item, where it can be read")]
    form: Annotated[RawForm, Field(description="how `raw` is written")]
    raw: str
    whole: Annotated[bool, Field(description="false when `raw` was cut, so that it can't be judged again")]
    times: int
    first_at: str
    last_at: str


class QuarantinedPage(BaseModel):
    items: list[Quarantined]
    next_cursor: str | None


class Asked(PageOf):
    """Which items: those to which all that is given applies."""

    limit: Annotated[
        int | None, Query(ge=1, le=1000, description="items on a page; NDJSON and CSV give all without it")
    ] = None  # type: ignore[assignment]
    reason: Annotated[QuarantineReason | None, Query(description="only this reason")] = None
    source: Annotated[Name | None, Query(description="only from this source")] = None
    pack: Annotated[Name | None, Query(description="only items that name this pack")] = None
    starts: Annotated[Moment | None, Query(alias="from", description="last came then or later")] = None
    ends: Annotated[Moment | None, Query(alias="to", description="last came before")] = None


class Filter(Strict):
    """Which items: those to which all that is given applies; {} is all."""

    model_config = ConfigDict(populate_by_name=True)

    reason: Annotated[QuarantineReason | None, Field(strict=False)] = None
    source: Name | None = None
    pack: Name | None = None
    starts: Annotated[Moment | None, Field(alias="from", description="last came then or later")] = None
    ends: Annotated[Moment | None, Field(alias="to", description="last came before")] = None


class Redrive(Strict):
    """Which items are to be judged again, by their ids or by a filter."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"filter": {"reason": "unknown_pack"}, "dry_run": True}]}
    )

    ids: Annotated[
        list[Annotated[UUID, Field(strict=False)]] | None, Field(min_length=1, max_length=IDS_MAX)
    ] = None
    filter: Filter | None = None
    cursor: Annotated[
        str | None, Field(max_length=2000, description="`next_cursor` of the answer before")
    ] = None
    dry_run: Annotated[bool, Field(description="only say which would be stored")] = False

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.ids is None) == (self.filter is None):
            raise ValueError("give either ids or a filter")
        return self


class Remaining(BaseModel):
    """An item that stays in quarantine."""

    id: UUID
    outcome: ItemOutcome
    reason: Annotated[
        QuarantineReason | None, Field(description="why it can't go in now; null when it was not tried")
    ]
    field: str | None
    limit: str | float | None


class Redriven(BaseModel):
    """What became of the items: selected = accepted + duplicate + quarantined + skipped."""

    dry_run: bool
    selected: int
    accepted: int
    duplicate: int
    quarantined: int
    skipped: Annotated[int, Field(description="not tried: cut, or of an import that is no more")]
    late: int
    conflicting: int
    batches: Annotated[list[UUID], Field(description="ids of the receipts")]
    items: Annotated[list[Remaining], Field(description="those that stay")]
    next_cursor: Annotated[str | None, Field(description="for the items beyond the limit of one request")]
