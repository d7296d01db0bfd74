"""How long readings are refused after a SIGKILL, with a large fleet."""

import http.client
import re
import time
from datetime import UTC, datetime
from statistics import median
from typing import Any

import orjson
import psycopg

from benchmarks.fleet import FleetReadings, arrow_body, make_readings
from benchmarks.ingest_field import ARROW, STEP_MS, TENANT
from benchmarks.measuring import Samples, seconds_of
from benchmarks.report import Goal, Line, Report
from benchmarks.senders import accepted, senders
from benchmarks.served import ServedEngine, served_engine
from domain.clock import MILLISECONDS_PER_SECOND, to_ms
from storage.database import query

_BODY_PACKS = 20_000
_SAVED_S_MAX = 60.0
_ACCEPTS = re.compile(r"^(\S+ \S+) UTC .*database system is ready to accept connections$", re.MULTILINE)


def measure(*, quick: bool) -> list[Report]:
    """Kill, start, wait until it accepts readings; several times."""
    packs, rounds = (20_000, 2) if quick else (100_000, 7)
    with served_engine() as engine:
        token = engine.tenant_token(TENANT)
        first_ms = to_ms(datetime.now(UTC)) - 60 * MILLISECONDS_PER_SECOND
        _send(engine, token, packs, first_ms)
        _wait_until_saved(engine, packs)
        _send(engine, token, packs, first_ms + STEP_MS)
        total, after_database = Samples("start to ready"), Samples("PostgreSQL accepts to ready")
        for _ in range(rounds):
            engine.kill()
            began_s = time.monotonic()
            engine.start()
            ready_at_s, ready_s = time.time(), time.monotonic()
            total.figures.append(ready_s - began_s)
            after_database.figures.append(ready_at_s - _database_accepts_at_s(engine))
            _require_all_there(engine, token, packs, first_ms + STEP_MS)
        floor_s = _read_state_s(engine)
        lines = (
            *(Line(one.name, one.median, one.low, one.high) for one in (after_database, total)),
            Line("read of pack_state alone", floor_s, floor_s, floor_s),
        )
        return [
            Report(
                f"Restart after SIGKILL, {packs:,} packs",
                "s",
                lines,
                (
                    "the orphaned PostgreSQL is stopped and a new one started within `start to ready`",
                    "before the first kill each pack had a reading in the saved state and a newer one after it",
                    "after each start every reading was there once, and the latest values were the newer ones",
                ),
                (
                    Goal(
                        "PostgreSQL accepts to ready, s", 2.0, median(after_database.figures), at_least=False
                    ),
                ),
            )
        ]


def _send(engine: ServedEngine, token: str, packs: int, at_ms: int) -> None:
    """One reading of each pack."""
    readings = make_readings(packs, 1, at_ms, STEP_MS, seed=at_ms % 1000)
    bodies = []
    for start in range(0, packs, _BODY_PACKS):
        some = slice(start, start + _BODY_PACKS)
        part = FleetReadings(readings.position[some], readings.ts_ms[some], readings.thousandths[:, some])
        bodies.append(arrow_body(part))
    with senders(1, engine.port, token, ARROW) as clients:
        assert accepted(clients.post(bodies)) == packs


def _wait_until_saved(engine: ServedEngine, packs: int) -> None:
    deadline_s = time.monotonic() + _SAVED_S_MAX
    with psycopg.connect(engine.admin_conninfo(), autocommit=True) as connection:
        while connection.execute(
            "SELECT (SELECT count(*) FROM pack_state), "
            "(SELECT bool_and(applied_batch_no = last_batch_no) FROM partitions)"
        ).fetchone() != (packs, True):
            if time.monotonic() > deadline_s:
                raise TimeoutError("the state of all packs was not saved")
            time.sleep(0.05)


def _database_accepts_at_s(engine: ServedEngine) -> float:
    """Wall time of the server's own line, which it writes when it begins to accept connections."""
    text = (engine.data_dir / "postgres.log").read_text(encoding="utf-8")
    return datetime.fromisoformat(_ACCEPTS.findall(text)[-1]).replace(tzinfo=UTC).timestamp()


def _require_all_there(engine: ServedEngine, token: str, packs: int, newest_ms: int) -> None:
    with psycopg.connect(engine.admin_conninfo(), autocommit=True) as connection:
        found = connection.execute("SELECT count(*), count(DISTINCT (pack_id, ts)) FROM readings").fetchone()
    assert found == (2 * packs, 2 * packs), found
    (pack,) = _get(engine, token, "/v1/packs?limit=1")["items"]
    latest = _get(engine, token, f"/v1/packs/{pack['id']}/latest")["latest"]
    moments = {to_ms(datetime.fromisoformat(value["ts"])) for value in latest.values()}
    assert moments == {newest_ms}, latest


def _get(engine: ServedEngine, token: str, path: str) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", engine.port, timeout=60)
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    assert response.status == http.client.OK, body[:500]
    decoded: dict[str, Any] = orjson.loads(body)
    return decoded


def _read_state_s(engine: ServedEngine) -> float:
    with psycopg.connect(engine.writer_conninfo(), autocommit=True) as connection:
        return seconds_of(
            lambda: connection.execute(query("partition.load_state"), binary=True).fetchall(), at_least_s=1.0
        )
