"""What an owner does between groups, and what it leaves while readings wait."""

import logging
import uuid
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psycopg
import pytest

from api.database_access import DatabaseAccess
from api.limits import owner_limits
from api.settings import Environment, Settings
from domain.clock import AnchoredClock
from domain.log_ends import Ends
from storage.database import INGEST_ROLE
from storage.layout import adopt, layout
from storage.partition import PartitionStore
from streams.partition_worker import PartitionWorker
from streams.pipeline import PipelineLimits
from tests.running import running_api, until

AFTER_S = 30
WAITING = 3


def test_e19_nobody_is_called_silent_while_readings_wait(
    own_database: DatabaseAccess, tmp_path: Path
) -> None:
    with running_api(own_database, tmp_path) as api, api.client(api.tenant("silent")) as client:
        rule = {
            "name": "silent",
            "severity": "warning",
            "scope": {"kind": "tenant"},
            "condition": {"kind": "missing_data", "after_s": AFTER_S},
        }
        client.post("/v1/rules", json=rule).raise_for_status()
        reading = {"pack": "P-1", "ts": datetime.now(UTC).isoformat(), "voltage_v": 350}
        client.post("/v1/telemetry", json=reading).raise_for_status()
    adopt(own_database.admin, f"readings/{uuid.uuid4()}", {0: 0})
    settings = Settings(env=Environment.DEVELOPMENT)
    passed_ms = [0]
    began_ms = int(datetime.now(UTC).timestamp() * 1000)
    worker = PartitionWorker(
        0,
        PartitionStore(own_database.as_role(INGEST_ROLE, settings), 0, log=layout(own_database.admin).topic),
        owner_limits(settings),
        PipelineLimits(settings.late_after_s, settings.receipt_items_max),
        AnchoredClock(lambda: began_ms + passed_ms[0], lambda: passed_ms[0]),
        lambda: passed_ms[0] / 1000,
        lambda _: None,
    )

    def alerts() -> int:
        with psycopg.connect(own_database.admin) as connection:
            row = connection.execute("SELECT count(*) FROM bpm.alerts").fetchone()
        assert row is not None
        return int(row[0])

    try:
        worker.take_over()
        worker.compare(Ends(0, WAITING))
        passed_ms[0] += 2 * AFTER_S * 1000
        worker.turn()
        assert alerts() == 0, "its reading may be among those that wait"
        worker.log_end = 0
        passed_ms[0] += 2 * AFTER_S * 1000
        worker.turn()
        assert alerts() == 1
    finally:
        worker.store.close()
        worker.close()


def test_an_engine_whose_readings_come_from_a_topic_now_says_what_to_do(
    own_database: DatabaseAccess, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reading = {"pack": "P-1", "ts": datetime.now(UTC).isoformat(), "voltage_v": 350}
    with running_api(own_database, tmp_path) as api, api.client(api.tenant("moved")) as client:
        client.post("/v1/telemetry", json=reading).raise_for_status()
        adopt(own_database.admin, f"readings/{uuid.uuid4()}", {0: 0})
        refused = until(lambda: _refusal_that_says(client, reading, "start the engine with --kafka"))
        assert refused.headers["Retry-After"]
    assert [record.message for record in caplog.records if record.exc_info] == []
    of_engine = [one for one in caplog.records if one.name.startswith("streams.")]
    (told,) = [one.message for one in of_engine if one.levelno >= logging.WARNING]
    assert told.count("come from the topic readings/") == 1
    assert "start the engine with --kafka" in told


def _refusal_that_says(client: httpx.Client, reading: dict[str, object], words: str) -> httpx.Response | None:
    answer = client.post("/v1/telemetry", json=reading)
    return answer if answer.status_code == 503 and words in answer.json()["detail"] else None
