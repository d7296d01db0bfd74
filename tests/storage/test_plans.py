"""Hot queries keep their plan, and twenty years of history stay quick to plan."""

import statistics
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import psycopg
import pytest

from api.database_access import DatabaseAccess
from api.settings import Settings
from domain.clock import from_ms
from domain.windows import QUARTER_MS
from storage.database import APP_ROLE, INGEST_ROLE, RETENTION_ROLE, adapt_columns, int4s, query, times
from storage.partition import PartitionStore
from storage.trends import points_query
from tests.timescale import ONLY_PARTITIONS

pytestmark = ONLY_PARTITIONS

DAY_MS = 86_400_000
# The day of now has enough readings, whatever the time is.
NOW = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
PLANNING_MS_MAX = 2.0
PARTITIONS_MAX = 500


@pytest.fixture(scope="module")
def filled(database: DatabaseAccess) -> DatabaseAccess:
    """Twenty years of partitions, and some readings in the newest ones."""
    store = PartitionStore(database.as_role(INGEST_ROLE, Settings()), 0)
    store.take_over()
    now_ms = int(NOW.timestamp() * 1000)
    store.prepare_days(
        np.zeros(20 * 366, np.int32), np.array([now_ms - day * DAY_MS for day in range(20 * 366)], np.int64)
    )
    store.prepare_days_ahead(now_ms)
    store.close()
    with psycopg.connect(database.admin) as connection:
        connection.execute("INSERT INTO bpm.tenants (name) VALUES ('plans')")
        connection.execute(
            "INSERT INTO bpm.readings (tenant_id, pack_id, ts, batch_no, voltage_v)"
            " SELECT 1, mod(n, 100), %s - n * interval '10 seconds', n, 350 FROM generate_series(0, 50000) AS n",
            (NOW,),
        )
        for month in range(-2, 2):
            connection.execute(
                "SELECT bpm.make_quarters_partition(%s + %s * interval '1 month')", (NOW, month)
            )
        connection.execute(
            "INSERT INTO bpm.quarters SELECT 1, pack, pack,"
            " date_bin('15 minutes', %s, '2000-01-01') - n * interval '15 minutes', ''"
            " FROM generate_series(0, 99) AS pack, generate_series(1, 500) AS n",
            (NOW,),
        )
        connection.execute(
            "INSERT INTO bpm.window_notes SELECT 1, pack_id, starts, 1 FROM bpm.quarters WHERE mod(pack_id, 2) = 0"
        )
        connection.execute(
            "INSERT INTO bpm.pack_days SELECT 1, pack, pack, 'UTC', %s::date - n,"
            " date_trunc('day', %s) - n * interval '1 day', date_trunc('day', %s) - (n - 1) * interval '1 day', ''"
            " FROM generate_series(0, 99) AS pack, generate_series(1, 400) AS n",
            (NOW, NOW, NOW),
        )
    with psycopg.connect(database.admin, autocommit=True) as connection:
        connection.execute(
            "ANALYZE bpm.readings_class_0, bpm.quarters, bpm.window_notes, bpm.pack_days, bpm.tenures, bpm.sites"
        )
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
            "SELECT count(*) FROM pg_inherits WHERE inhparent = 'bpm.readings_class_0'::regclass"
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


MOMENTS_MS = np.array([int(NOW.timestamp() * 1000) - 10_000 * n for n in range(50, 0, -1)], np.int64)
POINTS_SOUGHT = {
    "tenant_id": 1,
    "pack_id": 5,
    "from": NOW - timedelta(days=1),
    "to": NOW,
    "moments": times(MOMENTS_MS),
    "starts": times(MOMENTS_MS - 900_000),
    "ends": times(MOMENTS_MS),
    "thousandths": int4s(np.arange(50)),
}


@pytest.mark.parametrize("name", ["extent", "first_of_values", "points_at"])
def test_points_of_a_trend_are_found_by_the_index_of_the_pack(filled: DatabaseAccess, name: str) -> None:
    text = points_query(["voltage_v"], f"trends.{name}").replace(b"{measure}", b"voltage_v")
    with psycopg.connect(filled.as_role(APP_ROLE, Settings())) as connection:
        adapt_columns(connection)
        connection.execute(query("records.set_tenant"), {"tenant": "1"})
        plans = [explained(connection, text, POINTS_SOUGHT) for _ in range(15)]
    scans = [node for node in nodes(plans[0]["Plan"]) if "readings" in node.get("Relation Name", "")]
    assert {node["Node Type"] for node in scans} <= {"Index Scan", "Index Only Scan", "Bitmap Heap Scan"}
    assert 1 <= len({node["Relation Name"] for node in scans}) <= 2
    assert statistics.median(plan["Planning Time"] for plan in plans) < PLANNING_MS_MAX


