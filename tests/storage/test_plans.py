"""Hot queries keep their plan, and twenty years of history stay quick to plan."""

import statistics
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import psycopg
import pytest

from api.bootstrap import DatabaseAccess
from api.settings import Settings
from storage.database import APP_ROLE, INGEST_ROLE, adapt_columns, int4s, query, times
from storage.partition import PartitionStore
from storage.trends import points_query

DAY_MS = 86_400_000
NOW = datetime.now(UTC).replace(microsecond=0)
PLANNING_MS_MAX = 2.0
PARTITIONS_MAX = 500


@pytest.fixture(scope="module")
def filled(database: DatabaseAccess) -> DatabaseAccess:
    """Twenty years of partitions, and some readings in the newest ones."""
    store = PartitionStore(database.as_role(INGEST_ROLE, Settings()), 0, connect_timeout_s=5)
    store.take_over()
    now_ms = int(NOW.timestamp() * 1000)
    store.prepare_days(np.array([now_ms - day * DAY_MS for day in range(20 * 366)], np.int64))
    store.prepare_days_ahead(now_ms)
    store.close()
    with psycopg.connect(database.admin) as connection:
        connection.execute("INSERT INTO bpm.tenants (name) VALUES ('plans')")
        connection.execute(
            "INSERT INTO bpm.readings (tenant_id, pack_id, ts, batch_no, voltage_v)"
            " SELECT 1, mod(n, 100), %s - n * interval '10 seconds', n, 350 FROM generate_series(0, 50000) AS n",
            (NOW,),
        )
    with psycopg.connect(database.admin, autocommit=True) as connection:
        connection.execute("ANALYZE bpm.readings")
    return database


def explained(connection: psycopg.Connection[Any], text: bytes, parameters: dict[str, Any]) -> dict[str, Any]:
    row = connection.execute(b"EXPLAIN (FORMAT JSON, SUMMARY) " + text, parameters).fetchone()
    assert row is not None
    plan: dict[str, Any] = row[0][0]
    return plan


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", []) for node in nodes(child))]


def test_e21_twenty_years_are_few_partitions(filled: DatabaseAccess) -> None:
    with psycopg.connect(filled.admin) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_inherits WHERE inhparent = 'bpm.readings'::regclass"
        ).fetchone()
    assert row is not None
    assert 50 < row[0] < PARTITIONS_MAX


def test_trend_of_a_day_reads_one_index_of_each_day_and_plans_quickly(filled: DatabaseAccess) -> None:
    parameters = {
        "tenant_id": 1,
        "pack_id": 5,
        "from": NOW - timedelta(days=1),
        "to": NOW,
        "limit": 100_000,
    }
    with psycopg.connect(filled.as_role(APP_ROLE, Settings())) as connection:
        connection.execute(query("records.set_tenant"), {"tenant": "1"})
        plans = [explained(connection, points_query(["voltage_v"]), parameters) for _ in range(15)]
    scans = [node for node in nodes(plans[0]["Plan"]) if "Scan" in node["Node Type"]]
    relations = {node["Relation Name"] for node in scans if "Relation Name" in node}
    assert relations
    assert len(relations) <= 2
    assert all("Seq" not in node["Node Type"] for node in scans)
    assert statistics.median(plan["Planning Time"] for plan in plans) < PLANNING_MS_MAX


def test_look_up_of_identities_probes_the_index_for_each(filled: DatabaseAccess) -> None:
    moments = np.array([int(NOW.timestamp() * 1000)] * 100, np.int64)
    parameters = {
        "pack": int4s(np.arange(100)),
        "ts": times(moments),
        "from": NOW,
        "to": NOW,
    }
    with psycopg.connect(filled.as_role(INGEST_ROLE, Settings())) as connection:
        adapt_columns(connection)
        plan = explained(connection, query("readings.find"), parameters)["Plan"]
    kinds = {node["Node Type"] for node in nodes(plan)}
    assert "Nested Loop" in kinds
    assert kinds & {"Index Scan", "Bitmap Index Scan"}
    assert "Seq Scan" not in kinds


def test_restart_finds_later_batches_by_their_block_ranges(filled: DatabaseAccess) -> None:
    with psycopg.connect(filled.as_role(INGEST_ROLE, Settings())) as connection:
        connection.execute("SET LOCAL enable_seqscan = off")
        plan = explained(connection, query("partition.readings_after"), {"batch_no": 49_000})["Plan"]
    indexes = {node.get("Index Name", "") for node in nodes(plan)}
    assert any("batch_no" in name for name in indexes)
    assert "Seq Scan" not in {node["Node Type"] for node in nodes(plan) if node.get("Plan Rows", 0) > 1000}
