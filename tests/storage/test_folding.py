"""Stored days of packs and percentiles of groups equal a fold of the quarter-hours, and follow every recount."""

import statistics
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from aggregations.groups import PERCENTILES, group_record_from_bytes
from aggregations.quarters import Records, records_from_bytes
from aggregations.windows import TOTAL, fold, totals_of
from api.database_access import DatabaseAccess
from domain.clock import to_ms
from domain.measures import MEASURE_INDEX
from storage.database import query
from tests.stored import Stored, some_rows

START = datetime(2026, 3, 27, tzinfo=UTC)
END = datetime(2026, 3, 31, 12, tzinfo=UTC)
ZONES = {"Zurich": "Europe/Zurich", "Kathmandu": "Asia/Kathmandu"}


@pytest.fixture
def stored(own_database: DatabaseAccess) -> Stored:
    found = Stored(own_database)
    found.prepare(START)
    return found


def fleet(stored: Stored) -> tuple[int, dict[str, list[int]]]:
    """A tenant with two packs at each of two sites, and two at none."""
    tenant = stored.tenant("alpha")
    packs: dict[str, list[int]] = {}
    for name, zone in ZONES.items():
        site = stored.site(tenant, name, zone)
        packs[name] = [stored.pack(tenant, f"{name}-{number}", site) for number in range(2)]
    packs["UTC"] = [stored.pack(tenant, f"none-{number}") for number in range(2)]
    return tenant, packs


def assert_days_equal_quarters(stored: Stored) -> int:
    """Each stored day equals the fold of its quarter-hours bit for bit; gives how many there are."""
    days = stored.rows("SELECT tenure_no, zone, day, starts, ends, record FROM pack_days")
    for tenure, zone, day, starts, ends, record in days:
        own = ZoneInfo(zone)
        assert starts.astimezone(own).date() == day == (ends - timedelta(seconds=1)).astimezone(own).date()
        found = stored.rows(
            "SELECT starts, record FROM quarters WHERE tenure_no = %s AND starts >= %s AND starts < %s ORDER BY starts",
            tenure, starts, ends,
        )  # fmt: skip
        records = Records(
            np.zeros(len(found), np.int32),
            np.array([to_ms(start) for start, _ in found], np.int64),
            records_from_bytes(b"".join(record for _, record in found)),
        )
        _, totals = fold(totals_of(records), np.zeros(len(found), np.int64))
        assert totals.tobytes() == record
    return len(days)


def test_closed_days_of_the_sites_zone_are_folded_and_open_ones_are_not(stored: Stored) -> None:
    tenant, packs = fleet(stored)
    every = [pack for of in packs.values() for pack in of]
    stored.insert(tenant, [row for pack in every for row in some_rows(pack, pack, START, 1000, 330)])
    stored.close_before(END)
    stored.count_all()
    assert assert_days_equal_quarters(stored) > 0
    days = stored.rows(
        "SELECT zone, day, max(ends - starts), count(*) FROM pack_days GROUP BY zone, day ORDER BY zone, day"
    )
    assert [(zone, day.day) for zone, day, _, _ in days if zone == "UTC"] == [
        ("UTC", 27 + n) for n in range(4)
    ]
    lengths = {day: length for zone, day, length, _ in days if zone == "Europe/Zurich"}
    assert lengths[date(2026, 3, 29)] == timedelta(hours=23)
    assert max(lengths) == date(2026, 3, 30)


def test_day_of_a_quarter_that_is_counted_again_is_folded_again(stored: Stored) -> None:
    tenant, packs = fleet(stored)
    one = packs["Zurich"][0]
    rows = some_rows(1, one, START, 250, 1320)
    stored.insert(tenant, rows[::2])
    stored.close_before(END)
    stored.count_all()
    before = stored.rows("SELECT day, record FROM pack_days ORDER BY day")
    stored.insert(tenant, rows[1::2], batch_no=2)
    stored.count_all()
    after = stored.rows("SELECT day, record FROM pack_days ORDER BY day")
    assert [day for day, _ in before] == [day for day, _ in after]
    assert before != after
    assert_days_equal_quarters(stored)
    stored.run("DELETE FROM readings")
    for _, ts_ms, _ in rows:
        stored.delete(tenant, one, ts_ms, batch_no=3)
    stored.count_all()
    assert stored.rows("SELECT 1 FROM pack_days") == stored.rows("SELECT 1 FROM group_days") == []


