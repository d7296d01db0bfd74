"""A jump of the clock stops live readings until somebody confirms it (rule E6)."""

import time
from datetime import UTC, datetime

import psycopg

from storage.database import INGEST_ROLE
from storage.registry import confirm_clock
from tests.running import RunningApi

CONFIRMED_S_MAX = 15.0


def closed_before(api: RunningApi) -> object:
    with psycopg.connect(api.access.admin) as admin:
        return admin.execute("SELECT closed_before FROM bpm.partitions").fetchone()


def test_e6_live_readings_wait_for_the_confirmation_and_imports_do_not(api: RunningApi) -> None:
    with api.client(api.tenant("clock")) as client:
        reading = {"pack": "P-1", "ts": datetime.now(UTC).isoformat(), "voltage_v": 350}
        api.engine.clock.require_confirmation(3_600_000)
        refused = client.post("/v1/telemetry", json=reading)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert "3600000 ms" in refused.json()["detail"]
        ready = client.get("/readyz")
        assert (ready.status_code, "clock" in ready.json()["reason"]) == (503, True)
        with psycopg.connect(api.access.admin, autocommit=True) as admin:
            admin.execute("UPDATE bpm.partitions SET closed_before = closed_before - interval '1 day'")
            admin.execute("UPDATE bpm.window_marks SET counted_before = counted_before - interval '1 day'")
        closed = closed_before(api)
        imported = client.post("/v1/imports", json={"source": "archive"}).json()["id"]
        old = reading | {"ts": "2020-01-01T00:00:00Z"}
        assert client.post("/v1/telemetry", params={"import": imported}, json=old).json()["accepted"] == 1

        assert closed_before(api) == closed, "no quarter-hour is closed by a clock in doubt"
        confirm_clock(api.access.as_role(INGEST_ROLE, api.engine.settings))
        deadline_s = time.monotonic() + CONFIRMED_S_MAX
        while client.get("/readyz").status_code != 200:
            assert time.monotonic() < deadline_s, "the confirmation was not taken up"
            time.sleep(0.05)
        assert client.post("/v1/telemetry", json=reading).json()["accepted"] == 1


def test_e6_confirmed_clock_stays_confirmed_after_a_reconnect(api: RunningApi) -> None:
    with (
        api.client(api.tenant("reconnect")) as client,
        psycopg.connect(api.access.admin, autocommit=True) as admin,
    ):
        reading = {"pack": "P-1", "ts": datetime.now(UTC).isoformat(), "voltage_v": 350}
        client.post("/v1/telemetry", json=reading)
        admin.execute("UPDATE bpm.batches SET arrived_at = now() + interval '1 hour'")

        def reconnect() -> None:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'bpm bpm_ingest' AND datname = current_database()"
            )

        def until(status: int) -> None:
            deadline_s = time.monotonic() + CONFIRMED_S_MAX
            while client.get("/readyz").status_code != status:
                assert time.monotonic() < deadline_s, f"readyz never answered {status}"
                time.sleep(0.05)

        reconnect()
        until(503)
        confirm_clock(api.access.as_role(INGEST_ROLE, api.engine.settings))
        until(200)
        reconnect()
        time.sleep(3)  # longer than the writer needs to notice, and to take over again
        assert api.engine.clock.jumped_by_ms is None
        assert client.post("/v1/telemetry", json=reading).status_code == 200
