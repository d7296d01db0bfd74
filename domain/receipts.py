"""What becomes of each reading, and the receipt that says so."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

OUTCOME_UNKNOWN: Final = (
    "whether this was stored is unknown: send the same request again; nothing is stored twice"
)
"""What is said of readings that may have been stored, to whoever sent them with a key or without."""


class QuarantineReason(StrEnum):
    """Why a reading was set aside instead of stored."""

    NOT_AN_OBJECT = "not_an_object"
    MISSING_FIELD = "missing_field"
    INVALID_TYPE = "invalid_type"
    INVALID_TIME = "invalid_time"
    TIME_WITHOUT_OFFSET = "time_without_offset"
    TOO_FAR_IN_FUTURE = "too_far_in_future"
    TOO_LATE = "too_late"
    TOO_OLD = "too_old"
    NOT_A_NUMBER = "not_a_number"
    OUT_OF_RANGE = "out_of_range"
    NO_MEASURE = "no_measure"
    AMBIGUOUS_KEY = "ambiguous_key"
    UNKNOWN_PACK = "unknown_pack"
    NOT_HELD_THEN = "not_held_then"
    CONFLICT = "conflict"
    DELETED = "deleted"
    ARCHIVED = "archived"
    IMPORT_UNDONE = "import_undone"


class Mode(StrEnum):
    """Live readings come from the field as they arise; imports bring the past and run no rules."""

    LIVE = "live"
    IMPORT = "import"


class ReceiptStatus(StrEnum):
    """Of readings that are lost it isn't known what became of each; some may be stored."""

    COMMITTED = "committed"
    PENDING = "pending"
    LOST = "lost"


class ItemOutcome(StrEnum):
    """Outcome of one reading that a receipt lists by itself."""

    QUARANTINED = "quarantined"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class ReceiptItem:
    """One reading that did not simply go in. `index` counts the body's readings from 0.

    `field` names what is wrong and `limit` the bound that it broke, where there is one.
    """

    index: int
    outcome: ItemOutcome
    reason: QuarantineReason
    field: str | None = None
    limit: str | float | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """Counts of readings: accepted + duplicate + quarantined = received.

    `late` is part of accepted, `conflicting` of quarantined. `items_omitted` counts the items beyond the
    limit of a receipt.
    """

    id: UUID
    status: ReceiptStatus
    received: int
    accepted: int
    duplicate: int
    quarantined: int
    late: int
    conflicting: int
    items: tuple[ReceiptItem, ...]
    ignored_keys: tuple[str, ...]
    items_omitted: int = 0

    @property
    def complete(self) -> bool:
        """Whether every reading went in or was there already, with no conflict in any measure."""
        return self.accepted + self.duplicate == self.received and not self.items


def pending_receipt(batch_id: UUID, received: int = 0, ignored_keys: tuple[str, ...] = ()) -> Receipt:
    """The receipt of a batch that is safe, and of which nothing else is known yet."""
    return Receipt(batch_id, ReceiptStatus.PENDING, received, 0, 0, 0, 0, 0, (), ignored_keys)


@dataclass(frozen=True, slots=True)
class QuarantinedItem:
    """One reading set aside: where it stood, why, and its raw text, so that it can be sent again."""

    index: int
    reason: QuarantineReason
    field: str | None
    limit: str | float | None
    raw: str
