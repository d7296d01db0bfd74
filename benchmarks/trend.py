"""A pack's 10,000 points through HTTP, and what encoding them costs beside the usual ways."""

import http.client
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import msgspec
import numpy as np
import orjson
import pyarrow as pa
from fastapi.encoders import jsonable_encoder
from pydantic import BaseModel, TypeAdapter

from api.series import Column, Table, arrow_chunks, csv_chunks, json_chunks
from benchmarks.copying import copy_binary
from benchmarks.fleet import FleetReadings, arrow_body, copy_rows, make_readings, pack_name
from benchmarks.ingest_field import ARROW, JSON, STEP_MS, Field, ingest_field
from benchmarks.measuring import Contender, Samples, alternate, percentile, processor_seconds_of
from benchmarks.report import Goal, Line, Report, compare
from benchmarks.senders import senders
from domain.clock import from_ms
from domain.measures import MEASURE_INDEX
from domain.readings import Float64Array, Int64Array

POINTS = 10_000
MEASURES_ASKED = ("voltage_v", "current_a", "temperature_c")
CSV = "text/csv"
FLOOR = "Arrow table and stream alone"
FASTAPI = "FastAPI's default, pydantic rows"
_PACKS = 100
_FAR_MS = 10 * 3_600_000
_MS_PER_S = 1000


@dataclass(frozen=True, slots=True)
class _Series:
    ts_ms: Int64Array
    columns: Float64Array

    def table(self) -> Table:
        values = zip(MEASURES_ASKED, self.columns, strict=True)
        return Table(
            "pack",
            pack_name(0),
            {"ts": Column(self.ts_ms)} | {name: Column(column) for name, column in values},
        )


class _Row(BaseModel):
    ts: int
    voltage_v: float
    current_a: float
    temperature_c: float


def measure(*, quick: bool) -> list[Report]:
    """Encoding alone, then the whole way through HTTP."""
    requests, rounds = (20, 2) if quick else (300, 9)
    return [_measure_encoding(rounds), *_measure_http(requests)]


def _measure_encoding(rounds: int) -> Report:
    readings = make_readings(1, POINTS, 1_700_000_000_000, STEP_MS, seed=1)
    chosen = [MEASURE_INDEX[name] for name in MEASURES_ASKED]
    series = _Series(readings.ts_ms, np.ascontiguousarray(readings.values()[chosen]))
    ways = _ways_to_encode(series)
    _require_equal_points(ways, series)
    contenders = [Contender(name, _milliseconds(way)) for name, way in ways.items()]
    samples = alternate(contenders, rounds)
    lines = compare(samples, (FLOOR, FASTAPI))
    ours = {line.name: line for line in lines}
    return Report(
        f"Encoding {POINTS:,} points of {len(MEASURES_ASKED)} measures, alone",
        "processor ms",
        lines,
        ("the same columns are given to each; every encoding was decoded and compared first",),
        (
            Goal(f"our JSON, times faster than {FASTAPI}", 100, 1 / ours["our JSON"].against[FASTAPI]),
            Goal(f"our Arrow, times faster than {FASTAPI}", 1000, 1 / ours["our Arrow"].against[FASTAPI]),
        ),
    )


def _milliseconds(way: Callable[[], bytes]) -> Callable[[], float]:
    return lambda: processor_seconds_of(way) * _MS_PER_S


def _ways_to_encode(series: _Series) -> dict[str, Callable[[], bytes]]:
    names = MEASURES_ASKED

    def rows() -> list[_Row]:
        columns = zip(series.ts_ms.tolist(), *series.columns.tolist(), strict=True)
        return [
            _Row(ts=ts, voltage_v=voltage_v, current_a=current_a, temperature_c=temperature_c)
            for ts, voltage_v, current_a, temperature_c in columns
        ]

    def columns_as(values: Callable[[Any], Any]) -> dict[str, Any]:
        columns = zip(names, series.columns, strict=True)
        return {"ts": values(series.ts_ms), **{name: values(column) for name, column in columns}}

    def arrow_alone() -> bytes:
        table = pa.table(columns_as(pa.array))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return bytes(sink.getvalue().to_pybytes())

    adapter = TypeAdapter(list[_Row])
    return {
        "our Arrow": lambda: b"".join(arrow_chunks([series.table()])),
        "our JSON": lambda: b"".join(json_chunks([series.table()])),
        "our CSV": lambda: b"".join(csv_chunks([series.table()])),
        FLOOR: arrow_alone,
        "orjson, NumPy columns": lambda: orjson.dumps(
            columns_as(lambda column: column), option=orjson.OPT_SERIALIZE_NUMPY
        ),
        "msgspec, lists": lambda: msgspec.json.encode(columns_as(lambda column: column.tolist())),
        "pydantic rows": lambda: adapter.dump_json(rows()),
        FASTAPI: lambda: json.dumps(jsonable_encoder(rows()), separators=(",", ":")).encode(),
    }


