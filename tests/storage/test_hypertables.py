"""What only hypertables have: compressed chunks, and views in place of row-level security."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import psycopg
import pyarrow.parquet as pq
import pytest

from api.cli.context import SERVICE_LOGIN
from api.database_access import DatabaseAccess, prepare_database
from api.settings import Settings
from domain.errors import DatabaseRefusedError
from domain.readings import NewReadings, to_thousandths
from storage import erasing, tenants
from storage.checks import check_database
from storage.database import APP_ROLE, ERASER_ROLE, INGEST_ROLE, conninfo_as, query
from storage.exporting import export_tenant
from storage.group import _copy_readings
from storage.hypertables import DIRECT_COMPRESS_ROWS_MIN, Settled, settle
from storage.partition import PartitionStore
from tests import timescale
from tests.acceptance.test_rules_restart import RULES, STEP_S, batches_of, forget_what_was_saved, found
from tests.running import RunningApi, running_api, until
from tests.stored import Stored, some_rows

pytestmark = pytest.mark.parametrize("postgres", timescale.BOTH[1:], indirect=True, scope="session")

DAY = datetime(2026, 3, 3, tzinfo=UTC)
FUTURE = datetime(2100, 1, 1, tzinfo=UTC)


@contextmanager
def connected(access: DatabaseAccess, role: str, tenant: int | None = None) -> Iterator[psycopg.Connection]:
    with psycopg.connect(access.as_role(role, Settings()), autocommit=True) as connection:
        if tenant is not None:
            connection.execute("SELECT set_config('bpm.tenant_id', %s, false)", (str(tenant),))
        yield connection


@pytest.fixture
def stored(own_database: DatabaseAccess) -> Stored:
    found = Stored(own_database)
    found.prepare(DAY + timedelta(hours=10))
    return found


def into_columns(stored: Stored) -> int:
    """Put every chunk of readings in columns; gives how many."""
    done = 0
    with connected(stored.access, INGEST_ROLE) as connection:
        while connection.execute(
            query("hypertables.store_in_columns"), {"name": "readings_class_0", "ended_before": FUTURE}
        ).fetchone() != (None,):
            done += 1
            assert done < 100
    return done


def two_tenants(stored: Stored) -> tuple[int, int]:
    """Each with a pack's readings of a day, in columns, and quarter-hours."""
    found = []
    for name in ("alpha", "beta"):
        tenant = stored.tenant(name)
        pack = stored.pack(tenant, "P")
        stored.insert(tenant, some_rows(tenant, pack, DAY + timedelta(hours=9), 300, 30))
        found.append(tenant)
    stored.count_all()
    assert into_columns(stored) == 1
    return found[0], found[1]


def test_new_database_has_hypertables_and_says_so(own_database: DatabaseAccess) -> None:
    with connected(own_database, INGEST_ROLE) as connection:
        assert connection.execute("SELECT hypertables FROM installation").fetchone() == (True,)
        rows = connection.execute(
            "SELECT hypertable_name FROM timescaledb_information.hypertables WHERE hypertable_schema = 'bpm'"
        ).fetchall()
    assert {name for (name,) in rows} == {"readings_class_0", "quarters"}


def test_migrating_again_changes_nothing(own_database: DatabaseAccess) -> None:
    assert prepare_database(own_database, SERVICE_LOGIN) == []


