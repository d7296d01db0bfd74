"""Twenty years of history: how many partitions it makes, and what they cost a query that is planned."""

import http.client
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import orjson
import psycopg
from psycopg.rows import tuple_row

from benchmarks.fleet import FleetReadings, arrow_body, make_readings, pack_name
from benchmarks.ingest_field import ARROW, TENANT
from benchmarks.measuring import Contender, alternate
from benchmarks.report import Goal, Report, compare
from benchmarks.senders import accepted, senders
from benchmarks.served import ServedEngine, served_engine
from domain.clock import to_ms
from storage.database import APP_ROLE, conninfo_as, query
from storage.trends import points_query

YEARS = 20
DAY_MS = 86_400_000
PARTITIONS_MAX = 500
PLANNING_MS_MAX = 2.0
_BODY_READINGS = 100_000
_PACKS = 10
_HOURLY = 24


def measure(*, quick: bool) -> list[Report]:
    """Import the history, then ask PostgreSQL how long it plans and executes a pack's trend."""
    rounds = 10 if quick else 101
    with served_engine() as engine:
        token = engine.tenant_token(TENANT)
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        _import_history(engine, token, to_ms(today))
        with psycopg.connect(engine.admin_conninfo(), autocommit=True) as connection:
            connection.execute("VACUUM (ANALYZE) readings")
            (partitions,) = connection.execute(
                "SELECT count(*) FROM pg_inherits WHERE inhparent = 'readings_class_0'::regclass"
            ).fetchone() or (0,)
        spans = {
            "a day of last month": (today - timedelta(days=20), today - timedelta(days=19)),
            "a month, two years ago": (today - timedelta(days=730), today - timedelta(days=700)),
            "the last year": (today - timedelta(days=365), today),
            "all twenty years": (today - timedelta(days=YEARS * 366), today),
        }
        with _as_app(engine) as connection:
            samples = alternate(
                [Contender(name, _planning_ms(connection, *span)) for name, span in spans.items()], rounds
            )
        day = next(iter(samples.values()))
        return [
            Report(
                "Planning a pack's trend over twenty years of history",
                "planning ms",
                compare(samples, ()),
                (
                    f"{YEARS} years of hourly readings of {_PACKS} packs were imported over HTTP",
                    "with parameters and under row-level security, as the engine asks; EXPLAIN (ANALYZE, SUMMARY)",
                ),
                (
                    Goal("partitions", PARTITIONS_MAX, partitions, at_least=False),
                    Goal(f"planning {day.name}, ms", PLANNING_MS_MAX, day.median, at_least=False),
                ),
            )
        ]


def _import_history(engine: ServedEngine, token: str, until_ms: int) -> None:
    hours = YEARS * 365 * _HOURLY
    readings = make_readings(_PACKS, hours, until_ms - hours * (DAY_MS // _HOURLY), DAY_MS // _HOURLY, seed=8)
    bodies = [
        arrow_body(
            FleetReadings(
                readings.position[part],
                readings.ts_ms[part],
                np.ascontiguousarray(readings.thousandths[:, part]),
            )
        )
        for part in np.array_split(np.arange(len(readings)), -(-len(readings) // _BODY_READINGS))
    ]
    import_id = _open_import(engine, token)
    with senders(1, engine.port, token, ARROW, f"/v1/telemetry?import={import_id}") as clients:
        assert accepted(clients.post(bodies)) == len(readings)


def _open_import(engine: ServedEngine, token: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", engine.port, timeout=60)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    connection.request("POST", "/v1/imports", b'{"source": "benchmark"}', headers)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    assert response.status == http.client.CREATED, body[:500]
    return str(orjson.loads(body)["id"])


def _as_app(engine: ServedEngine) -> psycopg.Connection[Any]:
    conninfo = conninfo_as(engine.connections().admin, APP_ROLE, application="benchmark")
    return psycopg.connect(conninfo, autocommit=True, row_factory=tuple_row)


def _planning_ms(
    connection: psycopg.Connection[Any], starts: datetime, ends: datetime
) -> Callable[[], float]:
    """Planning time of the trend's query, in a transaction of the tenant as the API begins it."""

    def planned() -> float:
        with connection.transaction():
            tenant_id, pack_id = _tenant_and_pack(connection)
            parameters = {
                "tenant_id": tenant_id,
                "pack_id": pack_id,
                "from": starts,
                "to": ends,
                "limit": 5_000_001,
            }
            statement = b"EXPLAIN (ANALYZE, SUMMARY, FORMAT JSON) " + points_query(["voltage_v"])
            (explained,) = connection.execute(statement, parameters, prepare=False).fetchone() or ([],)
        return float(explained[0]["Planning Time"])

    return planned


def _tenant_and_pack(connection: psycopg.Connection[Any]) -> tuple[int, int]:
    # The only tenant has number 1, since identities begin there.
    connection.execute(query("records.set_tenant"), {"tenant": "1"})
    found = connection.execute(
        "SELECT tenant_id, pack_id FROM packs WHERE external_id = %s", [pack_name(0)]
    ).fetchone()
    if found is None:
        raise RuntimeError("the pack isn't there")
    return int(found[0]), int(found[1])
