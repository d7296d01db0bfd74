"""A database that was restored from a backup goes on with messages that are younger than the backup.

It gives numbers of packs and tenants again that those messages use: none of their readings may become another's.
"""

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from api.database_access import DatabaseAccess
from tests.kafka.dead_letters import reasons_by_source
from tests.kafka.workers import Worker, adopt_new_topic, working
from tests.running import RunningApi, running_api, until

pytestmark = pytest.mark.needs_kafka

PARTITIONS = 2
OLD, LATE, OTHER = "old", "late", "other"
PACKS = 4
VOLTS_OF_THE_LOST = 311.0
VOLTS_OF_OTHERS = 322.0


def copied(access: DatabaseAccess, postgres_admin: str) -> DatabaseAccess:
    """A copy of a database as it is now: what a backup of this moment restores."""
    name = f"restored_{uuid.uuid4().hex[:12]}"
    source = str(conninfo_to_dict(access.admin)["dbname"])
    copying = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(source))

    def is_copied() -> bool:
        # Processes of TimescaleDB hold a database that is to be copied, and come back.
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (source,)
        )
        try:
            connection.execute(copying)
        except psycopg.errors.ObjectInUse:
            return False
        return True

    with psycopg.connect(postgres_admin, autocommit=True) as connection:
        until(is_copied)
    assert access.service is not None
    return DatabaseAccess(
        make_conninfo(access.admin, dbname=name), make_conninfo(access.service, dbname=name)
    )


def readings(prefix: str, voltage_v: float) -> list[dict[str, Any]]:
    moment = datetime.now(UTC) - timedelta(seconds=60)
    return [
        {"pack": f"{prefix}-{number}", "ts": moment.isoformat(), "voltage_v": voltage_v}
        for number in range(PACKS)
    ]


def send(api: RunningApi, tenant: str, body: list[dict[str, Any]]) -> str:
    """Send readings; the id of the receipt, which nobody has worked on yet."""
    with api.client(tenant) as client:
        answer = client.post("/v1/telemetry", json=body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])


def done(client: httpx.Client, receipt_id: str) -> dict[str, Any]:
    def found() -> Any:
        receipt = client.get(f"/v1/receipts/{receipt_id}").json()
        return receipt if receipt.get("status") == "committed" else None

    receipt: dict[str, Any] = until(found)
    return receipt


def numbers(access: DatabaseAccess, prefix: str) -> set[int]:
    with psycopg.connect(access.admin) as connection:
        rows = connection.execute(
            "SELECT pack_id FROM bpm.packs WHERE external_id LIKE %s", (f"{prefix}-%",)
        ).fetchall()
    return {number for (number,) in rows}


def test_no_reading_becomes_that_of_a_pack_or_tenant_with_the_same_number(
    own_database: DatabaseAccess, kafka: str, tmp_path: Path
) -> None:
    topic = adopt_new_topic(own_database, kafka, PARTITIONS)
    with running_api(own_database, tmp_path / "first", kafka=kafka, receipt_wait_s=0.2) as api:
        api.tenant(OLD)
    postgres_admin = make_conninfo(own_database.admin, dbname="postgres")
    backup = copied(own_database, postgres_admin)

    with running_api(own_database, tmp_path / "before", kafka=kafka, receipt_wait_s=0.2) as api:
        send(api, OLD, readings("lost", VOLTS_OF_THE_LOST))
        send(api, api.tenant(LATE), readings("late", VOLTS_OF_THE_LOST))

    with running_api(backup, tmp_path / "after", kafka=kafka, receipt_wait_s=0.2) as api:
        receipt = send(api, OLD, readings("found", VOLTS_OF_OTHERS))
        receipt_of_other = send(api, api.tenant(OTHER), readings("other", VOLTS_OF_OTHERS))
        assert numbers(backup, "found") == numbers(own_database, "lost"), "numbers are given again"
        assert numbers(backup, "other") == numbers(own_database, "late")
        with (
            working(Worker(backup, kafka, tmp_path / "worker")) as worker,
            api.client(OLD) as client,
            api.client(OTHER) as of_other,
        ):
            assert done(client, receipt)["accepted"] == PACKS
            assert done(of_other, receipt_of_other)["accepted"] == PACKS
            until(lambda: len(client.get("/v1/quarantine").json()["items"]) == PACKS)
            items = client.get("/v1/quarantine").json()["items"]
            assert {(item["reason"], item["pack"]) for item in items} == {
                ("unknown_pack", f"lost-{number}") for number in range(PACKS)
            }
            assert of_other.get("/v1/quarantine").json()["items"] == []
            refused = [
                reason for source, reason in reasons_by_source(kafka).items() if source.startswith(topic)
            ]
            assert set(refused) == {"message_misdirected"}
            assert "Traceback" not in worker.log.read_text(), "what is refused as it should be is a line"
            with psycopg.connect(backup.admin) as connection:
                stored = connection.execute("SELECT DISTINCT voltage_v FROM bpm.readings").fetchall()
            assert stored == [(VOLTS_OF_OTHERS,)]

            again = client.post("/v1/quarantine/redrive", json={"filter": {}}).json()
            assert (again["accepted"], again["quarantined"]) == (PACKS, 0), again
            latest = client.post(
                "/v1/packs/latest", json={"packs": [f"lost-{number}" for number in range(PACKS)]}
            ).json()
            assert latest["columns"]["voltage_v"] == [VOLTS_OF_THE_LOST] * PACKS
