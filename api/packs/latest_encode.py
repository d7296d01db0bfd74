"""Latest values of many packs as JSON columns, lines of JSON, CSV and Arrow."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from api import spreadsheet
from api.packs.latest import LatestOfPacks
from domain.measures import MEASURES

_UNITS = {
    name: unit
    for measure in MEASURES
    for name, unit in ((measure.name, measure.unit), (f"{measure.name}_ts", "ms"))
}


def json_body(found: LatestOfPacks) -> bytes:
    """{"columns": {"pack", measure, measure_ts, …}, "units", "unknown"}; what a pack never sent is null."""
    columns: dict[str, Any] = {"pack": found.packs}
    for measure, value, ts_ms in _measures(found):
        columns[measure] = value
        columns[f"{measure}_ts"] = ts_ms
    return orjson.dumps({"columns": columns, "units": _UNITS, "unknown": found.unknown})


def _measures(found: LatestOfPacks) -> Iterator[tuple[str, list[float | None], list[int | None]]]:
    for measure, value, ts_ms, known in zip(MEASURES, found.value, found.ts_ms, found.known, strict=True):
        where = known.tolist()
        yield (
            measure.name,
            [one if some else None for one, some in zip(value.tolist(), where, strict=True)],
            [one if some else None for one, some in zip(ts_ms.tolist(), where, strict=True)],
        )


def _texts(found: LatestOfPacks) -> list[list[str]]:
    """The times in RFC 3339, by measure and pack; without meaning where there is no value."""
    moments = np.where(found.known, found.ts_ms, 0).astype("datetime64[ms]")
    texts: list[list[str]] = np.strings.add(np.datetime_as_string(moments), "Z").tolist()
    return texts


def ndjson_body(found: LatestOfPacks) -> bytes:
    """A line for each pack, as it is answered for one."""
    texts, values, known = _texts(found), found.value.tolist(), found.known.tolist()
    lines = []
    for place, pack in enumerate(found.packs):
        latest = {
            measure.name: {
                "value": values[row][place],
                "ts": texts[row][place],
                "unit": measure.unit,
            }
            for row, measure in enumerate(MEASURES)
            if known[row][place]
        }
        lines.append(orjson.dumps({"pack": pack, "latest": latest}, option=orjson.OPT_APPEND_NEWLINE))
    return b"".join(lines)


def csv_body(found: LatestOfPacks) -> bytes:
    """A row for each pack; times in RFC 3339, and empty cells for what a pack never sent."""
    header, columns = ["pack"], [list(found.packs)]
    for (measure, value, ts_ms), texts in zip(_measures(found), _texts(found), strict=True):
        header += [measure, f"{measure}_ts"]
        told = [None if ts is None else text for ts, text in zip(ts_ms, texts, strict=True)]
        columns += [value, told]  # type: ignore[list-item]
    return spreadsheet.lines([header]) + spreadsheet.lines(zip(*columns, strict=True))


def arrow_body(found: LatestOfPacks) -> bytes:
    """An Arrow IPC stream: pack string, measures double, their times timestamp[ms, UTC]; units in the metadata."""
    columns: dict[str, Any] = {"pack": pa.array(found.packs, pa.string())}
    for measure, value, ts_ms, known in zip(MEASURES, found.value, found.ts_ms, found.known, strict=True):
        columns[measure.name] = pa.array(value, mask=~known)
        columns[f"{measure.name}_ts"] = pa.array(ts_ms, mask=~known).cast(pa.timestamp("ms", "UTC"))
    metadata = {"units": orjson.dumps(_UNITS), "unknown": orjson.dumps(found.unknown)}
    table = pa.table(columns).replace_schema_metadata(metadata)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())