def test_percentiles_of_groups_equal_those_of_their_packs_days(stored: Stored) -> None:
    tenant, packs = fleet(stored)
    every = [pack for of in packs.values() for pack in of]
    stored.insert(tenant, [row for pack in every for row in some_rows(pack, pack, START, 1000, 330)])
    stored.close_before(END)
    stored.count_all()
    groups = stored.rows("SELECT day, kind, group_id::text, packs, record FROM group_days")
    assert {kind for _, kind, _, _, _ in groups} == {"all", "site"}
    for day, kind, group_id, count, packed in groups:
        days = stored.rows(
            "SELECT record FROM pack_days JOIN tenures USING (tenure_no) WHERE day = %s AND (%s = 'all' OR site_id::text = %s)",
            day, kind, group_id,
        )  # fmt: skip
        assert len(days) == count
        totals = [np.frombuffer(record, TOTAL)[0]["voltage_v"] for (record,) in days]
        figures = [float(one["maximum"]) / 1000 for one in totals if one["count"]]
        (found,) = [group_record_from_bytes(packed)[MEASURE_INDEX["voltage_v"], 2]]
        assert found[PERCENTILES.index(50)] == pytest.approx(statistics.median(figures))
        if len(figures) > 1:
            quartiles = statistics.quantiles(figures, n=4, method="inclusive")
            assert found[PERCENTILES.index(25)] == pytest.approx(quartiles[0])
            assert found[PERCENTILES.index(75)] == pytest.approx(quartiles[2])


def test_nothing_is_left_to_do_when_everything_is_folded(stored: Stored) -> None:
    tenant, packs = fleet(stored)
    stored.insert(tenant, some_rows(1, packs["UTC"][0], START, 500, 330))
    stored.close_before(END)
    stored.count_all()
    for table in ("window_notes", "groups_to_fold"):
        assert stored.value(f"SELECT count(*) FROM {table}") == 0
    assert stored.count_all() == 0


def test_edit_of_a_zone_that_commits_while_its_days_are_folded_is_followed(stored: Stored) -> None:
    tenant = stored.tenant("alpha")
    site = stored.site(tenant, "S", "Europe/Zurich")
    pack = stored.pack(tenant, "P", site)
    stored.insert(tenant, some_rows(1, pack, START, 500, 330))
    stored.close_before(START + timedelta(days=2))
    counter = stored.counting()
    while stored.value("SELECT counted_before FROM window_marks") < START + timedelta(days=2):
        assert counter.count_once()

    def edit() -> None:
        with stored.connect() as connection, connection.transaction():
            connection.execute("UPDATE sites SET zone = 'Pacific/Chatham'")
            connection.execute(query("sites.note_days"), {"tenant_id": tenant, "id": site})

    # The step's snapshot has the old zone, and so do the days that it stores.
    assert counter.count_once(before_commit=edit)
    assert {zone for (zone,) in stored.rows("SELECT zone FROM pack_days")} == {"Europe/Zurich"}
    while counter.count_once():
        pass
    counter.close()
    assert {zone for (zone,) in stored.rows("SELECT zone FROM pack_days")} == {"Pacific/Chatham"}
    assert assert_days_equal_quarters(stored) == 2


def test_days_of_one_zone_that_wait_for_their_end_hold_up_no_other(stored: Stored) -> None:
    tenant = stored.tenant("alpha")
    behind = stored.site(tenant, "behind", "Pacific/Pago_Pago")
    open_day = START.date()
    stored.run(
        "WITH made AS (INSERT INTO packs (tenant_id, external_id)"
        " SELECT %s, 'open-' || n FROM generate_series(0, 500) AS n RETURNING tenant_id, pack_id)"
        " INSERT INTO tenures (tenant_id, pack_id, held_from, site_id) SELECT *, '-infinity', %s FROM made",
        tenant, behind,
    )  # fmt: skip
    stored.run("INSERT INTO days_to_fold SELECT tenant_id, pack_id, tenure_no, %s FROM tenures", open_day)
    ahead = stored.pack(tenant, "ahead", stored.site(tenant, "ahead", "Pacific/Kiritimati"))
    stored.insert(tenant, some_rows(1, ahead, START, 20, 330))
    # The day is over in Kiritimati, and has not begun in Pago Pago.
    stored.close_before(START + timedelta(hours=10, minutes=15))
    stored.count_all()
    assert stored.rows("SELECT pack_id, zone, day FROM pack_days") == [
        (ahead, "Pacific/Kiritimati", open_day)
    ]
