"""Raw readings of old days are archived, then dropped as a whole, and nothing that is kept changes by that."""

import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import psycopg
import pytest

from api.database_access import DatabaseAccess
from api.settings import Settings
from domain.clock import to_ms
from domain.errors import ArchivedError
from domain.readings import IncomingBatch
from domain.receipts import QuarantineReason
from domain.tenancy import PARTITION_ZERO, TenantId
from storage import bookkeeping, retention
from storage.correcting import latest_of
from storage.database import ERASER_ROLE, INGEST_ROLE, RETENTION_ROLE, adapt_columns, query
from storage.hypertables import settle
from storage.partition import PartitionStore
from storage.partition_queries import PartitionQueries
from storage.registry import hand_over
from streams.settling import Delivered, settle_in_log
from tests.faults.stale_owner import NoRawItems, one_reading
from tests.stored import Stored, full_row, some_rows

DAY = datetime(2026, 3, 3, tzinfo=UTC)
NOW = datetime(2026, 6, 1, tzinfo=UTC)
LATER = NOW + timedelta(hours=2)
KEPT = DAY + timedelta(days=3)
"""Of five days with readings the first two may be dropped, and the third stays, by a day of margin."""


def role(access: DatabaseAccess, name: str = RETENTION_ROLE) -> str:
    return access.as_role(name, Settings())


def filled(access: DatabaseAccess) -> tuple[Stored, int, list[int]]:
    """Five days of three packs in three zones, all counted."""
    stored = Stored(access)
    # Of days before it a native partition holds a whole month.
    stored.run("UPDATE installation SET first_day = %s", DAY)
    stored.prepare(DAY + timedelta(days=10))
    tenant = stored.tenant("alpha")
    sites = [
        stored.site(tenant, name, zone) for name, zone in (("A", "Europe/Zurich"), ("B", "Asia/Kolkata"))
    ]
    packs = [stored.pack(tenant, f"P-{n}", site) for n, site in enumerate([*sites, None])]
    for pack in packs:
        stored.insert(tenant, some_rows(pack, pack, DAY + timedelta(hours=1), 300, 1400))
        # Close to the line, so that late readings behind it need those before it.
        near = KEPT - timedelta(minutes=40)
        stored.insert(tenant, some_rows(pack + 100, pack, near, 25, 80), batch_no=2)
    stored.count_all()
    # With TimescaleDB one of the days that are dropped lies in columns.
    settle(role(access, INGEST_ROLE), DAY + timedelta(days=1))
    return stored, tenant, packs


def parts(stored: Stored) -> list[datetime]:
    """Days that readings have a partition or chunk for, up to the last one with readings."""
    found = stored.rows("SELECT starts FROM readings_parts(%s) ORDER BY 1", DAY + timedelta(days=5))
    return [starts for (starts,) in found]


def drop_all(access: DatabaseAccess) -> list[datetime]:
    days = []
    while (dropped := retention.drop_oldest(role(access), NOW + timedelta(hours=1))).part is not None:
        assert dropped.size_bytes > 0
        days.append(dropped.part.starts)
    assert dropped.waits_for is None
    return days


def results(stored: Stored) -> list[Any]:
    """All that was made of readings."""
    statements = (
        "SELECT tenure_no, starts, record FROM quarters ORDER BY 1, 2",
        "SELECT tenure_no, day, starts, ends, record FROM pack_days ORDER BY 1, 2",
        "SELECT day, kind, packs, record FROM group_days ORDER BY day, kind, packs, record",
        "SELECT count(*) FROM window_notes",
    )
    return [stored.rows(statement) for statement in statements]


