"""What live readings notice of an import, and of its undoing."""

import http.client
import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from typing import Any

import orjson

from benchmarks.fleet import arrow_body, make_readings, pack_name
from benchmarks.ingest_field import ARROW, TENANT
from benchmarks.measuring import percentile
from benchmarks.report import Line, Report
from benchmarks.senders import accepted, senders
from benchmarks.served import ServedEngine, served_engine
from domain.clock import MILLISECONDS_PER_SECOND, to_ms

_MINUTE_MS = 60 * MILLISECONDS_PER_SECOND
_BODY_ROWS = 100_000
_PACKS_A_BODY = 100
_LIVE_PACKS = 100
_LIVE_PAUSE_S = 0.05
_DONE_S_MAX = 600.0


def measure(*, quick: bool) -> list[Report]:
    """Latency of live bodies alone, beside an import, and beside its undoing."""
    bodies, undone, alone_s = (5, 2, 3.0) if quick else (50, 10, 20.0)
    with served_engine() as engine:
        token = engine.tenant_token(TENANT)
        with _live(engine, token) as latencies_ms:
            time.sleep(alone_s)
        first_ms = to_ms(datetime.now(UTC)) - 400 * 86_400_000
        with _live(engine, token) as during_import_ms:
            import_s = _import(engine, token, bodies, first_ms)[1]
        second_ms = first_ms - 100 * 86_400_000
        undone_id, _ = _import(engine, token, undone, second_ms)
        with _live(engine, token) as during_undo_ms:
            undo_s = _undo(engine, token, undone_id, undone * _BODY_ROWS)
    runs = {
        "live alone": latencies_ms,
        f"while {bodies * _BODY_ROWS:,} rows are imported": during_import_ms,
        f"while {undone * _BODY_ROWS:,} imported rows are undone": during_undo_ms,
    }
    lines = tuple(
        Line(f"{name}, {label}", percentile(found, share), min(found), max(found))
        for name, found in runs.items()
        for label, share in (("p50", 0.5), ("p99", 0.99))
    )
    return [
        Report(
            f"Latency of live bodies, {_LIVE_PACKS} readings of {_LIVE_PACKS} packs every {_LIVE_PAUSE_S * 1000:g} ms",
            "ms",
            lines,
            (
                f"imported: {bodies * _BODY_ROWS / import_s:,.0f} rows/s, {import_s:.1f} s in all",
                f"undone: {undone * _BODY_ROWS:,} rows in {undo_s:.1f} s",
            ),
        )
    ]


@contextmanager
def _live(engine: ServedEngine, token: str) -> Iterator[list[float]]:
    """A client in a process of its own that sends live readings meanwhile; its latencies stand there afterwards."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    stop = context.Event()
    process = context.Process(target=_send_live, args=(theirs, stop, engine.port, token), daemon=True)
    process.start()
    ours.recv()
    latencies_ms: list[float] = []
    try:
        yield latencies_ms
    finally:
        stop.set()
        found = ours.recv()
        process.join()
    if isinstance(found, Exception):
        raise found
    latencies_ms += found


def _send_live(pipe: Connection, stop: Event, port: int, token: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    pipe.send("ready")
    latencies_ms = []
    try:
        while not stop.wait(_LIVE_PAUSE_S):
            ts = time.time_ns() // 1_000_000
            packs = (f"live-{pack_name(n)}" for n in range(_LIVE_PACKS))
            body = orjson.dumps(
                [{"pack": pack, "ts": ts, "voltage_v": 350.5, "current_a": -3} for pack in packs]
            )
            began_s = time.perf_counter()
            connection.request("POST", "/v1/telemetry", body, headers)
            answer = connection.getresponse()
            text = answer.read()
            latencies_ms.append((time.perf_counter() - began_s) * 1000)
            assert answer.status == http.client.OK, f"refused with {answer.status}: {text[:300]!r}"
        pipe.send(latencies_ms)
    except (OSError, http.client.HTTPException, AssertionError) as error:
        pipe.send(error)


def _import(engine: ServedEngine, token: str, bodies: int, first_ms: int) -> tuple[str, float]:
    """The id of an import of so many bodies, minute by minute, each of packs of its own; and its seconds."""
    import_id = _call(engine, token, "POST", "/v1/imports", {"source": "a benchmark"})["id"]
    per_pack = _BODY_ROWS // _PACKS_A_BODY
    made = []
    for number in range(bodies):
        readings = make_readings(_PACKS_A_BODY, per_pack, first_ms, _MINUTE_MS, seed=number)
        readings.position[:] += (number % 10) * _PACKS_A_BODY
        readings.ts_ms[:] += (number // 10) * per_pack * _MINUTE_MS
        made.append(arrow_body(readings))
    began_s = time.monotonic()
    with senders(1, engine.port, token, ARROW, f"/v1/telemetry?import={import_id}") as clients:
        assert accepted(clients.post(made)) == bodies * _BODY_ROWS
    return import_id, time.monotonic() - began_s


def _undo(engine: ServedEngine, token: str, import_id: str, rows: int) -> float:
    began_s = time.monotonic()
    correction = _call(engine, token, "DELETE", f"/v1/imports/{import_id}")
    _until(
        lambda: _call(engine, token, "GET", f"/v1/corrections/{correction['id']}")["status"] == "done",
        "the import to be undone",
    )
    took_s = time.monotonic() - began_s
    assert _call(engine, token, "GET", f"/v1/corrections/{correction['id']}")["readings"] == rows
    return took_s


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + _DONE_S_MAX
    while not condition():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"waited {_DONE_S_MAX:g} s for {what}")
        time.sleep(0.05)


def _call(engine: ServedEngine, token: str, method: str, path: str, body: Any = None) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", engine.port, timeout=120)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    connection.request(method, path, None if body is None else orjson.dumps(body), headers)
    response = connection.getresponse()
    text = response.read()
    connection.close()
    if response.status >= http.client.BAD_REQUEST:
        raise RuntimeError(f"{method} {path}: {response.status} {text[:500]!r}")
    answer: dict[str, Any] = orjson.loads(text)
    return answer
