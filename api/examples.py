"""Examples for OpenAPI: of every parameter, body and answer, put together from one table of values by name."""

from collections.abc import Mapping
from typing import Any, Final

Schema = dict[str, Any]

_ID: Final = "5f0c1d7e-8f0b-4d0e-9a3c-2b7a6d1e4f90"
_MOMENT: Final = "2026-01-31T12:00:00Z"
_MOMENT_MS: Final = 1769860800000

OF_NAME: Final[Mapping[str, Any]] = {
    "acknowledged_at": None,
    "acknowledged_by": None,
    "alias": "packVoltage_mV",
    "assigned_to": None,
    "assignee": "workshop",
    "band": "site",
    "batch": _ID,
    "chemistry": "LFP",
    "clear_limit": 45,
    "clear_reason": None,
    "cleared_at": None,
    "comment": "the fan was blocked",
    "condition": {
        "kind": "threshold",
        "measure": "temperature_c",
        "side": "above",
        "limit": 50,
        "clear_limit": 45,
        "duration_s": 60,
    },
    "created_by": "token",
    "cursor": None,
    "description": "packs of the night shift",
    "duration_s": 60,
    "during": None,
    "ended_at": None,
    "expires_at": "2026-01-31T12:00:30Z",
    "factor": 0.001,
    "field": None,
    "finished_at": None,
    "from": "2026-01-31T00:00:00Z",
    "group": "site:Bern",
    "ignored_keys": [],
    "import": _ID,
    "items_omitted": 0,
    "key": "voltage_v",
    "limit": 50,
    "measure": "temperature_c",
    "measures": ["temperature_c"],
    "model": "NX-90",
    "name": "NX-90",
    "next_cursor": None,
    "offset": 0,
    "pack": "NX-1",
    "points": 500,
    "problems": [],
    "rated_capacity_ah": 90,
    "reason": "the sensor was loose",
    "region": "Mittelland",
    "rule": "hot",
    "site": "Bern",
    "scope": {"kind": "model", "model": "NX-90"},
    "source": "gateway-7",
    "starts": "2026-01-31T00:00:00Z",
    "step": "PT15M",
    "subject": "token",
    "threshold": 80,
    "ticket": "q1Zk3c0Yx0l8n2m4v6b8",
    "to": "2026-02-01T00:00:00Z",
    "ts": _MOMENT,
    "unit": "°C",
    "units": {"ts": "ms", "temperature_c": "°C"},
    "unknown": [],
    "value": 53.2,
    "voltage_max_v": 365,
    "voltage_min_v": 250,
    "zone": "Europe/Zurich",
    "If-None-Match": '"3-9f86d081884c7d659a2feaa0"',
    "if-match": '"3-9f86d081884c7d659a2feaa0"',
    "idempotency-key": "0b9c3f52-6f43-4f0e-9d5c-0f7c2f6c1d11",
    "last-event-id": "eyIwIjo0MX0",
}
"""What stands for a parameter or a property; where it doesn't fit the type, the type decides."""

OF_SCHEMA: Final[Mapping[str, Mapping[str, Any]]] = {
    "Aggregate": {
        "columns": {
            "ts": [_MOMENT_MS],
            "temperature_c_count": [90],
            "temperature_c_max": [53.2],
            "covered_s": [890],
        },
        "units": {"ts": "ms", "temperature_c_count": "", "temperature_c_max": "°C", "covered_s": "s"},
    },
    "GroupAggregate": {
        "columns": {"ts": [_MOMENT_MS], "packs": [3], "temperature_c_max_p95": [53.2]},
        "units": {"ts": "ms", "packs": "", "temperature_c_max_p95": "°C"},
    },
    "LatestOfPacks": {
        "columns": {"pack": ["NX-1"], "temperature_c": [53.2], "temperature_c_ts": [_MOMENT_MS]},
        "units": {"temperature_c": "°C", "temperature_c_ts": "ms"},
    },
    "NewRule": {"name": "hot"},
    "NewSite": {"name": "Bern"},
    "Rule": {"name": "hot"},
    "RuleChange": {"name": "hot"},
    "SavedGroup": {"name": "night shift"},
    "Site": {"name": "Bern"},
    "SiteChange": {"name": "Bern"},
    "Template": {"name": "hot"},
    "Trend": {"columns": {"ts": [_MOMENT_MS, _MOMENT_MS + 60_000], "temperature_c": [51.5, 53.2]}},
}
"""What stands for properties whose meaning depends on where they stand."""


class Examples:
    """Examples of the schemas of one OpenAPI document."""

    def __init__(self, schemas: Mapping[str, Schema]) -> None:
        self._schemas = schemas

    def of_parameter(self, parameter: Schema) -> Any:
        """A value of a parameter; its default where it has one."""
        schema = parameter["schema"]
        if schema.get("default") is not None:
            return schema["default"]
        return self.of(schema, parameter["name"])

    def of(self, schema: Schema, name: str = "") -> Any:
        """A value that a schema allows, as it may stand under a name."""
        if given := schema.get("examples"):
            return given[0]
        for key in ("example", "const"):
            if key in schema:
                return schema[key]
        if "$ref" in schema:
            return self._of_reference(schema["$ref"].rpartition("/")[2], name)
        choices = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
        if choices is not None:
            return self._of_choices(choices, name)
        return self._of_type(schema, name)

    def _of_reference(self, title: str, name: str) -> Any:
        found = self.of(self._schemas[title], name)
        return found | dict(OF_SCHEMA.get(title, {})) if isinstance(found, dict) else found

    def _of_choices(self, choices: list[Schema], name: str) -> Any:
        told = OF_NAME.get(name, "")
        if told is None and {"type": "null"} in choices:
            return None
        return self.of(next(choice for choice in choices if choice != {"type": "null"}), name)

    def _of_type(self, schema: Schema, name: str) -> Any:
        if "enum" in schema:
            return schema["enum"][0]
        kind, told = schema.get("type"), OF_NAME.get(name)
        if kind == "object" or "properties" in schema:
            return self._of_object(schema, told)
        if kind == "array":
            return told if isinstance(told, list) else [self.of(schema.get("items", {}), name)]
        if schema.get("format") == "uuid":
            return _ID
        return _of_simple(kind, schema, told)

    def _of_object(self, schema: Schema, told: Any) -> Any:
        properties: Schema = schema.get("properties", {})
        if properties:
            return {name: self.of(inner, name) for name, inner in properties.items()}
        if isinstance(told, dict):
            return told
        inner = schema.get("additionalProperties")
        return {"temperature_c": self.of(inner)} if isinstance(inner, dict) else {}


def _of_simple(kind: Any, schema: Schema, told: Any) -> Any:
    if kind == "boolean":
        return schema.get("default", False)
    if kind in ("integer", "number"):
        if isinstance(told, int | float) and (kind == "number" or isinstance(told, int)):
            return told
        return schema.get("default", schema.get("minimum", 1))
    if kind == "string":
        return told if isinstance(told, str) else schema.get("default") or _MOMENT
    return told