def test_nothing_that_is_kept_differs_from_a_store_that_keeps_all(
    own_database: DatabaseAccess, database: DatabaseAccess
) -> None:
    """Late readings, deletions and moves close to the line are counted as where all readings are."""
    kept, dropping = filled(database), filled(own_database)
    assert retention.archive(role(own_database), KEPT + timedelta(hours=7), NOW) == KEPT
    assert drop_all(own_database) == [DAY, DAY + timedelta(days=1)]
    assert parts(dropping[0]) == [DAY + timedelta(days=n) for n in (2, 3, 4)]
    assert results(dropping[0]) == results(kept[0])
    for stored, tenant, packs in (kept, dropping):
        random = np.random.default_rng(7)
        for batch_no, minutes in enumerate((0, 0.01, 1, 4, 14, 16, 29, 31, 1439), start=10):
            moment_ms = to_ms(KEPT) + int(minutes * 60_000)
            rows = [full_row(random, pack, moment_ms) for pack in packs]
            stored.insert(tenant, rows, batch_no=batch_no)
        first_ms = int(
            stored.value("SELECT extract(epoch FROM min(ts)) * 1000 FROM readings WHERE ts >= %s", KEPT)
        )
        stored.delete(tenant, packs[0], first_ms, batch_no=20)
        for pack, moved in ((packs[0], KEPT), (packs[1], KEPT + timedelta(minutes=3))):
            stored.run("UPDATE tenures SET held_to = %s WHERE pack_id = %s", moved, pack)
            number = stored.tenure(tenant, pack, None, moved.isoformat(), "infinity")
            with stored.connect() as connection:
                given = {"tenant_id": tenant, "pack_id": pack, "held_from": moved, "tenure_no": number}
                connection.execute(query("packs.note_move"), given)
        # A change of time zone folds all days of a pack again, those of dropped readings too.
        stored.run("UPDATE sites SET zone = 'America/Lima' WHERE name = 'B'")
        stored.run("INSERT INTO window_notes VALUES (%s, %s, '-infinity', 30)", tenant, packs[1])
        stored.count_all()
    assert results(dropping[0]) == results(kept[0])
    assert len(results(kept[0])[0]) > 300


def test_drop_waits_for_what_may_still_need_the_readings(own_database: DatabaseAccess) -> None:
    stored, tenant, packs = filled(own_database)
    conninfo = role(own_database)
    assert retention.archived_before(conninfo) is None
    assert retention.archive(conninfo, KEPT, NOW) == KEPT
    assert retention.archived_before(conninfo) == KEPT
    assert retention.archive(conninfo, KEPT + timedelta(hours=23), NOW) is None
    assert retention.drop_oldest(conninfo, NOW - timedelta(seconds=1)) == retention.Dropped()

    def waits(cause: str, *given: Any, ended: str) -> str | None:
        stored.run(cause, *given)
        waiting = retention.drop_oldest(conninfo, NOW)
        stored.run(ended)
        assert waiting.part is None
        return waiting.waits_for

    note = "INSERT INTO window_notes VALUES (%s, %s, %s, 9)"
    near = DAY + timedelta(days=1, minutes=15)
    said = waits(note, tenant, packs[0], near, ended="DELETE FROM window_notes")
    assert said == "quarter-hours are to be counted again"
    correction = (
        "INSERT INTO corrections (tenant_id, kind, pack_id, starts, ends, chosen, reason, subject) VALUES"
        " (%s, 'delete_range', %s, %s, 'infinity', ARRAY[true, true, true, true, true, true, true], 'r', 's')"
    )
    said = waits(
        correction, tenant, packs[0], DAY, ended="UPDATE corrections SET status = 'done', finished_at = now()"
    )
    assert said == "corrections aren't done"
    batch = (
        "INSERT INTO batches (tenant_id, id, batch_no, partition_no, position, mode, source, subject, arrived_at,"
        " received, accepted, duplicate, quarantined, late, conflicting, items, items_omitted, ignored_keys, first_ts,"
        " last_ts) VALUES (%s, gen_random_uuid(), 1, 0, 0, 'import', 's', 's', now(), 1, 1, 0, 0, 0, 0, '[]', 0, '{}',"
        " %s, %s)"
    )
    stored.run("UPDATE partitions SET last_batch_no = 1, applied_batch_no = 0")
    said = waits(batch, tenant, DAY, KEPT, ended="UPDATE partitions SET applied_batch_no = 1")
    assert said == "the state of some packs isn't saved"
    assert drop_all(own_database) == [DAY, DAY + timedelta(days=1)]
    log = stored.rows("SELECT after FROM platform_log WHERE action = 'readings.dropped' ORDER BY id")
    assert [(entry["from"], entry["to"], entry["archived_before"]) for (entry,) in log] == [
        tuple((DAY + timedelta(days=days)).isoformat() for days in (n, n + 1, 3)) for n in range(2)
    ]
    (entry,) = stored.rows(
        "SELECT tenant_id, subject, after FROM audit_log WHERE action = 'readings.archived'"
    )
    assert entry == (tenant, "engine", {"before": "2026-03-06T00:00:00+00:00"})


