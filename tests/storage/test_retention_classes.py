"""Classes of retention: readings of each go by their own days, and nothing else tells them apart."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import psycopg
import pytest

from api.cli.context import SERVICE_LOGIN
from api.database_access import DatabaseAccess, prepare_database
from api.settings import Settings
from domain.clock import to_ms
from domain.errors import ConflictError, DatabaseRefusedError, InvalidRequestError, NotFoundError
from domain.readings import NewReadings, to_thousandths
from domain.receipts import QuarantineReason
from domain.tenancy import PARTITION_ZERO, TenantId
from storage import bookkeeping, erasing, migrate, retention, retention_classes, tenants
from storage.checks import check_database
from storage.database import APP_ROLE, ERASER_ROLE, INGEST_ROLE, RETENTION_ROLE, conninfo_as
from storage.embedded_postgres import Connections
from storage.group import _copy_readings
from storage.partition import PartitionStore
from storage.registry import hand_over
from streams.settling import Delivered, settle_in_log
from tests.databases import empty_database
from tests.storage.test_readings_retention import of_pack, results, superseded
from tests.stored import Stored, full_row, some_rows
from tests.timescale import ONLY_PARTITIONS

DAY = datetime(2026, 3, 3, tzinfo=UTC)
NOW = datetime(2026, 6, 1, tzinfo=UTC)
LATER = NOW + timedelta(hours=2)
KEPT = DAY + timedelta(days=3)
HANDED = DAY + timedelta(hours=20, minutes=7)
"""In a day that is dropped of the giver, in the middle of a quarter-hour."""


def role(access: DatabaseAccess, name: str = RETENTION_ROLE) -> str:
    return access.as_role(name, Settings())


def number(access: DatabaseAccess, name: str) -> int:
    return next(one.class_no for one in retention.classes(role(access)) if one.name == name)


def two_classes(access: DatabaseAccess) -> tuple[Stored, dict[str, int], dict[str, int]]:
    """Five days of a tenant of each class, all counted, and a pack that went from the one of few days to the other."""
    stored = Stored(access)
    stored.run("UPDATE installation SET first_day = %s", DAY)
    stored.prepare(DAY + timedelta(days=10))
    retention_classes.create(access.admin, "few", 30)
    found = {"long": stored.tenant("long"), "few": stored.tenant("few", number(access, "few"))}
    packs = {name: stored.pack(tenant, f"P-{name}") for name, tenant in found.items()}
    for name, tenant in found.items():
        stored.insert(tenant, some_rows(1, packs[name], DAY + timedelta(hours=1), 300, 1400))
    # Up to a minute before the hand-over, and from five minutes after it: in one quarter-hour.
    packs["handed"] = stored.pack(found["few"], "handed")
    before = some_rows(2, packs["handed"], HANDED - timedelta(hours=2), 200, 60)
    last = full_row(np.random.default_rng(1), packs["handed"], to_ms(HANDED) - 60_000)
    stored.insert(found["few"], [*(row for row in before if row[1] < last[1]), last])
    hand_over(role(access, INGEST_ROLE), "handed", "few", "long", "taken", HANDED)
    stored.insert(found["long"], some_rows(3, packs["handed"], HANDED + timedelta(minutes=5), 100, 60))
    stored.count_all()
    return stored, found, packs


def parts(stored: Stored, class_no: int) -> list[datetime]:
    """Days of a class with readings of which there is a partition or chunk."""
    end = DAY + timedelta(days=5)
    found = stored.rows("SELECT starts FROM readings_parts(%s) WHERE of_class = %s ORDER BY 1", end, class_no)
    return [starts for (starts,) in found]


def drop_all(access: DatabaseAccess, class_no: int) -> list[datetime]:
    days = []
    while (dropped := retention.drop_oldest(role(access), LATER, classes=[0, class_no])).part is not None:
        assert dropped.part.class_no == class_no
        days.append(dropped.part.starts)
    assert dropped.waits_for is None
    return days


def readings(stored: Stored, tenant: int) -> list[tuple[Any, ...]]:
    return stored.rows("SELECT * FROM readings WHERE tenant_id = %s ORDER BY pack_id, ts, batch_no", tenant)


def test_days_of_one_class_go_and_nothing_that_is_kept_differs_from_a_store_that_keeps_all(
    own_database: DatabaseAccess, database: DatabaseAccess
) -> None:
    """Late readings of both beside the line, and of a pack that changed hands in a dropped day, are counted alike."""
    kept, dropping = two_classes(database), two_classes(own_database)
    stored, found, packs = dropping
    few = number(own_database, "few")
    before, all_days = readings(stored, found["long"]), parts(stored, 0)
    assert all_days == parts(stored, few) == [DAY + timedelta(days=n) for n in range(5)]
    assert retention.archive(role(own_database), KEPT, NOW, class_no=few) == KEPT
    assert drop_all(own_database, few) == [DAY, DAY + timedelta(days=1)]
    assert parts(stored, few) == all_days[2:]
    assert parts(stored, 0) == all_days
    assert readings(stored, found["long"]) == before
    assert min(row[2] for row in readings(stored, found["few"])) >= KEPT - timedelta(days=1)
    assert results(stored) == results(kept[0])
    for one, tenant, _ in (kept, dropping):
        random = np.random.default_rng(7)
        for batch_no, minutes in enumerate((0, 0.01, 1, 4, 14, 16, 31), start=10):
            late_ms = to_ms(KEPT) + int(minutes * 60_000)
            one.insert(tenant["few"], [full_row(random, packs["few"], late_ms)], batch_no=batch_no)
            # As late as it likes, since its class keeps all: also right behind the hand-over.
            for moment in (DAY + timedelta(hours=3), HANDED):
                late_ms = to_ms(moment) + int(minutes * 60_000)
                pack = packs["long"] if moment is not HANDED else packs["handed"]
                one.insert(tenant["long"], [full_row(random, pack, late_ms)], batch_no=batch_no)
        one.delete(tenant["long"], packs["handed"], to_ms(HANDED) + 60_000, batch_no=20)
        one.count_all()
    assert results(stored) == results(kept[0])
    assert len(results(stored)[0]) > 300


def test_each_class_waits_for_its_own_alone(own_database: DatabaseAccess) -> None:
    stored, found, packs = two_classes(own_database)
    few = number(own_database, "few")
    retention.archive(role(own_database), KEPT, NOW, class_no=few)
    retention.archive(role(own_database), KEPT, NOW)
    stored.run("INSERT INTO window_notes VALUES (%s, %s, %s, 9)", found["long"], packs["long"], DAY)
    days = []
    while (dropped := retention.drop_oldest(role(own_database), LATER, classes=[0, few])).part is not None:
        days.append((dropped.part.class_no, dropped.part.starts))
    assert days == [(few, DAY), (few, DAY + timedelta(days=1))]
    assert dropped.waits_for == "quarter-hours are to be counted again"
    stored.run("DELETE FROM window_notes")
    assert retention.drop_oldest(role(own_database), LATER, classes=[few]).part is None
    assert drop_all(own_database, 0) == [DAY, DAY + timedelta(days=1)]
    log = stored.rows("SELECT after FROM platform_log WHERE action = 'readings.dropped' ORDER BY id")
    assert [entry["retention_class"] for (entry,) in log] == ["few", "few", "standard", "standard"]


def test_line_of_a_class_is_that_of_its_tenants_alone(own_database: DatabaseAccess) -> None:
    stored, found, packs = two_classes(own_database)
    few = number(own_database, "few")
    versions = dict(stored.rows("SELECT name, registry_version FROM tenants"))
    retention.archive(role(own_database), KEPT, NOW, class_no=few)
    after = dict(stored.rows("SELECT name, registry_version FROM tenants"))
    assert {name for name in versions if versions[name] != after[name]} == {"few"}
    assert stored.rows("SELECT tenant_id FROM audit_log WHERE action = 'readings.archived'") == [
        (found["few"],)
    ]
    store = PartitionStore(role(own_database, INGEST_ROLE), PARTITION_ZERO)
    store.take_over()
    told = {}
    with store.group() as group:
        for name, tenant in found.items():
            # Judged by a former version of its tenant's registry: it is judged again.
            batch = replace(
                of_pack(tenant, packs[name], to_ms(KEPT) - 1), registry_version=versions[name] ^ 1
            )
            now = group.tenant_versions([TenantId(tenant)])
            (rest,), _ = settle_in_log([Delivered(batch, 0)], group, now, all_ids=True)
            told[name] = [(item.reason, item.limit) for item in rest.batch.quarantined]
    store.close()
    assert told == {"long": [], "few": [(QuarantineReason.ARCHIVED, to_ms(KEPT))]}


def test_what_goes_with_dropped_readings_goes_by_class(own_database: DatabaseAccess) -> None:
    stored, found, packs = two_classes(own_database)
    few = number(own_database, "few")
    for name, tenant in found.items():
        superseded(stored, tenant, packs[name], [DAY + timedelta(hours=1), KEPT])
    retention.archive(role(own_database), KEPT, NOW, class_no=few)
    drop_all(own_database, few)
    assert bookkeeping.drop_superseded(role(own_database), 10) == 1
    left = stored.rows("SELECT tenant_id, ts FROM superseded_readings ORDER BY 1, 2")
    assert left == [(found["long"], DAY + timedelta(hours=1)), (found["long"], KEPT), (found["few"], KEPT)]
    with (
        psycopg.connect(role(own_database)) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("DELETE FROM superseded_readings WHERE ts < %s", (KEPT,))


def written(store: PartitionStore, stored: Stored, rows: dict[int, int]) -> None:
    """Write a reading of each tenant and pack in one group, as its owner does."""
    moment_ms = to_ms(DAY + timedelta(days=30, hours=1))
    tenant, pack = (np.array(list(part), np.int32) for part in (rows.keys(), rows.values()))
    ts_ms = np.full(len(rows), moment_ms, np.int64)
    store.prepare_days(tenant, ts_ms)
    values = to_thousandths(np.full((7, len(rows)), 50, np.float32))
    zeros = np.zeros(len(rows), np.int32)
    with store.group():
        _copy_readings(
            store._required(), NewReadings(tenant, pack, ts_ms, zeros, zeros, values), np.ones(1, np.int64)
        )


def test_group_stores_readings_of_each_tenant_in_the_table_of_its_class(own_database: DatabaseAccess) -> None:
    stored = Stored(own_database)
    stored.prepare(DAY)
    store = PartitionStore(role(own_database, INGEST_ROLE), PARTITION_ZERO)
    store.take_over()
    # The owner is there before the class, and knows the tenant as one of the standard class.
    changing = stored.tenant("changing")
    pack = stored.pack(changing, "P")
    store.prepare_days(np.full(1, changing, np.int32), np.zeros(1, np.int64))
    retention_classes.create(own_database.admin, "few", 30)
    few = number(own_database, "few")
    assert tenants.set_retention_class(role(own_database, INGEST_ROLE), "changing", "few")
    assert not tenants.set_retention_class(role(own_database, INGEST_ROLE), "changing", "few")
    with pytest.raises(Exception, match="loaded again"), store.group():
        pass
    store.come_back()
    long = stored.tenant("long")
    rows = {changing: pack, long: stored.pack(long, "P")}
    written(store, stored, rows)
    store.close()
    where = {0: long, few: changing}
    for class_no, tenant in where.items():
        assert stored.rows(f"SELECT tenant_id, pack_id FROM readings_class_{class_no}") == [
            (tenant, rows[tenant])
        ]
    assert len(stored.rows("SELECT FROM readings")) == 2
    with pytest.raises(ConflictError, match="make another tenant of the class standard") as refused:
        tenants.set_retention_class(role(own_database, INGEST_ROLE), "changing", "standard")
    assert refused.value.field == "retention_class"
    assert stored.value("SELECT retention_class FROM tenants WHERE name = 'changing'") == few


def test_app_sees_its_own_readings_in_every_class(own_database: DatabaseAccess) -> None:
    stored, found, _ = two_classes(own_database)
    check_database(own_database.admin, own_database.service)
    asked = "SELECT DISTINCT tenant_id FROM readings"
    assert {one for (one,) in stored.rows(asked)} == set(found.values())
    few = number(own_database, "few")
    with psycopg.connect(role(own_database, APP_ROLE), autocommit=True) as connection:
        assert connection.execute(asked).fetchall() == []
        for tenant in found.values():
            connection.execute("SELECT set_config('bpm.tenant_id', %s, false)", (str(tenant),))
            assert connection.execute(asked).fetchall() == [(tenant,)]
            told: list[str] = []
            connection.add_notice_handler(lambda notice, told=told: told.append(notice.message_primary or ""))
            connection.execute(
                "CREATE OR REPLACE FUNCTION pg_temp.tell(tenant integer) RETURNS boolean LANGUAGE plpgsql"
                " COST 0.0001 AS $$ BEGIN RAISE NOTICE '%', tenant; RETURN true; END $$"
            )
            connection.execute("SELECT count(*) FROM readings WHERE pg_temp.tell(tenant_id)")
            assert set(told) == {str(tenant)}
        for statement in (
            f"DELETE FROM readings_class_{few}",
            f"TRUNCATE bpm.readings_class_{few}",
            "SELECT name FROM bpm.retention_classes",
            "SELECT make_class_table(9::smallint)",
        ):
            with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedTable)):
                connection.execute(statement.encode())


@ONLY_PARTITIONS
def test_start_is_refused_while_the_table_of_a_class_does_not_hold_to_the_tenant(
    own_database: DatabaseAccess,
) -> None:
    retention_classes.create(own_database.admin, "few", 30)
    table = f"bpm.readings_class_{number(own_database, 'few')}"
    with psycopg.connect(own_database.admin, autocommit=True) as connection:
        connection.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY".encode())
    with pytest.raises(DatabaseRefusedError, match="row-level security is not forced: readings_class_"):
        check_database(own_database.admin, own_database.service)


def test_erased_tenant_leaves_nothing_in_its_class_and_the_class_can_go(own_database: DatabaseAccess) -> None:
    stored, found, _ = two_classes(own_database)
    few, others = number(own_database, "few"), readings(stored, found["long"])
    count = len(readings(stored, found["few"]))
    with pytest.raises(ConflictError, match="there are tenants of the retention class few"):
        retention_classes.delete(own_database.admin, "few")
    tenants.delete(role(own_database, INGEST_ROLE), "few", 0)
    told: set[str] = set()
    eraser = conninfo_as(own_database.admin, ERASER_ROLE, application="test")
    done = erasing.erase(eraser, "few", "who", lambda one: told.add(one.table), rows_max=70)
    assert done.erased_rows["readings"] == count > 300
    assert "readings" in told
    assert not any(name.startswith("readings_class") for name in done.erased_rows)
    assert readings(stored, found["long"]) == others
    retention_classes.delete(own_database.admin, "few")
    assert stored.value("SELECT to_regclass(%s) IS NULL", f"bpm.readings_class_{few}")
    assert readings(stored, found["long"]) == others
    retention_classes.create(own_database.admin, "few", None)
    assert number(own_database, "few") > few, "a number is never given again"
    check_database(own_database.admin, own_database.service)


def test_what_is_wrong_with_a_class_is_named(own_database: DatabaseAccess) -> None:
    admin, ingest = own_database.admin, role(own_database, INGEST_ROLE)
    retention_classes.create(admin, "law", 3650)
    refused: list[tuple[type[Exception], str, Any]] = [
        (ConflictError, "name", lambda: retention_classes.create(admin, "law", 40)),
        (ConflictError, "name", lambda: retention_classes.create(admin, "standard", 40)),
        (ConflictError, "name", lambda: retention_classes.set_days(admin, "standard", 40)),
        (ConflictError, "name", lambda: retention_classes.delete(admin, "standard")),
        (NotFoundError, "name", lambda: retention_classes.delete(admin, "no")),
        (NotFoundError, "name", lambda: retention_classes.set_days(admin, "no", 40)),
        (
            InvalidRequestError,
            "retention_class",
            lambda: tenants.create(ingest, "t", register_unknown_packs=False, retention_class="no"),
        ),
        (NotFoundError, "tenant", lambda: tenants.set_retention_class(ingest, "nobody", "law")),
        (InvalidRequestError, "retention_class", lambda: tenants.set_retention_class(ingest, "t", "no")),
    ]
    tenants.create(ingest, "t", register_unknown_packs=False, retention_class="law")
    for error, field, work in refused:
        with pytest.raises(error) as raised:
            work()
        assert getattr(raised.value, "field", None) == field
    with pytest.raises(psycopg.errors.CheckViolation):
        retention_classes.create(admin, "Law", 40)
    retention_classes.set_days(admin, "law", None)
    (standard, law) = retention_classes.every(ingest)
    assert (standard["name"], standard["tenants"]) == ("standard", 0)
    assert (law["name"], law["keep_days"], law["tenants"]) == ("law", None, 1)
    assert tenants.get(ingest, "t")["retention_class"] == "law"
    with pytest.raises(DatabaseRefusedError, match="bpm_owner"):
        retention_classes.create(str(own_database.service), "other", 40)


@pytest.fixture
def at_39(postgres: Connections, monkeypatch: pytest.MonkeyPatch) -> DatabaseAccess:
    """A database of the version before there were classes."""
    access = empty_database(postgres)
    before = [one for one in migrate.migrations() if one.number < 41]
    with monkeypatch.context() as patched:
        patched.setattr(migrate, "migrations", lambda: before)
        migrate.migrate(access.admin, SERVICE_LOGIN)
    return access


def test_readings_and_line_from_before_there_were_classes_stay_where_they_are(at_39: DatabaseAccess) -> None:
    stored = Stored(at_39)
    stored.run("INSERT INTO partitions (partition_no) VALUES (0)")
    tenant = stored.value("INSERT INTO tenants (name) VALUES ('alpha') RETURNING tenant_id")
    end = DAY + timedelta(days=2)
    for name, starts in (("readings_2026_03_03", DAY), ("readings_2026_03_04", DAY + timedelta(days=1))):
        stored.run("SELECT make_readings_partition(%s, %s, %s)", name, starts, starts + timedelta(days=1))
    stored.run(
        "INSERT INTO readings (tenant_id, pack_id, ts, batch_no, voltage_v)"
        " SELECT %s, 1, at, 1, 300 FROM generate_series(%s::timestamptz, %s, '1 minute') AS at",
        tenant, DAY, end - timedelta(minutes=1),
    )  # fmt: skip
    stored.run(
        "UPDATE installation SET archived_before = %s, archived_at = %s, first_day = %s", DAY, NOW, DAY
    )
    files = "SELECT relname, pg_relation_filenode(oid) FROM pg_class WHERE relkind = 'r' AND relname ~ %s ORDER BY 1"
    which = r"^readings_2026|^_hyper_"
    before, rows = stored.rows(files, which), stored.rows("SELECT * FROM readings ORDER BY ts")
    assert len(rows) == 2880
    prepare_database(at_39, SERVICE_LOGIN)
    assert stored.rows(files, which) == before, "nothing is written anew"
    assert stored.rows("SELECT * FROM readings ORDER BY ts") == rows
    assert stored.rows("SELECT name, archived_before, archived_at FROM retention_classes") == [
        ("standard", DAY, NOW)
    ]
    assert parts(stored, 0)[:2] == [DAY, DAY + timedelta(days=1)]
    with psycopg.connect(role(at_39, APP_ROLE), autocommit=True) as connection:
        connection.execute("SELECT set_config('bpm.tenant_id', %s, false)", (str(tenant),))
        assert connection.execute("SELECT count(*) FROM readings").fetchone() == (2880,)
    # The next partition, another class, and the columns are as in a new database.
    stored.insert(tenant, [full_row(np.random.default_rng(1), 1, to_ms(end))])
    retention_classes.create(at_39.admin, "few", 30)
    other = stored.tenant("beta", number(at_39, "few"))
    stored.insert(other, [full_row(np.random.default_rng(1), 2, to_ms(end))])
    assert len(stored.rows("SELECT FROM readings")) == 2882