def test_first_and_last_reading_of_all_time_are_asked_of_one_partition_after_the_other(
    filled: DatabaseAccess,
) -> None:
    always = POINTS_SOUGHT | {"from": NOW - timedelta(days=30 * 365), "to": NOW + timedelta(days=365)}
    with psycopg.connect(filled.as_role(APP_ROLE, Settings())) as connection:
        adapt_columns(connection)
        connection.execute(query("records.set_tenant"), {"tenant": "1"})
        plan = explained(connection, query("trends.extent"), always)["Plan"]
    kinds = [node["Node Type"] for node in nodes(plan)]
    assert kinds.count("Limit") == 2
    assert "Append" in kinds
    assert not {"Merge Append", "Seq Scan", "Sort"} & set(kinds)


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


AFTER = {"batch_no": 49_000, "partition_no": 0, "partitions": 1}


def test_restart_finds_later_batches_by_their_block_ranges(filled: DatabaseAccess) -> None:
    with psycopg.connect(filled.as_role(INGEST_ROLE, Settings())) as connection:
        connection.execute("SET LOCAL enable_seqscan = off")
        plan = explained(connection, query("partition.readings_after"), AFTER)["Plan"]
    indexes = {node.get("Index Name", "") for node in nodes(plan)}
    assert any("batch_no" in name for name in indexes)
    assert "Seq Scan" not in {node["Node Type"] for node in nodes(plan) if node.get("Plan Rows", 0) > 1000}


QUARTER = int(NOW.timestamp() * 1000) // QUARTER_MS * QUARTER_MS
"""Where the quarter-hour begins that is now."""

OF_PACK = {"tenant_id": 1, "pack_id": 5}
SPANS = {
    "starts": times(np.array([QUARTER - 90 * QUARTER_MS, QUARTER - 8 * QUARTER_MS])),
    "ends": times(np.array([QUARTER - 9 * QUARTER_MS, QUARTER])),
    "from": from_ms(QUARTER - 90 * QUARTER_MS),
    "to": from_ms(QUARTER),
}
NOTED = {
    "pack": int4s(np.arange(0, 100, 2)),
    "starts": times(np.full(50, QUARTER - 4 * QUARTER_MS)),
}
PROBES = {
    "quarters_of_pack": (APP_ROLE, OF_PACK | SPANS, "quarters"),
    "readings_of_pack": (APP_ROLE, OF_PACK | SPANS | {"limit": 100_000}, "readings"),
    "noted_of_pack": (
        APP_ROLE,
        OF_PACK | {"from": from_ms(QUARTER - 90 * QUARTER_MS), "to": from_ms(QUARTER)},
        "window_notes",
    ),
    "delete_notes": (INGEST_ROLE, NOTED, "window_notes"),
    "drop_days": (INGEST_ROLE, NOTED, "pack_days"),
    "delete_quarters": (
        INGEST_ROLE,
        NOTED
        | {"from": from_ms(QUARTER - 4 * QUARTER_MS), "to": from_ms(QUARTER - 4 * QUARTER_MS)}
        | {"kept_tenant": int4s([1]), "kept_pack": int4s([4]), "kept_starts": times(MOMENTS_MS[:1])},
        "quarters",
    ),
    "quarters_of_tenures": (
        APP_ROLE,
        {
            "tenant_id": 1,
            "place": int4s([0, 1]),
            "pack": int4s([4, 5]),
            "tenure": int4s([4, 5]),
            "limit": 100_000,
        }
        | SPANS,
        "quarters",
    ),
    "readings_of_packs": (
        APP_ROLE,
        {"tenant_id": 1, "pack": int4s([4, 5]), "limit": 100_000} | SPANS,
        "readings",
    ),
}
"""Queries of windows by name: who asks, with what, and the table that must be probed by its index."""


@pytest.mark.parametrize("name", PROBES)
def test_windows_are_read_by_probes_of_an_index(filled: DatabaseAccess, name: str) -> None:
    role, parameters, table = PROBES[name]
    scans = scans_of(filled, role, f"windows.{name}", parameters)
    of_table = [node for node in scans if node.get("Relation Name", "").startswith(table)]
    assert of_table
    # Two days, or two months: the constant bounds leave out all other partitions.
    assert len({node["Relation Name"] for node in of_table}) <= 3
    for node in of_table:
        assert node["Node Type"] in ("Index Scan", "Index Only Scan", "Bitmap Heap Scan"), node
        probe = "".join(part.get("Index Cond", "") for part in (node, *node.get("Plans", [])))
        assert "pack_id" in probe, node