def receipt(
    stored: Stored,
    tenant: int,
    number: int,
    last_ts: datetime | None,
    arrived_at: datetime = DAY,
    **others: Any,
) -> UUID:
    """A receipt of a body, of which a reading was stored if it has a last one; gives its id."""
    columns = {
        "tenant_id": tenant,
        "id": uuid4(),
        "batch_no": number,
        "arrived_at": arrived_at,
        "first_ts": last_ts,
        "last_ts": last_ts,
        "accepted": int(last_ts is not None),
        "duplicate": int(last_ts is None),
    } | others
    names = ", ".join(columns)
    places = ", ".join(f"%({name})s" for name in columns)
    with stored.connect() as connection:
        connection.execute(
            f"INSERT INTO batches ({names}, partition_no, position, mode, source, subject, received, quarantined, late,"
            f" conflicting, items, items_omitted, ignored_keys) VALUES ({places}, 0, 0, 'live', 's', 's', 1, 0, 0, 0,"
            " '[]', 0, '{}')",
            columns,
        )
    return UUID(str(columns["id"]))


def superseded(stored: Stored, tenant: int, pack: int, moments: Sequence[datetime]) -> None:
    """Values of some times that a correction took out."""
    number = stored.value(
        "INSERT INTO corrections (tenant_id, kind, chosen, reason, subject, status) VALUES"
        " (%s, 'delete_range', '{}', 'r', 's', 'done') RETURNING correction_no",
        tenant,
    )
    for moment in moments:
        stored.run(
            "INSERT INTO superseded_readings (tenant_id, pack_id, ts, batch_no, item_no, voltage_v, correction_no,"
            " deleted) VALUES (%s, %s, %s, 1, 0, 300, %s, true)",
            tenant, pack, moment, number,
        )  # fmt: skip


def test_superseded_values_go_in_slices_once_their_day_was_dropped(own_database: DatabaseAccess) -> None:
    stored, tenant, packs = filled(own_database)
    conninfo = role(own_database)
    line = KEPT - timedelta(days=1)
    moments = [DAY + timedelta(hours=hours) for hours in (1, 2, 30, 47, 48, 70)]
    superseded(stored, tenant, packs[0], moments)
    assert bookkeeping.drop_superseded(conninfo, 10) == 0, "nothing is archived"
    retention.archive(conninfo, KEPT, NOW)
    assert bookkeeping.drop_superseded(conninfo, 10) == 0, "nothing was dropped"
    assert retention.drop_oldest(conninfo, LATER).part is not None
    assert bookkeeping.drop_superseded(conninfo, 10) == 2, "only the first day was"
    drop_all(own_database)
    assert [bookkeeping.drop_superseded(conninfo, 1) for _ in range(3)] == [1, 1, 0]
    left = stored.rows("SELECT ts FROM superseded_readings ORDER BY ts")
    assert [ts for (ts,) in left] == [moment for moment in moments if moment >= line]
    with psycopg.connect(conninfo) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("DELETE FROM superseded_readings")