def test_app_reaches_neither_hypertable_nor_chunk(stored: Stored) -> None:
    tenant, _ = two_tenants(stored)
    chunks = stored.rows(
        "SELECT format('%%I.%%I', nspname, relname) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace"
        " WHERE nspname = '_timescaledb_internal' AND relkind = 'r' AND relname ~ 'hyper'"
    )
    assert len(chunks) >= 3
    with connected(stored.access, APP_ROLE, tenant) as connection:
        for (name,) in [("bpm.readings_class_0",), ("bpm.quarters",), *chunks]:
            # Of chunks in columns TimescaleDB itself refuses a direct look, before rights are looked at.
            with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.DataCorrupted)):
                connection.execute(f"SELECT * FROM {name}".encode())
            granted = connection.execute("SELECT has_any_column_privilege(%s, 'SELECT, INSERT')", (name,))
            assert granted.fetchone() == (False,)
        for statement in (
            "INSERT INTO readings (tenant_id, pack_id, ts, batch_no) VALUES (1, 1, now(), 1)",
            "DELETE FROM readings",
            "UPDATE readings SET tenant_id = 1",
            "DELETE FROM quarters",
            "SELECT store_in_columns('bpm.readings_class_0', now())",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())


def test_views_show_the_tenant_set_and_nothing_without(stored: Stored) -> None:
    alpha, beta = two_tenants(stored)
    for table in ("readings", "quarters"):
        seen = f"SELECT DISTINCT tenant_id FROM {table}".encode()
        assert set(stored.rows(seen.decode())) == {(alpha,), (beta,)}
        for tenant, wanted in ((None, []), (alpha, [(alpha,)]), (beta, [(beta,)])):
            with connected(stored.access, APP_ROLE, tenant) as connection:
                assert connection.execute(seen).fetchall() == wanted


def test_function_that_tells_what_it_is_given_is_not_given_rows_of_others(stored: Stored) -> None:
    alpha, beta = two_tenants(stored)
    with connected(stored.access, APP_ROLE, alpha) as connection:
        told: list[str] = []
        connection.add_notice_handler(lambda notice: told.append(notice.message_primary or ""))
        connection.execute(
            "CREATE FUNCTION pg_temp.tell(tenant integer) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS"
            " $$ BEGIN RAISE NOTICE '%', tenant; RETURN true; END $$"
        )
        connection.execute("SELECT count(*) FROM readings WHERE pg_temp.tell(tenant_id)")
    assert set(told) == {str(alpha)}
    assert str(beta) not in told


