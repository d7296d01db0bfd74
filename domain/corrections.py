"""Corrections of stored readings: what may be asked for, and how far it has come."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from domain.tenancy import TenantId


class CorrectionKind(StrEnum):
    """What is done to which readings."""

    DELETE_RANGE = "delete_range"
    DELETE_BATCH = "delete_batch"
    DELETE_IMPORT = "delete_import"
    CORRECT = "correct"

    @property
    def deletes(self) -> bool:
        """Whether values go without others in their place."""
        return self is not CorrectionKind.CORRECT


class CorrectionStatus(StrEnum):
    """Asked for; begun by the writer; done, the latest values and notes included."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Correction:
    """A correction as the writer carries it out.

    number: its own, never reused. pack, starts_ms <= t < ends_ms: the readings of a range, or the one that is put
    right (ends_ms = starts_ms + 1). batch_id, import_id: what is deleted as a whole. chosen: for each measure of
    MEASURES, whether it is meant. thousandths: the right values, None where not meant.
    """

    number: int
    id: UUID
    tenant_id: TenantId
    kind: CorrectionKind
    pack: int | None
    starts_ms: int | None
    ends_ms: int | None
    chosen: tuple[bool, ...]
    thousandths: tuple[int | None, ...] | None
    batch_id: UUID | None
    import_id: UUID | None


@dataclass(frozen=True, slots=True)
class Reached:
    """How far a correction's slices have come; the beginning by default.

    Batches up to batch_no are done, and of the next one the items before item_no; times before ts_ms are done.
    """

    batch_no: int = -1
    item_no: int = 0
    ts_ms: int | None = None