def test_receipts_go_when_none_of_their_readings_is_there_any_more(own_database: DatabaseAccess) -> None:
    stored, tenant, _ = filled(own_database)
    conninfo = role(own_database)
    line = KEPT - timedelta(days=1)
    before, behind = line - timedelta(milliseconds=1), line
    imported = stored.value(
        "INSERT INTO imports (tenant_id, source, created_by) VALUES (%s, 's', 's') RETURNING id", tenant
    )
    cut, kept_cut = uuid4(), uuid4()
    goes = {
        receipt(stored, tenant, 1, before),
        receipt(stored, tenant, 2, None),
        receipt(stored, tenant, 3, before, part_of=cut, parts=2),
        receipt(stored, tenant, 4, None, part_of=cut, parts=2),
    }
    stays = {
        receipt(stored, tenant, 5, behind),
        receipt(stored, tenant, 6, before, import_id=imported),
        receipt(stored, tenant, 7, None, arrived_at=behind),
        receipt(stored, tenant, 8, before, part_of=kept_cut, parts=2),
        receipt(stored, tenant, 9, behind, part_of=kept_cut, parts=2),
        receipt(stored, tenant, 11, before),
        receipt(stored, tenant, 12, before),
    }
    stored.run("UPDATE partitions SET last_batch_no = 1012, applied_batch_no = 1012")
    assert bookkeeping.drop_receipts(conninfo, NOW, 10) == 0, "no day was dropped"
    retention.archive(conninfo, KEPT, NOW)
    drop_all(own_database)
    assert bookkeeping.drop_receipts(conninfo, DAY, 10) == 0, "they aren't old enough"
    stored.run("UPDATE partitions SET applied_batch_no = 0")
    assert bookkeeping.drop_receipts(conninfo, NOW, 10) == 0, "the state of packs isn't saved"
    stored.run("UPDATE partitions SET applied_batch_no = 10")
    while bookkeeping.drop_receipts(conninfo, NOW, 1):
        pass
    assert {found for (found,) in stored.rows("SELECT id FROM batches")} == stays
    assert goes.isdisjoint(stays)
    with psycopg.connect(conninfo) as connection:
        for number in (5, 6, 7):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
                connection.execute("DELETE FROM batches WHERE batch_no = %s", (number,))


def test_no_receipt_goes_by_a_clock_that_is_not_trusted(own_database: DatabaseAccess) -> None:
    stored, tenant, _ = filled(own_database)
    conninfo = role(own_database)
    receipt(stored, tenant, 1, None)
    stored.run("UPDATE partitions SET last_batch_no = 2000, applied_batch_no = 2000")
    retention.archive(conninfo, KEPT, NOW)
    drop_all(own_database)
    stored.run("UPDATE installation SET clock_trusted_until = %s", DAY + timedelta(days=6))
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="last 7 days"):
        bookkeeping.drop_receipts(conninfo, NOW, 10)
    stored.run("UPDATE installation SET clock_trusted_until = %s", DAY + timedelta(days=8))
    assert bookkeeping.drop_receipts(conninfo, NOW, 10) == 1


def test_notes_of_bodies_go_once_no_message_can_be_in_the_topic(own_database: DatabaseAccess) -> None:
    stored = Stored(own_database)
    tenant = stored.tenant("alpha")
    conninfo = role(own_database)
    now = datetime.now(UTC)
    for days in (7, 9, 10, 11):
        stored.run(
            "INSERT INTO submissions (tenant_id, id, subject, arrived_at, registry_version)"
            " VALUES (%s, gen_random_uuid(), 's', %s, 1)",
            tenant,
            now - timedelta(days=days),
        )
    asked = now - timedelta(days=8)
    assert [bookkeeping.forget_submissions(conninfo, asked, 2) for _ in range(3)] == [2, 1, 0]
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="may be in the topic"):
        bookkeeping.forget_submissions(conninfo, now, 2)
    assert stored.value("SELECT count(*) FROM submissions") == 1


KILLED = """
import os, signal, sys
from datetime import datetime
from storage import retention
def die():
    os.kill(os.getpid(), signal.SIGKILL)
step, conninfo, moment = sys.argv[1:]
if step == "archive":
    retention.archive(conninfo, datetime.fromisoformat(moment), datetime.fromisoformat(moment), die)
else:
    retention.drop_oldest(conninfo, datetime.fromisoformat(moment), die)
"""