def _require_equal_points(ways: dict[str, Callable[[], bytes]], series: _Series) -> None:
    """Raises AssertionError unless every encoding holds the same numbers."""
    wanted = {"ts": series.ts_ms.tolist(), **dict(zip(MEASURES_ASKED, series.columns.tolist(), strict=True))}
    for name, way in ways.items():
        found = _decoded(name, way())
        assert [found[column] for column in wanted] == list(wanted.values()), name


def _decoded(name: str, body: bytes) -> dict[str, list[Any]]:
    if "Arrow" in name:
        table = pa.ipc.open_stream(body).read_all()
        milliseconds = table.column("ts").cast(pa.int64())
        return {column: table.column(column).to_pylist() for column in MEASURES_ASKED} | {
            "ts": milliseconds.to_pylist()
        }
    if "CSV" in name:
        head, *lines = body.decode().splitlines()
        moments, *texts = zip(*(line.split(",") for line in lines), strict=True)
        numbers = ([float(text) for text in column] for column in texts)
        found = dict(zip(head.split(",")[1:], numbers, strict=True))
        return found | {"ts": [round(datetime.fromisoformat(one).timestamp() * 1000) for one in moments]}
    decoded = orjson.loads(body)
    if isinstance(decoded, list):
        return {column: [row[column] for row in decoded] for column in decoded[0]}
    columns: dict[str, list[Any]] = decoded.get("columns", decoded)
    return columns


def _measure_http(requests: int) -> list[Report]:
    with ingest_field(_PACKS, prefill_rows=_PACKS) as field:
        spread = _write_in_order_of_arrival(field)
        together = _send_in_one_body(field)
        return [
            _asked("in order of arrival, a page each", field, 0, spread, requests),
            _asked("which came in one body", field, 1, together, requests),
        ]


def _write_in_order_of_arrival(field: Field) -> tuple[int, int]:
    """Every pack's points, as a fleet sends them: a reading of each pack, then the next of each."""
    readings = make_readings(_PACKS, POINTS, field.first_ms + _FAR_MS, STEP_MS, seed=2)
    order = np.lexsort((readings.position, readings.ts_ms))
    arrived = FleetReadings(
        readings.position[order], readings.ts_ms[order], np.ascontiguousarray(readings.thousandths[:, order])
    )
    with field.writer() as connection, connection.transaction():
        copy_binary(connection, copy_rows(arrived, field.fleet, -1))
    with field.admin() as connection:
        connection.execute("VACUUM (ANALYZE) readings")
    return int(readings.ts_ms.min()), int(readings.ts_ms.max())


def _send_in_one_body(field: Field) -> tuple[int, int]:
    readings = make_readings(2, POINTS, field.first_ms + 2 * _FAR_MS, STEP_MS, seed=3)
    with senders(1, field.engine.port, field.token, ARROW) as clients:
        clients.post([arrow_body(readings)])
    return int(readings.ts_ms.min()), int(readings.ts_ms.max())


def _asked(name: str, field: Field, position: int, span_ms: tuple[int, int], requests: int) -> Report:
    """Latency of each format, the formats in turns, for one client with one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", field.engine.port, timeout=60)
    first, last = (from_ms(moment).astimezone(UTC).isoformat() for moment in (span_ms[0], span_ms[1] + 1))
    query = urlencode(
        {"pack": pack_name(position), "measure": MEASURES_ASKED, "from": first, "to": last}, doseq=True
    )
    samples = {accept: Samples(accept) for accept in (ARROW, JSON, CSV)}
    for number in range(requests + 1):
        for accept, sample in samples.items():
            headers = {"Authorization": f"Bearer {field.token}", "Accept": accept}
            began_s = time.perf_counter()
            connection.request("GET", f"/v1/trends?{query}", headers=headers)
            response = connection.getresponse()
            body = response.read()
            took_s = time.perf_counter() - began_s
            _require_points(accept, response.status, body)
            if number:
                sample.figures.append(took_s * _MS_PER_S)
    connection.close()
    return Report(
        f"{POINTS:,} points of a pack through HTTP, {name}",
        "ms",
        tuple(_latency_line(sample) for sample in samples.values()),
        (
            f"one client, one connection, {requests} requests of each; low and high are p1 and p99",
            "requests a second: "
            + ", ".join(
                f"{sample.name} {_MS_PER_S / np.mean(sample.figures):.0f}" for sample in samples.values()
            ),
        ),
    )


def _require_points(accept: str, status: int, body: bytes) -> None:
    assert status == http.client.OK, body[:500]
    points: Sequence[Any]
    if accept == ARROW:
        points = pa.ipc.open_stream(body).read_all().column("ts")
    elif accept == JSON:
        points = orjson.loads(body)["columns"]["ts"]
    else:
        points = body.splitlines()[1:]
    assert len(points) == POINTS, (accept, len(points))


def _latency_line(sample: Samples) -> Line:
    return Line(
        sample.name, sample.median, percentile(sample.figures, 0.01), percentile(sample.figures, 0.99)
    )