def scans_of(
    access: DatabaseAccess, role: str, name: str, parameters: dict[str, Any], *, seqscan: bool = True
) -> list[dict[str, Any]]:
    with psycopg.connect(access.as_role(role, Settings())) as connection:
        adapt_columns(connection)
        if role == APP_ROLE:
            connection.execute(query("records.set_tenant"), {"tenant": "1"})
        if not seqscan:
            connection.execute("SET LOCAL enable_seqscan = off")
        plan = explained(connection, query(name), parameters)["Plan"]
    return [node for node in nodes(plan) if "Scan" in node["Node Type"]]


@pytest.mark.parametrize(
    ("role", "name", "more"),
    [
        (INGEST_ROLE, "windows.readings_between", {"first_pack": 0, "behind_pack": 200_000}),
        (APP_ROLE, "windows.readings_since", {"tenant_id": 1, "packs": None, "limit": 100_000}),
    ],
)
def test_every_packs_readings_of_a_quarter_are_found_by_their_block_ranges(
    filled: DatabaseAccess, role: str, name: str, more: dict[str, Any]
) -> None:
    span = {"from": from_ms(QUARTER - 2 * QUARTER_MS), "to": from_ms(QUARTER)}
    # A day of a test is so small that reading all of it may be as cheap.
    scans = scans_of(filled, role, name, span | more, seqscan=False)
    relations = {node["Relation Name"] for node in scans if "Relation Name" in node}
    assert relations
    assert len(relations) <= 2
    assert any("ts" in node.get("Index Cond", "") for node in scans)
    assert all("Seq" not in node["Node Type"] for node in scans)


def test_receipts_that_are_dropped_are_found_by_their_keys(filled: DatabaseAccess) -> None:
    with psycopg.connect(filled.as_role(RETENTION_ROLE, Settings())) as connection:
        # As for many receipts without statistics.
        connection.execute("SET LOCAL enable_bitmapscan = off")
        plan = explained(connection, query("retention.drop_receipts"), {"before": NOW, "rows_max": 1000})
    compared = [node.get("Join Filter", "") + node.get("Filter", "") for node in nodes(plan["Plan"])]
    assert [one for one in compared if "part_of = " in one] == []


OF_ONE_CLASS: dict[str, tuple[str, dict[str, Any]]] = {
    "readings.find": (
        INGEST_ROLE,
        {"pack": int4s(np.arange(50)), "ts": times(MOMENTS_MS), "from": NOW - timedelta(hours=1), "to": NOW},
    ),
    "windows.readings_of_spans": (INGEST_ROLE, {"pack": int4s([4, 5])} | SPANS),
    "windows.readings_between": (
        INGEST_ROLE,
        {"from": NOW - timedelta(hours=1), "to": NOW, "first_pack": 0, "behind_pack": 200_000},
    ),
    "windows.readings_of_pack": (APP_ROLE, OF_PACK | SPANS | {"limit": 100_000}),
    "windows.readings_of_packs": (
        APP_ROLE,
        {"tenant_id": 1, "pack": int4s([4, 5]), "limit": 100_000} | SPANS,
    ),
    "partition.readings_after": (INGEST_ROLE, {"batch_no": 0, "partitions": 1, "partition_no": 0}),
    "trends.extent": (APP_ROLE, POINTS_SOUGHT),
}


@pytest.mark.parametrize("name", OF_ONE_CLASS)
def test_view_of_one_class_is_planned_as_its_table(filled: DatabaseAccess, name: str) -> None:
    """Node for node, with the same bounds, partitions and costs: there is nothing that a view adds."""
    role, parameters = OF_ONE_CLASS[name]
    with psycopg.connect(filled.as_role(role, Settings())) as connection:
        adapt_columns(connection)
        connection.execute(query("records.set_tenant"), {"tenant": "1"})
        text = query(name)
        plans = [
            connection.execute(b"EXPLAIN (VERBOSE) " + asked, parameters).fetchall()
            for asked in (text, text.replace(b"FROM readings", b"FROM readings_class_0"))
        ]
    assert text.count(b"FROM readings") >= 1
    assert plans[0] == plans[1]
    assert len(plans[0]) > 3
