"""Durable ingest over HTTP beside the same rows written straight into the same table."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import orjson
import psycopg
import pyarrow as pa

from benchmarks.copying import (
    copy_binary,
    copy_from_server_file,
    copy_text,
    timed_adbc,
    timed_commits,
    timed_commits_side_by_side,
    write_server_file,
)
from benchmarks.fleet import FleetReadings, arrow_body, arrow_rows, copy_rows, json_body, python_rows
from benchmarks.ingest_field import ARROW, JSON, Digest, Field, Shape, digest_of, ingest_field, sums_of
from benchmarks.measuring import Contender, Samples, alternate, seconds_of
from benchmarks.report import Goal, Report, compare
from benchmarks.senders import Posted, Senders, accepted, senders, wall_s
from ingest.bodies.arrow import read_arrow
from ingest.bodies.native import read_json
from ingest.columns import BodyLimits

CLIENTS = (1, 2, 4)
FLEET = Shape("fleet", packs=10_000, readings_per_pack=5, groups=4)
LOGS = Shape("logs", packs=100, readings_per_pack=500, groups=4)
GATEWAY = Shape("gateway", packs=1_000, readings_per_pack=10, groups=4)
FLOOR = "binary COPY"
DECODE_JSON = "msgspec decode"
_DIRECT_BATCH_NO = -1
_LIMITS = BodyLimits(200_000, 20, 200)
_MILLION = 1e6


@dataclass(slots=True)
class Run:
    """The field with clients and connections that live as long as the measurement.

    processor_s: seconds by number of clients, of the engine and of PostgreSQL, for `processed` readings.
    """

    field: Field
    clients: dict[int, Senders]
    connections: list[psycopg.Connection[Any]]
    admin: psycopg.Connection[Any]
    processor_s: dict[int, dict[str, float]]
    processed: dict[int, int]
    latencies_s: dict[int, list[float]]


@contextmanager
def _running(packs: int, content_type: str) -> Iterator[Run]:
    with ExitStack() as stack:
        field = stack.enter_context(ingest_field(packs))
        clients = {
            count: stack.enter_context(senders(count, field.engine.port, field.token, content_type))
            for count in CLIENTS
        }
        connections = [stack.enter_context(field.writer()) for _ in range(2)]
        admin = stack.enter_context(field.admin())
        yield Run(field, clients, connections, admin, {}, {}, {})


def _over_http(
    run: Run, shape: Shape, bodies: int, clients: int, encode: Callable[[FleetReadings], bytes]
) -> Contender:
    def measure() -> float:
        encoded = [encode(readings) for readings in run.field.fresh(shape, bodies)]
        before = run.field.engine.processor_s()
        posted = run.clients[clients].post(encoded)
        after = run.field.engine.processor_s()
        if accepted(posted) != bodies * shape.readings:
            raise RuntimeError(f"{accepted(posted)} of {bodies * shape.readings} readings were accepted")
        _note(run, clients, posted, {name: after[name] - before[name] for name in after})
        return bodies * shape.readings / wall_s(posted) / _MILLION

    return Contender(f"over HTTP, {_clients(clients)}", measure)


def _clients(count: int) -> str:
    return f"{count} client{'s' if count > 1 else ''}"


def _note(run: Run, clients: int, posted: Sequence[Posted], used_s: dict[str, float]) -> None:
    sums = run.processor_s.setdefault(clients, dict.fromkeys(used_s, 0.0))
    for name, seconds in used_s.items():
        sums[name] += seconds
    run.processed[clients] = run.processed.get(clients, 0) + accepted(posted)
    run.latencies_s.setdefault(clients, []).extend(
        latency_s for one in posted for latency_s in one.latencies_s
    )


def _direct(
    name: str,
    run: Run,
    shape: Shape,
    bodies: int,
    prepare: Callable[[FleetReadings], Any],
    timed: Callable[[Sequence[Any]], float],
) -> Contender:
    """Rows written past the engine; what `prepare` makes of them is not timed."""

    def measure() -> float:
        prepared = [prepare(readings) for readings in run.field.fresh(shape, bodies)]
        return bodies * shape.readings / timed(prepared) / _MILLION

    return Contender(name, measure)


def _binary(run: Run) -> Callable[[FleetReadings], memoryview]:
    return lambda readings: copy_rows(readings, run.field.fleet, _DIRECT_BATCH_NO)


def _floor(run: Run, shape: Shape, bodies: int) -> Contender:
    return _direct(
        FLOOR,
        run,
        shape,
        bodies,
        _binary(run),
        lambda prepared: timed_commits(run.connections[0], copy_binary, prepared),
    )


def _peers(run: Run, shape: Shape, bodies: int) -> list[Contender]:
    fleet, folder = run.field.fleet, run.field.engine.data_dir
    few = max(1, bodies // 5)

    def from_file(prepared: Sequence[memoryview]) -> float:
        paths = [write_server_file(folder, f"rows-{n}", rows) for n, rows in enumerate(prepared)]
        seconds = timed_commits(run.admin, copy_from_server_file, paths)
        for path in paths:
            path.unlink()
        return seconds

    return [
        _direct(
            "binary COPY, 2 connections",
            run,
            shape,
            bodies,
            _binary(run),
            lambda prepared: timed_commits_side_by_side(run.connections, prepared),
        ),
        _direct("server-side COPY", run, shape, bodies, _binary(run), from_file),
        _direct(
            "ADBC",
            run,
            shape,
            bodies,
            lambda readings: arrow_rows(readings, fleet, _DIRECT_BATCH_NO),
            lambda tables: timed_adbc(run.field.engine.writer_conninfo(), tables),
        ),
        _direct(
            "psycopg text COPY",
            run,
            shape,
            few,
            lambda readings: python_rows(readings, fleet, _DIRECT_BATCH_NO),
            lambda rows: timed_commits(run.connections[0], copy_text, rows),
        ),
    ]


def require_equal_rows(run: Run, shape: Shape, encode: Callable[[FleetReadings], bytes]) -> Digest:
    """The digest that every contender's rows have. Raises AssertionError when they differ.

    Direct writers write the readings in a transaction that is rolled back, then the engine for good.
    """
    (readings,) = run.field.fresh(shape, 1)
    digests = {}
    path = write_server_file(run.field.engine.data_dir, "rows", _binary(run)(readings))
    prepared: dict[str, tuple[Callable[..., None], Any]] = {
        FLOOR: (copy_binary, _binary(run)(readings)),
        "server-side COPY": (copy_from_server_file, path),
        "psycopg text COPY": (copy_text, python_rows(readings, run.field.fleet, _DIRECT_BATCH_NO)),
    }
    for name, (write, rows) in prepared.items():
        with run.admin.transaction(force_rollback=True):
            write(run.admin, rows)
            digests[name] = digest_of(run.admin, [_DIRECT_BATCH_NO])
    path.unlink()
    posted = run.clients[1].post([encode(readings)])
    (number,) = run.admin.execute(
        "SELECT batch_no FROM batches WHERE id = %s", [posted[0].receipts[0]["id"]]
    ).fetchone() or (0,)
    digests["over HTTP"] = digest_of(run.admin, [number])
    assert digests[FLOOR].rows == shape.readings, digests
    assert digests[FLOOR].thousandths == sums_of(readings), digests
    assert len(set(digests.values())) == 1, f"the contenders store different rows: {digests}"
    return digests[FLOOR]


def _facts(run: Run, shape: Shape, bodies: int, rows_before: int) -> tuple[str, ...]:
    costs = [
        f"{_clients(clients)}: engine {used['engine'] * 1e6 / run.processed[clients]:.2f}, "
        f"PostgreSQL {used['PostgreSQL'] * 1e6 / run.processed[clients]:.2f}, "
        f"median answer {np.median(run.latencies_s[clients]) * 1000:.0f} ms"
        for clients, used in run.processor_s.items()
    ]
    body = f"{shape.readings:,} readings ({shape.packs:,} packs, {shape.readings_per_pack} of each)"
    return (
        f"{bodies} bodies of {body}, a transaction each, fsync on; equality of the rows was asserted first",
        f"bodies go round {shape.groups} groups of packs, so that each pack has one client",
        f"the table held {rows_before:,} rows at the start and {run.field.stored_rows():,} at the end",
        "processor seconds per million readings: " + "; ".join(costs),
    )


def measure_arrow(shape: Shape, bodies: int, rounds: int) -> Report:
    """Arrow bodies against COPY by client and server, ADBC, text COPY, and reading the stream alone."""
    with _running(shape.fleet_packs, ARROW) as run:
        require_equal_rows(run, shape, arrow_body)
        rows_before = run.field.stored_rows()
        contenders = [
            *(_over_http(run, shape, bodies, count, arrow_body) for count in CLIENTS),
            _floor(run, shape, bodies),
            *_peers(run, shape, bodies),
            _arrow_alone("our decode alone", run, shape, lambda body: read_arrow(body, _LIMITS)),
            _arrow_alone("Arrow read alone", run, shape, lambda body: pa.ipc.open_stream(body).read_all()),
        ]
        samples = alternate(contenders, rounds)
        return Report(
            f"Durable ingest of Arrow bodies, {shape.name}",
            "M readings/s",
            compare(samples, (FLOOR, "server-side COPY")),
            _facts(run, shape, bodies, rows_before),
            _arrow_goals(samples),
        )


def _arrow_goals(samples: dict[str, Samples]) -> tuple[Goal, ...]:
    lines = {line.name: line for line in compare(samples, (FLOOR,))}
    return tuple(
        Goal(f"{name} to a client's {FLOOR}", 0.8, line.against[FLOOR])
        for name, line in lines.items()
        if name.startswith("over HTTP")
    )


def _arrow_alone(name: str, run: Run, shape: Shape, read: Callable[[bytes], object]) -> Contender:
    return _alone(name, run, shape, arrow_body, read)


def _alone(
    name: str,
    run: Run,
    shape: Shape,
    encode: Callable[[FleetReadings], bytes],
    read: Callable[[bytes], object],
) -> Contender:
    (readings,) = run.field.fresh(shape, 1)
    body = encode(readings)
    return Contender(name, lambda: shape.readings / seconds_of(lambda: read(body)) / _MILLION)


def measure_json(shape: Shape, bodies: int, rounds: int) -> Report:
    """JSON bodies against decoding alone, and against COPY of the same rows."""
    with _running(shape.fleet_packs, JSON) as run:
        require_equal_rows(run, shape, json_body)
        rows_before = run.field.stored_rows()
        contenders = [
            *(_over_http(run, shape, bodies, count, json_body) for count in CLIENTS),
            _floor(run, shape, bodies),
            _alone(DECODE_JSON, run, shape, json_body, msgspec.json.decode),
            _alone("orjson decode", run, shape, json_body, orjson.loads),
            _alone("our decode alone", run, shape, json_body, lambda body: read_json(body, _LIMITS)),
        ]
        samples = alternate(contenders, rounds)
        lines = compare(samples, (DECODE_JSON, FLOOR))
        goals = tuple(
            Goal(f"{line.name} to {DECODE_JSON} alone", 0.5, line.against[DECODE_JSON])
            for line in lines
            if line.name.startswith("over HTTP")
        )
        return Report(
            f"Durable ingest of JSON bodies, {shape.name}",
            "M readings/s",
            lines,
            _facts(run, shape, bodies, rows_before),
            goals,
        )


def measure(*, quick: bool) -> list[Report]:
    """All of ingest."""
    rounds, bodies = (2, 4) if quick else (5, 8)
    return [
        measure_arrow(FLEET, bodies, rounds),
        measure_arrow(LOGS, bodies, rounds),
        measure_json(GATEWAY, 3 * bodies, rounds),
    ]