BROKEN = {
    "a hypertable or a chunk is granted: readings_class_0": (
        "GRANT SELECT ON readings_class_0 TO bpm_app",
        "REVOKE SELECT ON readings_class_0 FROM bpm_app",
    ),
    "a view of a hypertable doesn't hold to the tenant: readings": (
        "ALTER VIEW bpm_tenant.readings RESET (security_barrier)",
        "ALTER VIEW bpm_tenant.readings SET (security_barrier)",
    ),
    "a view of a hypertable doesn't hold to the tenant: others": (
        "CREATE VIEW bpm_tenant.others WITH (security_barrier) AS SELECT * FROM quarters",
        "DROP VIEW bpm_tenant.others",
    ),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_start_is_refused_while_a_rule_is_broken(database: DatabaseAccess, rule: str) -> None:
    breaks, mends = BROKEN[rule]
    check_database(database.admin, database.service)
    with psycopg.connect(database.admin, autocommit=True, options="-c search_path=bpm") as connection:
        connection.execute(breaks.encode())
        try:
            with pytest.raises(DatabaseRefusedError, match=rule):
                check_database(database.admin, database.service)
        finally:
            connection.execute(mends.encode())
    check_database(database.admin, database.service)


def test_late_and_deleted_readings_in_compressed_chunks_are_counted_again(stored: Stored) -> None:
    tenant = stored.tenant("alpha")
    pack = stored.pack(tenant, "P")
    rows = some_rows(1, pack, DAY + timedelta(hours=8), 200, 30)
    stored.insert(tenant, rows[::2])
    stored.count_all()
    stored.assert_quarters_equal_a_recount()
    assert into_columns(stored) == 1
    stored.insert(tenant, rows[1::2], batch_no=2)
    stored.delete(tenant, pack, rows[10][1])
    stored.count_all()
    stored.assert_quarters_equal_a_recount()
    assert stored.value("SELECT count(*) FROM readings") == len(rows) - 1


def test_snapshot_from_before_still_has_every_row_whatever_is_put_in_columns(stored: Stored) -> None:
    tenant = stored.tenant("alpha")
    pack = stored.pack(tenant, "P")
    rows = some_rows(1, pack, DAY + timedelta(hours=8), 200, 30)
    for part, chunks in ((rows[::2], 1), (rows[1::2], 0)):
        # The first lie in rows altogether; the second come late, into a chunk that has columns, and are left as they are.
        stored.insert(tenant, part)
        with connected(stored.access, INGEST_ROLE) as reader, reader.transaction():
            reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            reader.execute("SELECT count(*) FROM installation")
            assert into_columns(stored) == chunks
            (seen,) = reader.execute("SELECT count(*) FROM readings").fetchone() or (0,)
        assert seen == stored.value("SELECT count(*) FROM readings")


def test_days_are_put_in_columns_once_they_are_counted_and_old_enough(stored: Stored) -> None:
    tenant = stored.tenant("alpha")
    pack = stored.pack(tenant, "P")
    stored.insert(tenant, some_rows(1, pack, DAY + timedelta(hours=9), 100, 30))
    conninfo = stored.access.as_role(INGEST_ROLE, Settings())
    assert settle(conninfo, FUTURE) == Settled(None), "it isn't counted"
    stored.prepare(DAY + timedelta(days=1, hours=1))
    stored.count_all()
    assert settle(conninfo, DAY + timedelta(hours=23)) == Settled(None), "it isn't old enough"
    done = settle(conninfo, DAY + timedelta(days=1))
    assert done is not None
    assert done.chunk is not None
    assert settle(conninfo, FUTURE) == Settled(None), "there is nothing left"


def test_writers_wait_no_longer_than_a_moment_behind_a_day_that_can_not_be_put_in_columns_yet(
    stored: Stored,
) -> None:
    tenant = stored.tenant("alpha")
    pack = stored.pack(tenant, "P")
    stored.insert(tenant, some_rows(1, pack, DAY + timedelta(hours=9), 100, 30))
    stored.prepare(DAY + timedelta(days=1, hours=1))
    stored.count_all()
    conninfo = stored.access.as_role(INGEST_ROLE, Settings())
    insert = (
        "INSERT INTO readings_class_0 (tenant_id, pack_id, ts, batch_no, voltage_v) VALUES (%s, %s, %s, 2, 1)"
    )
    given = (tenant, pack, DAY + timedelta(hours=20))
    waiting = (
        "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database"
        " WHERE datname = current_database() AND NOT granted"
    )
    with (
        connected(stored.access, INGEST_ROLE) as long,
        connected(stored.access, INGEST_ROLE) as other,
        long.transaction(),
        ThreadPoolExecutor(1) as threads,
    ):
        # As a tenant that moves in does, for as long as it takes.
        long.execute(insert.encode(), given)
        settling = threads.submit(settle, conninfo, FUTURE)
        until(lambda: stored.value(waiting) or settling.done())
        other.execute("SET lock_timeout = '3s'")
        other.execute(insert.encode(), given)
        with pytest.raises(psycopg.errors.LockNotAvailable):
            settling.result()
    done = settle(conninfo, FUTURE)
    assert done is not None
    assert done.chunk is not None


def test_distinct_under_row_level_security_is_answered(stored: Stored) -> None:
    tenant = stored.tenant("alpha")
    stored.run(
        "INSERT INTO window_notes (tenant_id, pack_id, starts, batch_no)"
        " SELECT %s, n / 1000, timestamptz '2026-03-01' + n * interval '15 min', 1 FROM generate_series(0, 19999) AS n",
        tenant,
    )
    stored.run("ANALYZE window_notes")
    distinct = "SELECT DISTINCT pack_id FROM window_notes WHERE tenant_id = %s"
    with connected(stored.access, APP_ROLE, tenant) as connection:
        connection.execute("SET enable_seqscan = off")
        connection.execute("SET enable_bitmapscan = off")
        assert len(connection.execute(distinct.encode(), (tenant,)).fetchall()) == 20


def test_large_copy_is_compressed_on_arrival_and_a_small_one_is_not(stored: Stored) -> None:
    tenant = stored.tenant("alpha")
    store = PartitionStore(stored.access.as_role(INGEST_ROLE, Settings()), 0)
    store.take_over()
    queries = store._required()
    if not queries.compresses:
        pytest.skip("this version of TimescaleDB has no Direct Compress")
    for day, count in enumerate((DIRECT_COMPRESS_ROWS_MIN - 1, DIRECT_COMPRESS_ROWS_MIN)):
        with queries.connection.transaction():
            _copy_readings(queries, readings(tenant, DAY + timedelta(days=day), count), np.array([1]))
    store.close()
    in_columns = stored.rows(
        "SELECT is_compressed FROM timescaledb_information.chunks WHERE hypertable_name = 'readings_class_0' ORDER BY range_start"
    )
    assert in_columns == [(False,), (True,)]
    assert stored.value("SELECT count(*) FROM readings") == 2 * DIRECT_COMPRESS_ROWS_MIN - 1
    assert stored.value("SELECT count(DISTINCT (pack_id, ts)) FROM readings WHERE voltage_v = 350") > 10_000


def readings(tenant: int, day: datetime, count: int) -> NewReadings:
    pack = np.arange(count, dtype=np.int32) // 10
    ts_ms = int(day.timestamp() * 1000) + np.arange(count, dtype=np.int64) % 10 * 1000
    values = np.full((7, count), np.nan)
    values[3] = 350
    zeros = np.zeros(count, np.int32)
    return NewReadings(
        tenant=np.full(count, tenant, np.int32),
        pack=pack,
        ts_ms=ts_ms,
        batch=zeros,
        index=np.arange(count, dtype=np.int32),
        thousandths=to_thousandths(values.astype(np.float32)),
    )


def test_engine_tells_duplicates_and_corrects_in_compressed_chunks(api: RunningApi) -> None:
    stored = Stored(api.access)
    moment = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=10)
    sent = [
        {"pack": f"P-{n % 7}", "ts": (moment + timedelta(seconds=n)).isoformat(), "voltage_v": 300 + n / 10}
        for n in range(70)
    ]
    span = {"from": moment.isoformat(), "to": (moment + timedelta(minutes=5)).isoformat()}
    with api.client(api.tenant("compressed")) as client:
        assert client.post("/v1/telemetry", json=sent).json()["accepted"] == 70
        assert into_columns(stored) >= 1
        again = client.post("/v1/telemetry", json=[*sent, sent[0] | {"voltage_v": 1.0}]).json()
        assert (again["accepted"], again["duplicate"], again["conflicting"]) == (0, 70, 1)
        late = sent[3] | {"ts": (moment - timedelta(hours=2)).isoformat()}
        assert client.post("/v1/telemetry", json=late).json()["accepted"] == 1
        right = {"kind": "correct", "pack": "P-3", "ts": sent[3]["ts"], "values": {"voltage_v": 7.5}}
        assert client.post("/v1/corrections", json=right | {"reason": "r"}).json()["readings"] == 1
        gone = {"kind": "delete_range", "pack": "P-2", "reason": "r"} | span
        assert client.post("/v1/corrections", json=gone).is_success
        asked = {"pack": "P-3", "measure": "voltage_v"} | span
        found = client.get("/v1/trends", params=asked).json()["columns"]["voltage_v"]
        assert found == [7.5] + [row["voltage_v"] for row in sent[10:] if row["pack"] == "P-3"]


