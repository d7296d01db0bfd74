"""Corrections whose engine died between their last slice and the saving of its state (rules E9 and E12)."""

import time
from datetime import datetime
from pathlib import Path

import psycopg

from api.database_access import DatabaseAccess
from domain.clock import to_ms
from tests.faults.alarms import RULE
from tests.faults.engine_process import until
from tests.faults.load import ALARM_MEASURE
from tests.running import running_api

AS_IF_KILLED_BEFORE_SAVING = """
    DELETE FROM bpm.pack_state;
    UPDATE bpm.partitions SET applied_batch_no = 0;
    UPDATE bpm.corrections SET status = 'running', finished_at = NULL
"""


def test_e12_deleted_reading_stays_deleted_when_it_was_the_newest_and_nothing_was_saved(
    own_database: DatabaseAccess, tmp_path: Path
) -> None:
    reading = {"pack": "P", "ts": time.time_ns() // 1_000_000, "voltage_v": 350}
    with running_api(own_database, tmp_path) as api, api.client(api.tenant("t")) as client:
        batch = client.post("/v1/telemetry", json=reading).raise_for_status().json()["id"]
        body = {"kind": "delete_batch", "batch": batch, "reason": "a test"}
        assert client.post("/v1/corrections", json=body).json()["readings"] == 1
    with psycopg.connect(own_database.admin) as connection:
        connection.execute(AS_IF_KILLED_BEFORE_SAVING)
    with running_api(own_database, tmp_path) as api, api.client("t") as client:
        receipt = client.post("/v1/telemetry", json=reading).json()
    assert (receipt["accepted"], receipt["quarantined"]) == (0, 1)


def test_e12_rule_clock_goes_by_readings_that_were_deleted_before_anything_was_saved(
    own_database: DatabaseAccess, tmp_path: Path
) -> None:
    with running_api(own_database, tmp_path) as api, api.client(api.tenant("t")) as client:
        rule = client.post("/v1/rules", json=RULE).raise_for_status().json()
        begins_ms = to_ms(datetime.fromisoformat(rule["effective_from"]))
        until(lambda: time.time_ns() // 1_000_000 > begins_ms + 2, "some milliseconds")
        breach, clear = (
            {"pack": "P", "ts": begins_ms + 1, ALARM_MEASURE: 3.1},
            {"pack": "P", "ts": begins_ms + 2, ALARM_MEASURE: 2.9},
        )
        deleted = client.post("/v1/telemetry", json=clear).raise_for_status().json()["id"]
        body = {"kind": "delete_batch", "batch": deleted, "reason": "a test"}
        assert client.post("/v1/corrections", json=body).json()["readings"] == 1
    with psycopg.connect(own_database.admin) as connection:
        connection.execute(AS_IF_KILLED_BEFORE_SAVING)
    with running_api(own_database, tmp_path) as api, api.client("t") as client:
        client.post("/v1/telemetry", json=breach).raise_for_status()
        (alert,) = client.get("/v1/alerts").json()["items"]
    assert alert["late"]
