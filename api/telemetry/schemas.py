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
    expected: Annotated[
        int | None,
        Field(
            gt=0, lt=2**63, description="readings that will come, when that is known", examples=[4_032_000]
        ),
    ] = None


class Import(BaseModel):
    """An import with the sums of its receipts."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    source: str
    created_by: str
    created_at: str
    expected: Annotated[int | None, Field(description="readings that its sender said would come")] = None
    undone_at: Annotated[str | None, Field(description="when it was undone")] = None
    received: int = 0
    accepted: int = 0
    duplicate: int = 0
    quarantined: int = 0
    conflicting: int = 0
    last_arrived_at: Annotated[str | None, Field(description="when its last body arrived")] = None


class ImportPage(BaseModel):
    items: list[Import]
    next_cursor: str | None


_READING = {"pack": "P-1", "ts": "2026-01-31T12:00:00Z", "voltage_v": 357.2, "current_a": -12.5}


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
        "example": _READING,
    }


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


_CSV_EXAMPLE = "pack,ts,voltage_v,current_a\nP-1,2026-01-31T12:00:00Z,357.2,-12.5\n"


def telemetry_body() -> dict[str, Any]:
    """The request body of telemetry as OpenAPI."""
    reading = _reference("Reading")
    return _body(
        {
            "application/json": {
                "schema": {"anyOf": [reading, {"type": "array", "items": reading}]},
                "example": [_READING],
            },
            "application/x-ndjson": {
                "schema": {"type": "string", "description": "a reading a line"},
                "example": '{"pack": "P-1", "ts": "2026-01-31T12:00:00Z", "voltage_v": 357.2}\n',
            },
            "text/csv": {
                "schema": {
                    "type": "string",
                    "description": "a header with the same names, and a reading a line",
                },
                "example": _CSV_EXAMPLE,
            },
            "application/vnd.apache.arrow.stream": {
                "schema": {
                    "type": "string",
                    "format": "binary",
                    "description": "Arrow IPC stream, its buffers uncompressed, with columns of the same names",
                }
            },
        }
    )


def thingsboard_body() -> dict[str, Any]:
    """The request body of ThingsBoard's telemetry as OpenAPI."""
    item = _reference("ThingsBoardItem")
    return _body(
        {
            "application/json": {
                "schema": {"anyOf": [item, {"type": "array", "items": item}]},
                "example": [{"ts": 1769860800000, "values": {"voltage_v": 357.2, "current_a": -12.5}}],
            }
        }
    )


def gateway_body() -> dict[str, Any]:
    """The request body of a ThingsBoard gateway's telemetry as OpenAPI."""
    return _body(
        {
            "application/json": {
                "schema": {
                    "type": "object",
                    "additionalProperties": {"type": "array", "items": _reference("ThingsBoardItem")},
                },
                "example": {"P-1": [{"ts": 1769860800000, "values": {"voltage_v": 357.2}}]},
            }
        }
    )


def shared_schemas() -> dict[str, Any]:
    """The schemas of readings by name, as bodies refer to them."""
    timed = {
        "type": "object",
        "required": ["values"],
        "properties": {
            "ts": {"type": "integer", "description": "milliseconds since 1970"},
            "values": _reference("ThingsBoardValues"),
        },
    }
    values = {"type": "object", "description": "measures by name; numbers may stand as text"}
    return {
        "Reading": reading_schema(),
        "ThingsBoardItem": {
            "description": "values with their time, or bare ones, which were measured when they arrived",
            "anyOf": [_reference("ThingsBoardTimedValues"), _reference("ThingsBoardValues")],
        },
        "ThingsBoardTimedValues": timed,
        "ThingsBoardValues": values,
    }


def _body(content: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": content}}
