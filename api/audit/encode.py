"""Audit entries as an Arrow IPC stream."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import orjson
import pyarrow as pa

from domain.clock import to_ms

_SCHEMA: Final = pa.schema(
    {
        "at": pa.timestamp("ms", "UTC"),
        "subject": pa.string(),
        "client_address": pa.string(),
        "action": pa.string(),
        "resource": pa.string(),
        "resource_id": pa.string(),
        "site": pa.string(),
        "before": pa.string(),
        "after": pa.string(),
        "request_id": pa.string(),
    }
)


def arrow_body(rows: Sequence[dict[str, Any]]) -> bytes:
    """Entries as they are stored; the record before and after is JSON text."""
    columns = {name: [_value(row[name]) for row in rows] for name in _SCHEMA.names}
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, _SCHEMA) as writer:
        writer.write_table(pa.table(columns, schema=_SCHEMA))
    return bytes(sink.getvalue().to_pybytes())


def _value(value: Any) -> Any:
    if isinstance(value, datetime):
        return to_ms(value)
    return orjson.dumps(value).decode() if isinstance(value, dict) else value