def test_kill_in_each_step_leaves_all_or_nothing_and_the_next_process_goes_on(
    own_database: DatabaseAccess,
) -> None:
    stored, _, _ = filled(own_database)
    conninfo = role(own_database)
    versions = stored.rows("SELECT registry_version FROM tenants")

    def kill(step: str, moment: datetime) -> None:
        given = [sys.executable, "-c", KILLED, step, conninfo, moment.isoformat()]
        assert subprocess.run(given, timeout=60, check=False).returncode == -9

    kill("archive", KEPT)
    assert retention.archived_before(conninfo) is None
    assert stored.rows("SELECT registry_version FROM tenants") == versions
    assert retention.archive(conninfo, KEPT, NOW) == KEPT
    assert stored.rows("SELECT registry_version FROM tenants") != versions
    before = stored.rows("SELECT count(*), sum(extract(epoch FROM ts)) FROM readings")
    kill("drop", LATER)
    assert stored.rows("SELECT count(*), sum(extract(epoch FROM ts)) FROM readings") == before
    assert stored.rows("SELECT FROM platform_log WHERE action = 'readings.dropped'") == []
    assert drop_all(own_database) == [DAY, DAY + timedelta(days=1)]


def test_only_one_process_at_a_time(own_database: DatabaseAccess) -> None:
    filled(own_database)
    conninfo = role(own_database)
    told: list[Any] = []

    def meanwhile() -> None:
        told.append(retention.archive(conninfo, KEPT, NOW))
        told.append(retention.drop_oldest(conninfo, LATER))

    assert retention.archive(conninfo, KEPT, NOW, meanwhile) == KEPT
    assert told == [None, retention.Dropped()]


class RawText(NoRawItems):
    """What is set aside is asked for."""

    def __call__(self, index: int) -> str:
        return f"reading {index}"


def of_pack(tenant: int, pack: int, ts_ms: int) -> IncomingBatch:
    batch = one_reading(tenant, ts_ms)
    readings = replace(batch.readings, pack=np.full(1, pack, np.int32))
    return replace(batch, readings=readings, raw_of=RawText())


def test_group_and_tenant_that_were_before_are_waited_for_and_later_groups_know(
    own_database: DatabaseAccess,
) -> None:
    stored, tenant, packs = filled(own_database)
    store = PartitionStore(role(own_database, INGEST_ROLE), PARTITION_ZERO)
    store.take_over()
    with store.group() as group, stored.connect() as other:
        before = group.tenant_versions([TenantId(tenant)])[TenantId(tenant)].registry
        archiving = threading.Thread(target=lambda: retention.archive(role(own_database), KEPT, NOW))
        archiving.start()
        archiving.join(0.3)
        assert archiving.is_alive()
        assert other.execute("SELECT isfinite(archived_before) FROM retention_classes").fetchone() == (False,)
    archiving.join(10)
    # What was judged before the line, and waited in a topic, is judged by it.
    sent = [
        replace(of_pack(tenant, packs[0], ts_ms), registry_version=before)
        for ts_ms in (to_ms(KEPT) - 1, to_ms(KEPT))
    ]
    with store.group() as group:
        versions = group.tenant_versions([TenantId(tenant)])
        delivered = [Delivered(batch, position) for position, batch in enumerate(sent)]
        rest, _ = settle_in_log(delivered, group, versions, all_ids=True)
        told = [[(item.reason, item.limit) for item in one.batch.quarantined] for one in rest]
    assert told == [[(QuarantineReason.ARCHIVED, to_ms(KEPT))], []]
    assert [one.batch.readings.ts_ms.tolist() for one in rest] == [[], [to_ms(KEPT)]]
    store.close()
    with stored.connect() as other, other.transaction():
        other.execute("INSERT INTO tenants (name) VALUES ('new')")
        row = other.execute("SELECT registry_version FROM tenants WHERE name = 'new'").fetchone()
        later = KEPT + timedelta(days=1)
        archiving = threading.Thread(target=lambda: retention.archive(role(own_database), later, NOW))
        archiving.start()
        archiving.join(0.3)
        assert archiving.is_alive()
    archiving.join(10)
    assert retention.archived_before(role(own_database)) == later
    assert row is not None
    assert stored.value("SELECT registry_version FROM tenants WHERE name = 'new'") != row[0]


