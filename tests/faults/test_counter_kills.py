"""A counter that is killed before or after its commit leaves quarter-hours that equal a recount (rule E14)."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from storage.database import INGEST_ROLE, conninfo_as
from storage.registry import create_tenant
from tests.faults.campaign import kept_when_it_fails
from tests.faults.engine_process import EngineProcess, until
from tests.stored import recounted_quarters, stored_quarters

TENANT = "counted"


def send(engine: EngineProcess, seed: int) -> None:
    """An import of some days ago: every quarter-hour of it is noted."""
    token, chance = engine.token(TENANT), random.Random(seed)
    status, made = engine.request("POST", "/v1/imports", {"source": "test"}, token)
    assert status == 201
    starts = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=3)
    readings: list[dict[str, Any]] = [
        {
            "pack": f"P-{chance.randrange(3)}",
            "ts": (starts + timedelta(seconds=40 * place)).isoformat(),
            "voltage_v": round(chance.uniform(300, 400), 3),
            "current_a": round(chance.uniform(-90, 90), 3),
        }
        for place in range(600)
    ]
    status, receipt = engine.request("POST", f"/v1/telemetry?import={made['id']}", readings, token)
    assert (status, receipt["accepted"]) == (200, 600), receipt


def connect(engine: EngineProcess) -> psycopg.Connection[Any]:
    return psycopg.connect(
        engine.connections().admin, autocommit=True, options="-c search_path=bpm -c timezone=UTC"
    )


def nothing_is_noted(engine: EngineProcess) -> bool:
    with connect(engine) as connection:
        (left,) = connection.execute("SELECT count(*) FROM window_notes").fetchone() or (1,)
    return bool(left == 0)


@pytest.mark.parametrize("stage", ["in_count_before_commit", "in_count_after_commit"])
def test_e14_kill_inside_the_counter_loses_and_doubles_nothing(stage: str) -> None:
    seed = random.randrange(1_000_000)
    with kept_when_it_fails(seed) as folder:
        engine = EngineProcess(Path(folder))
        try:
            # The counter ends the process at its first work: the marks of the zone's days, or the noted quarters.
            engine.start()
            engine.wait_ready()
            create_tenant(
                conninfo_as(engine.connections().admin, INGEST_ROLE, application="test"),
                TENANT,
                register_unknown_packs=True,
            )
            engine.kill()
            engine.start(failpoint=f"{stage}:{random.Random(seed).randint(1, 3)}")
            engine.wait_ready()
            send(engine, seed)
            engine.wait_killed()
            engine.start()
            engine.wait_ready()
            until(lambda: nothing_is_noted(engine), "the counter to count what is noted")
            with connect(engine) as connection:
                assert stored_quarters(connection) == recounted_quarters(connection)
                assert stored_quarters(connection)
            engine.stop()
        finally:
            engine.clear()