def test_tenant_in_columns_is_exported_and_erased_whole_and_the_other_one_stays(
    stored: Stored, tmp_path: Path
) -> None:
    alpha, beta = two_tenants(stored)
    late = some_rows(3, 0, DAY + timedelta(hours=8), 20, 30)
    stored.insert(alpha, late, batch_no=2)
    stored.count_all()
    ingest = stored.access.as_role(INGEST_ROLE, Settings())

    def held(tenant: int) -> list[list[tuple[object, ...]]]:
        return [
            stored.rows(f"SELECT * FROM {table} WHERE tenant_id = %s ORDER BY pack_id, {when}", tenant)
            for table, when in (("readings", "ts"), ("quarters", "starts"))
        ]

    (own, _), others = held(alpha), held(beta)
    exported = export_tenant(ingest, "alpha", tmp_path / "alpha", "1", lambda *_: None)
    (file,) = exported.tables["readings"]
    assert sorted(pq.read_table(tmp_path / "alpha" / file.path)["ts"].to_pylist()) == [row[2] for row in own]
    # As a tenant of more than 100,000 readings would be refused without the right setting.
    stored.run(
        f"ALTER DATABASE {psycopg.conninfo.conninfo_to_dict(stored.access.admin)['dbname']}"
        " SET timescaledb.max_tuples_decompressed_per_dml_transaction = 10"
    )
    tenants.delete(ingest, "alpha", 0)
    eraser = conninfo_as(stored.access.admin, ERASER_ROLE, application="test")
    done = erasing.erase(eraser, "alpha", "who", lambda _: None, rows_max=100)
    assert done.erased_rows["readings"] == len(own) == 320
    assert held(alpha) == [[], []]
    assert held(beta) == others


