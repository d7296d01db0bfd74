"""Shapes of corrections."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, Field, RootModel

from api.routing import Moment, Name, Strict
from domain.corrections import CorrectionKind, CorrectionStatus

Reason = Annotated[Name, Field(description="why; it stays with the correction")]
Number = Annotated[float, Field(allow_inf_nan=False)]


class DeleteRange(Strict):
    """Readings of a pack in from <= t < to; of all measures when none are named."""

    kind: Literal["delete_range"]
    pack: Name
    starts: Annotated[Moment, Field(alias="from")]
    ends: Annotated[Moment, Field(alias="to")]
    measures: Annotated[list[str], Field(min_length=1, max_length=100)] | None = None
    reason: Reason


class DeleteBatch(Strict):
    """What a batch stored, by the id of its receipt."""

    kind: Literal["delete_batch"]
    batch: Annotated[UUID, Field(strict=False)]
    reason: Reason


class DeleteImport(Strict):
    """What an import stored; it takes no more readings from then on."""

    kind: Literal["delete_import"]
    imported: Annotated[UUID, Field(alias="import", strict=False)]
    reason: Reason


class Correct(Strict):
    """The right values of one reading, of measures that it has or once had."""

    kind: Literal["correct"]
    pack: Name
    ts: Moment
    values: Annotated[dict[str, Number], Field(min_length=1, max_length=100)]
    reason: Reason


NewCorrection = Annotated[DeleteRange | DeleteBatch | DeleteImport | Correct, Field(discriminator="kind")]


class AnyCorrection(RootModel[NewCorrection]):
    """One of the kinds of corrections."""


class Correction(BaseModel):
    """A correction and how far it has come. `readings` counts those that it changed so far."""

    id: UUID
    kind: CorrectionKind
    status: CorrectionStatus
    readings: int
    pack: str | None
    starts: Annotated[str | None, Field(alias="from")]
    ends: Annotated[str | None, Field(alias="to")]
    measures: Annotated[list[str], Field(description="those that it deletes or corrects")]
    values: Annotated[dict[str, float] | None, Field(description="the right values, of a `correct`")]
    batch: UUID | None
    imported: Annotated[UUID | None, Field(alias="import")]
    reason: str
    subject: str
    requested_at: str
    finished_at: str | None


class CorrectionPage(BaseModel):
    items: list[Correction]
    next_cursor: str | None