def test_role_can_do_nothing_else_and_the_database_refuses_what_is_wrong(
    own_database: DatabaseAccess,
) -> None:
    stored, _, _ = filled(own_database)
    (day,) = stored.rows("SELECT part FROM readings_parts(%s)", DAY + timedelta(days=1))
    now = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    refused: list[tuple[str, str, tuple[Any, ...]]] = [
        (RETENTION_ROLE, "DELETE FROM readings", ()),
        (RETENTION_ROLE, "SELECT voltage_v FROM readings", ()),
        (RETENTION_ROLE, "SELECT body_hash FROM batches", ()),
        (RETENTION_ROLE, "DELETE FROM platform_log", ()),
        (RETENTION_ROLE, "UPDATE retention_classes SET archived_before = now()", ()),
        (RETENTION_ROLE, "UPDATE tenants SET name = 'x'", ()),
        (RETENTION_ROLE, "SELECT archive_readings(0::smallint, %s, now())", (now - timedelta(days=6),)),
        (RETENTION_ROLE, "SELECT archive_readings(0::smallint, %s, now())", (KEPT + timedelta(hours=1),)),
        (RETENTION_ROLE, "SELECT archive_readings(0::smallint, %s, now())", (DAY + timedelta(days=11),)),
        (RETENTION_ROLE, "SELECT drop_readings_part(%s)", day),
        (INGEST_ROLE, "SELECT drop_readings_part(%s)", day),
        (INGEST_ROLE, "SELECT archive_readings(0::smallint, %s, now())", (KEPT,)),
        (ERASER_ROLE, "DELETE FROM platform_log", ()),
    ]
    for who, statement, given in refused:
        conninfo = own_database.admin if who == ERASER_ROLE else role(own_database, who)
        with (
            psycopg.connect(conninfo, options=f"-c role={who} -c search_path=bpm") as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            connection.execute(statement.encode(), given)
    retention.archive(role(own_database), KEPT, NOW)
    with psycopg.connect(role(own_database)) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="already"):
            connection.execute("SELECT archive_readings(0::smallint, %s, now())", (DAY,))
        connection.rollback()
        assert connection.execute("SELECT drop_readings_part('bpm.tenants')").fetchone() == (None,)


def test_pack_with_windows_in_archived_days_is_not_handed_over_in_them(own_database: DatabaseAccess) -> None:
    stored, _, _ = filled(own_database)
    stored.tenant("beta")
    retention.archive(role(own_database), KEPT, NOW)
    drop_all(own_database)
    stored.run("DELETE FROM readings_class_0")
    conninfo = role(own_database, INGEST_ROLE)
    with pytest.raises(ArchivedError) as refused:
        hand_over(conninfo, "P-0", "alpha", "beta", "B-0", DAY + timedelta(days=1))
    assert (refused.value.field, refused.value.limit) == ("from", KEPT.isoformat())
    hand_over(conninfo, "P-0", "alpha", "beta", "B-0", KEPT)


def test_latest_value_of_a_dropped_day_is_that_of_the_saved_state(own_database: DatabaseAccess) -> None:
    stored, tenant, _ = filled(own_database)
    pack, other = stored.pack(tenant, "silent"), stored.pack(tenant, "never")
    values: list[float | None] = [50.0, None, None, 350.0, None, None, None]
    stored.insert(tenant, [(pack, to_ms(DAY), values), (pack, to_ms(KEPT), [None, None, 20.0, *[None] * 4])])
    stored.count_all()
    stored.run(
        "INSERT INTO pack_state (pack_id, watermark_ms, latest_ts_ms, latest) VALUES (%s, %s, %s, %s)",
        pack,
        to_ms(KEPT),
        [to_ms(DAY), -1, to_ms(KEPT), to_ms(DAY), -1, -1, -1],
        [50_000, -(2**31), 99_000, 350_000, *[-(2**31)] * 3],
    )
    asked = np.array([other, pack], np.int32)

    def latest() -> tuple[list[Any], list[Any]]:
        with psycopg.connect(
            role(own_database, INGEST_ROLE), row_factory=psycopg.rows.dict_row
        ) as connection:
            adapt_columns(connection)
            found = latest_of(PartitionQueries(connection, 0), asked)
        return found.ts_ms[:, 1].tolist(), found.thousandths.tolist()

    before = latest()
    assert before[1][0] == [-(2**31), 50_000]
    retention.archive(role(own_database), KEPT, NOW)
    drop_all(own_database)
    assert latest() == before
