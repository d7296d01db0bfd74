"""Shapes of telemetry requests and answers, as OpenAPI shows them."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from api.routing import Name, Strict
from domain.measures import MEASURES
from domain.receipts import ItemOutcome, QuarantineReason, ReceiptStatus


class ReceiptItem(BaseModel):
    """A reading that did not simply go in."""

    index: Annotated[int, Field(description="position in the body, from 0")]
    outcome: ItemOutcome
    reason: QuarantineReason
    field: str | None = None
    limit: str | float | None = None


class Receipt(BaseModel):
    """What became of the readings: accepted + duplicate + quarantined = received."""

    id: UUID
    status: ReceiptStatus
    received: int
    accepted: int
    duplicate: int
    quarantined: int
    late: Annotated[int, Field(description="of those accepted, arrived long after their time")]
    conflicting: Annotated[int, Field(description="of those quarantined, contradict what is stored")]
    items: list[ReceiptItem]
    items_omitted: Annotated[int, Field(description="items beyond the limit of a receipt")] = 0
    ignored_keys: Annotated[list[str], Field(description="keys that the engine doesn't know")]


class NewImport(Strict):
    """An import: bodies under its id may bring any past time."""

    source: Annotated[Name, Field(description="where the readings come from, such as a file's name")] = (
        "unnamed"
    )


class Import(BaseModel):
    """An import with the sums of its receipts."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    source: str
    created_by: str
    created_at: str
    received: int = 0
    accepted: int = 0
    duplicate: int = 0
    quarantined: int = 0
    conflicting: int = 0


class ImportPage(BaseModel):
    items: list[Import]
    next_cursor: str | None


class Quarantined(BaseModel):
    """Equal items set aside for the same reason, with how often and when they came."""

    id: str
    source: str
    reason: QuarantineReason
    field: str | None
    limit_value: str | None
    raw: str
    times: int
    first_at: str
    last_at: str


class QuarantinedPage(BaseModel):
    items: list[Quarantined]
    next_cursor: str | None


def reading_schema() -> dict[str, Any]:
    """The JSON schema of one reading, from the table of measures."""
    measures = {
        measure.name: {
            "type": ["number", "null"],
            "minimum": measure.minimum,
            "maximum": measure.maximum,
            "description": f"{measure.description} ({measure.unit})",
        }
        for measure in MEASURES
    }
    return {
        "type": "object",
        "required": ["pack", "ts"],
        "properties": {
            "pack": {"type": "string", "description": "the pack's external id"},
            "ts": {
                "description": "RFC 3339 with offset, or milliseconds since 1970",
                "anyOf": [{"type": "string", "format": "date-time"}, {"type": "integer"}],
            },
        }
        | measures,
        "example": {"pack": "P-1", "ts": "2026-01-31T12:00:00Z", "voltage_v": 357.2, "current_a": -12.5},
    }


def telemetry_body() -> dict[str, Any]:
    """The request body of telemetry as OpenAPI."""
    reading = reading_schema()
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"anyOf": [reading, {"type": "array", "items": reading}]},
                    "example": [reading["example"]],
                },
                "application/x-ndjson": {"schema": {"type": "string", "description": "a reading a line"}},
                "application/vnd.apache.arrow.stream": {
                    "schema": {
                        "type": "string",
                        "format": "binary",
                        "description": "Arrow IPC stream, uncompressed, with columns of the same names",
                    }
                },
            },
        }
    }