def test_e12_rules_go_on_after_a_restart_from_readings_in_columns(
    own_database: DatabaseAccess, tmp_path: Path
) -> None:
    with running_api(own_database, tmp_path) as api, api.client(api.tenant("restart")) as client:
        for pack in ("whole", "parted"):
            client.post("/v1/packs", json={"pack": pack}).raise_for_status()
        for number, condition in enumerate(RULES):
            rule = {"name": str(number), "scope": {"kind": "tenant"}, "severity": "info"}
            client.post("/v1/rules", json=rule | {"condition": condition}).raise_for_status()
        begins = datetime.now(UTC) + timedelta(milliseconds=1)
        until(lambda: datetime.now(UTC) >= begins + timedelta(seconds=8 * STEP_S))
        for batch in [*batches_of("whole", begins), *batches_of("parted", begins)[:3]]:
            client.post("/v1/telemetry", json=batch).raise_for_status()
    forget_what_was_saved(own_database)
    assert into_columns(Stored(own_database)) >= 1
    with running_api(own_database, tmp_path) as api, api.client("restart") as client:
        again = [row for batch in batches_of("whole", begins) for row in batch]
        assert client.post("/v1/telemetry", json=again).json()["duplicate"] == len(again)
        for batch in batches_of("parted", begins)[3:]:
            client.post("/v1/telemetry", json=batch).raise_for_status()
        assert found(client, "parted") == found(client, "whole") != []
        packs = client.get("/v1/packs").json()["items"]
        latest = [client.get(f"/v1/packs/{pack['id']}/latest").json()["latest"] for pack in packs]
        assert latest[0] == latest[1]


def test_days_readings_of_a_pack_are_found_without_reading_the_others(stored: Stored) -> None:
    tenant, _ = two_tenants(stored)
    parameters = {"tenant_id": tenant, "pack_id": 0, "from": DAY, "to": DAY + timedelta(days=1)}
    with connected(stored.access, APP_ROLE, tenant) as connection:
        connection.execute("SET enable_seqscan = off")
        plan = "\n".join(
            line
            for (line,) in connection.execute(b"EXPLAIN " + query("trends.extent"), parameters).fetchall()
        )
    assert "ColumnarScan" in plan or "DecompressChunk" in plan
    assert "_ts_meta" in plan
