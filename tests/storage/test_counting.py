"""Quarter-hours counted from the store equal a naive recount, whatever is written beside (rules E13 to E15)."""

import random
import threading
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from api.database_access import DatabaseAccess
from domain.clock import from_ms, to_ms
from domain.windows import QUARTER_MS
from storage.counting import CountingStore
from tests.stored import Row, Stored, some_rows

START = datetime(2026, 3, 3, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def stored(own_database: DatabaseAccess) -> Stored:
    found = Stored(own_database)
    found.prepare(START)
    return found


def two_packs(stored: Stored) -> tuple[int, int, int]:
    tenant = stored.tenant("alpha")
    return tenant, stored.pack(tenant, "P-1"), stored.pack(tenant, "P-2")


def hour_of(pack: int, seed: int = 1) -> list[Row]:
    return some_rows(seed, pack, START, 150, 30)


def test_e14_closed_quarters_are_counted_and_the_open_one_is_not(stored: Stored) -> None:
    tenant, one, other = two_packs(stored)
    stored.insert(tenant, hour_of(one) + hour_of(other, 2))
    stored.close_before(START + HOUR)
    stored.count_all()
    assert stored.value("SELECT counted_before FROM window_marks") == START + HOUR
    stored.assert_quarters_equal_a_recount()
    starts = {start for _, start in stored.quarters()}
    assert starts == {to_ms(START) + place * QUARTER_MS for place in range(4)}


def test_e14_mark_never_passes_the_closing_mark(stored: Stored) -> None:
    two_packs(stored)
    counter = stored.counting()
    stored.close_before(START + timedelta(minutes=15))
    seen = []
    while counter.count_once():
        seen.append(stored.value("SELECT counted_before <= closed_before FROM window_marks, partitions"))
    counter.close()
    assert all(seen)
    assert stored.value("SELECT counted_before FROM window_marks") == START + timedelta(minutes=15)


@pytest.mark.parametrize("notes_max", [1, 3, 1000])
def test_e14_late_readings_and_deletions_are_counted_again(stored: Stored, notes_max: int) -> None:
    tenant, one, other = two_packs(stored)
    rows = hour_of(one) + hour_of(other, 2)
    stored.insert(tenant, rows[::2])
    stored.close_before(START + HOUR)
    stored.count_all()
    stored.insert(tenant, rows[1::2], batch_no=2)
    # What is noted is not what is stored any more, until it is counted again.
    stored.count_all(notes_max=notes_max)
    stored.assert_quarters_equal_a_recount()
    for pack, ts_ms, _ in rows[10:60:7]:
        stored.delete(tenant, pack, ts_ms)
    stored.count_all(notes_max=notes_max)
    stored.assert_quarters_equal_a_recount()
    assert stored.value("SELECT count(*) FROM window_notes") == 0


def test_e14_recount_of_nothing_deletes(stored: Stored) -> None:
    tenant, one, _ = two_packs(stored)
    row: Row = (one, to_ms(START) + 60_000, [50.0, None, None, 350.0, 10.0, None, None])
    stored.insert(tenant, [row])
    stored.close_before(START + HOUR)
    stored.count_all()
    assert len(stored.quarters()) == 1
    stored.delete(tenant, one, row[1])
    stored.count_all()
    assert stored.quarters() == {}


def test_e14_note_of_a_concurrent_writer_survives_the_count(stored: Stored) -> None:
    tenant, one, _ = two_packs(stored)
    rows = hour_of(one)
    stored.insert(tenant, rows[::3])
    stored.close_before(START + HOUR)
    stored.count_all()
    stored.insert(tenant, rows[1::3], batch_no=2)
    counter = stored.counting()
    # The writer commits when the counter has taken its snapshot and counted, but not committed.
    assert counter.count_once(before_commit=lambda: stored.insert(tenant, rows[2::3], batch_no=3))
    assert {batch for (batch,) in stored.rows("SELECT DISTINCT batch_no FROM window_notes")} == {3}
    while counter.count_once():
        pass
    counter.close()
    stored.assert_quarters_equal_a_recount()


def test_e14_reading_that_comes_while_its_quarter_is_counted_is_counted_again(stored: Stored) -> None:
    tenant, one, _ = two_packs(stored)
    rows = hour_of(one)
    stored.insert(tenant, rows[::2])
    stored.close_before(START + HOUR)
    counter = stored.counting()
    assert counter.count_once(before_commit=lambda: stored.insert(tenant, rows[1::2], batch_no=2))
    while counter.count_once():
        pass
    counter.close()
    stored.assert_quarters_equal_a_recount()


def test_e14_two_counters_at_once_count_everything_once(stored: Stored) -> None:
    tenant, one, other = two_packs(stored)
    stored.insert(tenant, hour_of(one) + hour_of(other, 2))
    stored.close_before(START + HOUR)
    counters = [stored.counting() for _ in range(2)]
    meet = threading.Barrier(2)
    problems: list[Exception] = []

    def count(counter: CountingStore) -> None:
        try:
            meet.wait()
            while counter.count_once():
                pass
        except Exception as error:  # noqa: BLE001 - told by the test's own thread
            problems.append(error)

    threads = [threading.Thread(target=count, args=(counter,)) for counter in counters]
    for thread in threads:
        thread.start()
    for thread, counter in zip(threads, counters, strict=True):
        thread.join()
        counter.close()
    assert problems == []
    stored.assert_quarters_equal_a_recount()


def test_failure_before_commit_counts_nothing_and_the_next_try_everything(stored: Stored) -> None:
    tenant, one, _ = two_packs(stored)
    stored.insert(tenant, hour_of(one))
    stored.close_before(START + HOUR)
    counter = stored.counting()

    def fail() -> None:
        raise RuntimeError("killed here")

    with pytest.raises(RuntimeError):
        counter.count_once(before_commit=fail)
    counter.close()
    assert stored.quarters() == {}
    assert stored.value("SELECT counted_before FROM window_marks") == START
    stored.count_all()
    stored.assert_quarters_equal_a_recount()


def test_e13_readings_belong_to_the_tenure_of_their_tenant_at_their_time(stored: Stored) -> None:
    tenant, one, _ = two_packs(stored)
    other = stored.tenant("beta")
    middle = START + timedelta(minutes=20)
    stored.run("UPDATE tenures SET held_to = %s WHERE pack_id = %s", middle, one)
    stored.run(
        "INSERT INTO packs (tenant_id, pack_id, external_id) OVERRIDING SYSTEM VALUE VALUES (%s, %s, 'Q')",
        other,
        one,
    )
    stored.tenure(other, one, None, middle.isoformat(), "infinity")
    rows = hour_of(one)
    stored.insert(tenant, [row for row in rows if from_ms(row[1]) < middle])
    stored.insert(other, [row for row in rows if from_ms(row[1]) >= middle])
    # Readings that a tenant has from a time that isn't its own count nowhere.
    stored.insert(tenant, [(one, to_ms(middle) + 1, [1.0, None, None, 1.0, 1.0, None, None])])
    stored.close_before(START + HOUR)
    stored.count_all()
    stored.assert_quarters_equal_a_recount()
    assert len({tenure for tenure, _ in stored.quarters()}) == 2


def test_e13_shuffled_split_delayed_batches_give_the_same_records_bit_for_bit(
    own_database: DatabaseAccess,
) -> None:
    stored = Stored(own_database)
    stored.prepare(START)
    tenant = stored.tenant("alpha")
    chance = random.Random(5)
    packs = [stored.pack(tenant, f"P-{number}") for number in range(6)]
    for pack in packs:
        rows = hour_of(packs[0])
        rows = [(pack, ts_ms, values) for _, ts_ms, values in rows]
        chance.shuffle(rows)
        size = chance.randint(20, 80)
        for number, start in enumerate(range(0, len(rows), size)):
            part = rows[start : start + size]
            if chance.random() < 0.5:
                # One row a measure, as senders of single values do.
                part = [
                    (pack, ts_ms, [v if m == kept else None for m, v in enumerate(values)])
                    for _, ts_ms, values in part
                    for kept in range(len(values))
                    if values[kept] is not None
                ]
            stored.insert(tenant, part, batch_no=100 * pack + number + 1)
            if chance.random() < 0.5:
                stored.close_before(START + timedelta(minutes=15 * chance.randint(0, 6)))
                stored.count_all(notes_max=chance.choice([1, 7, 1000]))
    stored.close_before(START + 4 * HOUR)
    stored.count_all()
    stored.assert_quarters_equal_a_recount()
    by_pack = [
        stored.rows("SELECT starts, record FROM quarters WHERE pack_id = %s ORDER BY starts", pack)
        for pack in packs
    ]
    assert by_pack[0]
    assert all(found == by_pack[0] for found in by_pack)


def test_packs_are_read_in_slices(stored: Stored) -> None:
    tenant, one, other = two_packs(stored)
    stored.insert(tenant, hour_of(one) + hour_of(other, 2))
    stored.close_before(START + HOUR)
    stored.count_all(packs_max=1)
    stored.assert_quarters_equal_a_recount()


def test_counting_stops_for_a_lost_connection_and_goes_on_with_a_new_one(stored: Stored) -> None:
    tenant, one, _ = two_packs(stored)
    stored.insert(tenant, hour_of(one))
    stored.close_before(START + HOUR)
    counter = stored.counting()
    assert counter.count_once()
    stored.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'bpm bpm_ingest' AND datname = current_database()"
    )
    with pytest.raises(psycopg.OperationalError):
        counter.count_once()
    counter.close()
    while counter.count_once():
        pass
    counter.close()
    stored.assert_quarters_equal_a_recount()
