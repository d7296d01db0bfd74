"""Group days as stored, as computed and as recounted are the same, whatever is in doubt (rule E16)."""

import asyncio
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregations.calendars import calendar_windows, window_starts
from aggregations.groups import FIGURES, PERCENTILES, percentiles_each
from aggregations.windows import TOTAL
from api.database_access import DatabaseAccess
from api.settings import Settings
from domain.clock import from_ms, to_ms
from domain.errors import InvalidRequestError
from domain.groups import GroupKind
from domain.measures import MEASURE_NAMES
from domain.tenancy import Actor, TenantId
from domain.windows import Step, step_of
from storage import groups
from storage.database import APP_ROLE
from storage.group_parts import PackGroup
from storage.groups import GroupDays, GroupWindow, group_calendar, group_days, group_windows
from storage.transactions import Transactions, open_pool
from tests import naive_groups, naive_windows
from tests.naive_groups import GroupDay, Held
from tests.stored import Row, Stored, full_row

START = datetime(2026, 3, 27, tzinfo=UTC)
END = datetime(2026, 3, 31, 13, tzinfo=UTC)
CLOSED = END - timedelta(hours=36)
"""What comes before is counted by its notes, what comes after when it closes."""
ASKED = [date(2026, 3, 25) + timedelta(days=n) for n in range(8)]
ZONES = {"Zurich": "Europe/Zurich", "Kathmandu": "Asia/Kathmandu", "Chatham": "Pacific/Chatham"}
"""Clocks go forward in Zurich on the 29th."""
ROWS_MAX = 100_000
Group = tuple[int, str, str | None]
"""Tenant, kind, and the name of a site."""


@dataclass
class Fleet:
    """Two tenants with packs that move between sites and tenants, and all of their readings."""

    stored: Stored
    random: np.random.Generator
    tenants: list[int] = field(default_factory=list)
    sites: dict[tuple[int, str], str] = field(default_factory=dict)
    held: list[Held] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    def make(self) -> None:
        self.stored.prepare(CLOSED)
        for name in ("alpha", "beta"):
            tenant = self.stored.tenant(name)
            self.tenants.append(tenant)
            for site, zone in ZONES.items():
                self.sites[tenant, site] = self.stored.site(tenant, site, zone)
        for number in range(6):
            self._stays(number)
        first_ms, last_ms = to_ms(START), to_ms(END)
        for pack in sorted({stay.pack for stay in self.held}):
            times_ms = np.unique(self.random.integers(first_ms, last_ms, 150)).tolist()
            self.rows += [full_row(self.random, pack, ts_ms) for ts_ms in times_ms]

    def _stays(self, number: int) -> None:
        """A pack with up to three stays, the last one perhaps of the other tenant."""
        cuts = np.sort(self.random.integers(to_ms(START), to_ms(END), 2)).tolist()
        bounds = ["-infinity", *(from_ms(cut).isoformat() for cut in cuts), "infinity"]
        limits_ms = [float("-inf"), *cuts, float("inf")]
        owners = [self.tenants[0], self.tenants[0], self.tenants[number % 2]]
        pack = None
        for place, tenant in enumerate(owners):
            site = [*ZONES, None][int(self.random.integers(0, len(ZONES) + 1))]
            site_id = None if site is None else self.sites[tenant, site]
            if pack is None:
                statement = "INSERT INTO packs (tenant_id, external_id) VALUES (%s, %s) RETURNING pack_id"
                pack = int(self.stored.value(statement, tenant, f"P-{number}"))
            elif tenant != owners[place - 1]:
                self.stored.run(
                    "INSERT INTO packs (tenant_id, external_id, pack_id) OVERRIDING SYSTEM VALUE VALUES (%s, %s, %s)",
                    tenant, f"P-{number}", pack,
                )  # fmt: skip
            self.stored.tenure(tenant, pack, site_id, bounds[place], bounds[place + 1])
            zone = "UTC" if site is None else ZONES[site]
            self.held.append(Held(pack, tenant, site, zone, limits_ms[place], limits_ms[place + 1]))

    def insert(self, rows: list[Row], batch_no: int) -> None:
        for tenant in self.tenants:
            own = [row for row in rows if self._tenant_of(row) == tenant]
            if own:
                self.stored.insert(tenant, own, batch_no=batch_no)

    def _tenant_of(self, row: Row) -> int:
        (stay,) = [one for one in self.held if one.pack == row[0] and one.from_ms <= row[1] < one.to_ms]
        return stay.tenant

    def groups(self) -> list[Group]:
        return [
            (tenant, *group)
            for tenant in self.tenants
            for group in (("all", None), *(("site", site) for site in ZONES))
        ]

    def answers(self) -> dict[Group, dict[date, tuple[int, bytes]]]:
        """Every group's days, as bytes."""
        return {
            group: {day: (packs, record.tobytes()) for day, (packs, record) in days.items()}
            for group, days in self.days(self.groups()).items()
        }

    def days(self, groups: list[Group], rows_max: int = ROWS_MAX) -> dict[Group, GroupDays]:
        return asyncio.run(self._days(groups, rows_max))

    async def _days(self, groups: list[Group], rows_max: int) -> dict[Group, GroupDays]:
        conninfo = self.stored.access.as_role(APP_ROLE, Settings())
        found = {}
        async with open_pool(conninfo, connections_max=1, wait_s_max=5) as pool:
            for tenant, kind, site in groups:
                actor = Actor("s", TenantId(tenant), "t", frozenset())
                group_id = None if site is None else UUID(self.sites[tenant, site])
                async with Transactions(pool).begin(actor, "r", read_only=True) as transaction:
                    found[tenant, kind, site] = await group_days(
                        transaction, PackGroup(GroupKind(kind), group_id), ASKED, rows_max
                    )
        return found

    def windows(
        self, groups: list[Group], step: str, zone: str, rows_max: int = ROWS_MAX
    ) -> dict[Group, dict[int, GroupWindow | None]]:
        """Every group's windows of a step, by where they begin in a zone."""
        return asyncio.run(self._windows(groups, step_of(step), ZoneInfo(zone), rows_max))

    async def _windows(
        self, groups: list[Group], step: Step, zone: ZoneInfo, rows_max: int
    ) -> dict[Group, dict[int, GroupWindow | None]]:
        conninfo = self.stored.access.as_role(APP_ROLE, Settings())
        found = {}
        # Windows are asked for by where they begin.
        from_ms_, until_ms = (
            to_ms(START - timedelta(days=2, seconds=step.most_s)),
            to_ms(END + timedelta(days=40)),
        )
        if not step.is_of_days:
            from_ms_, until_ms = to_ms(START - timedelta(hours=30)), to_ms(END + timedelta(hours=30))
        async with open_pool(conninfo, connections_max=1, wait_s_max=5) as pool:
            for tenant, kind, site in groups:
                actor = Actor("s", TenantId(tenant), "t", frozenset())
                group = PackGroup(GroupKind(kind), None if site is None else UUID(self.sites[tenant, site]))
                async with Transactions(pool).begin(actor, "r", read_only=True) as transaction:
                    if step.is_of_days:
                        windows = calendar_windows(step, zone, from_ms_, until_ms)
                        spans = [(one.first, one.behind) for one in windows]
                        told = await group_calendar(transaction, group, spans, rows_max)
                        labels = [one.starts_ms for one in windows]
                    else:
                        bounds_ms = window_starts(step, zone, from_ms_, until_ms)
                        told = await group_windows(transaction, group, bounds_ms, rows_max)
                        labels = bounds_ms[:-1].tolist()
                found[tenant, kind, site] = dict(zip(labels, told, strict=True))
        return found

    def recounted_windows(self, rows: list[Row], step: str, zone: str) -> dict[Group, dict[int, GroupDay]]:
        label_of = self._labels(step, zone)
        found = {}
        for group in self.groups():
            tenant, _, site = group
            held = [one for one in self.held if one.tenant == tenant and (site is None or one.site == site)]
            found[group] = naive_groups.group_windows(held, rows, label_of)
        return found

    def assert_windows_equal(self, expected: dict[tuple[str, str], dict[Group, dict[int, GroupDay]]]) -> None:
        """By step and zone."""
        for asked, wanted in expected.items():
            for group, found in self.windows(self.groups(), *asked).items():
                filled = {label: one for label, one in found.items() if one is not None}
                assert filled.keys() == wanted[group].keys(), (asked, group)
                for label, one in filled.items():
                    assert_same(one, wanted[group][label], (asked, group, label))

    def _labels(self, step: str, zone: str) -> Callable[[Held, int], int]:
        """Where windows begin in a zone: of days by the day of a stay's own zone, else the same for all."""
        months, seconds = naive_windows.length_of(step)
        span_ms = to_ms(START - timedelta(days=400)), to_ms(END + timedelta(days=400))
        if not months and seconds % 86_400:
            span_ms = to_ms(START - timedelta(hours=30)), to_ms(END + timedelta(hours=30))
        starts_ms = naive_windows.window_starts(step, ZoneInfo(zone), *span_ms)
        dates = [from_ms(start).astimezone(ZoneInfo(zone)).date() for start in starts_ms]

        def label_of(stay: Held, ts_ms: int) -> int:
            if months or seconds % 86_400 == 0:
                return starts_ms[bisect_right(dates, naive_groups.day_of(stay, ts_ms)) - 1]
            return starts_ms[bisect_right(starts_ms, ts_ms) - 1]

        return label_of

    def recounted(self, tenant: int, site: str | None, rows: list[Row]) -> dict[date, GroupDay]:
        held = [stay for stay in self.held if stay.tenant == tenant and (site is None or stay.site == site)]
        return naive_groups.group_days(held, rows)

    def assert_equal_to_recount(self, rows: list[Row]) -> None:
        for (tenant, _, site), found in self.days(self.groups()).items():
            expected = self.recounted(tenant, site, rows)
            assert found.keys() == expected.keys()
            for day, one in found.items():
                assert_same(one, expected[day], (tenant, site, day))


def assert_same(found: GroupWindow, expected: GroupDay, where: Any) -> None:
    (packs, record), (expected_packs, wanted) = found, expected
    assert packs == expected_packs, where
    told = {
        (measure, figure, percentile): record[measure, place, rank]
        for measure in range(len(MEASURE_NAMES))
        for place, figure in enumerate(FIGURES)
        for rank, percentile in enumerate(PERCENTILES)
        if not np.isnan(record[measure, place, rank])
    }
    assert told == pytest.approx(wanted, rel=1e-12), where


def fleet_of(access: DatabaseAccess, seed: int) -> Fleet:
    fleet = Fleet(Stored(access), np.random.default_rng(seed))
    fleet.make()
    return fleet


EVERY_QUARTER = "SELECT DISTINCT tenant_id, pack_id, starts, 99 FROM quarters"
DOUBTS: dict[str, Callable[[Stored], Any]] = {
    "groups are to be folded": lambda stored: stored.run(
        "INSERT INTO groups_to_fold SELECT DISTINCT tenant_id, day FROM pack_days ON CONFLICT DO NOTHING"
    ),
    "some days are to be folded": lambda stored: stored.run(
        "WITH gone AS (DELETE FROM pack_days WHERE mod(pack_id, 2) = 0 RETURNING tenant_id, pack_id, tenure_no, day)"
        " INSERT INTO days_to_fold SELECT * FROM gone ON CONFLICT DO NOTHING"
    ),
    "some quarters are noted": lambda stored: stored.run(
        f"INSERT INTO window_notes {EVERY_QUARTER} WHERE mod(pack_id, 3) = 0"
        " AND mod(extract(hour FROM starts)::int, 5) = 0"
    ),
    "all quarters are noted": lambda stored: stored.run(f"INSERT INTO window_notes {EVERY_QUARTER}"),
    "notes of a quarter with wrong figures": lambda stored: stored.run(
        "WITH wrong AS (UPDATE quarters SET record = decode(repeat('07', 432), 'hex')"
        " WHERE mod(extract(hour FROM starts)::int, 7) = 0 RETURNING tenant_id, pack_id, starts),"
        " gone AS (DELETE FROM pack_days)"
        " INSERT INTO window_notes SELECT DISTINCT tenant_id, pack_id, starts, 99 FROM wrong"
    ),
    "the mark stands in the midst": lambda stored: stored.run(
        "UPDATE window_marks SET counted_before = '2026-03-29 09:15:00+00'"
    ),
    "nothing was ever counted": lambda stored: stored.run("DELETE FROM window_marks"),
    "packs were put right": lambda stored: stored.run(
        "INSERT INTO window_notes SELECT tenant_id, pack_id, '-infinity', -1 FROM packs"
    ),
}  # fmt: skip


@pytest.mark.parametrize("seed", [1, 2])
def test_e16_group_days_as_stored_computed_and_recounted_are_the_same(
    own_database: DatabaseAccess, seed: int
) -> None:
    fleet = fleet_of(own_database, seed)
    stored = fleet.stored
    late = fleet.random.random(len(fleet.rows)) < 0.2
    soon = [row for row, is_late in zip(fleet.rows, late, strict=True) if not is_late]
    fleet.insert(soon, 1)
    # Nothing is counted: all comes from readings.
    fleet.assert_equal_to_recount(soon)
    stored.close_before(END)
    stored.count_all()
    fleet.assert_equal_to_recount(soon)
    fleet.insert([row for row, is_late in zip(fleet.rows, late, strict=True) if is_late], 2)
    # Notes that the writer left, and then none.
    fleet.assert_equal_to_recount(fleet.rows)
    before = fleet.answers()
    stored.count_all()
    after = fleet.answers()
    assert before == after
    with stored.connect() as connection:
        kept = {
            table: connection.execute(f"CREATE TABLE kept_{table} AS TABLE {table}".encode())
            for table in ("quarters", "pack_days", "window_marks", "days_to_fold", "groups_to_fold")
        }
    for doubt, arise in DOUBTS.items():
        arise(stored)
        assert fleet.answers() == after, doubt
        stored.run("DELETE FROM window_notes")
        for table in kept:
            stored.run(f"DELETE FROM {table}")
            stored.run(f"INSERT INTO {table} TABLE kept_{table}")


def some_steps(random: np.random.Generator) -> list[tuple[str, str]]:
    """Steps of each kind, with zones: of days, of quarter-hours, and others."""
    steps = [
        f"P{random.integers(2, 40)}D",
        f"P{random.integers(1, 13)}M",
        *(f"PT{15 * quarters}M" for quarters in random.integers(1, 200, 2)),
        f"PT{random.integers(60, 9000)}S",
    ]
    zones = random.choice([*ZONES.values(), "UTC", "Australia/Lord_Howe"], len(steps))
    return list(zip(steps, zones.tolist(), strict=True))


SEED_IN_PARTS = 5


@pytest.mark.parametrize("seed", [4, SEED_IN_PARTS])
def test_e16_group_windows_of_any_step_equal_a_recount_whatever_is_counted(
    own_database: DatabaseAccess, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    if seed == SEED_IN_PARTS:
        # So little at once that all is read and put together in parts.
        monkeypatch.setattr(groups, "_QUARTERS_MAX", 200)
        monkeypatch.setattr(groups, "_TOTALS_MAX", 50)
    fleet = fleet_of(own_database, seed)
    stored = fleet.stored
    late = fleet.random.random(len(fleet.rows)) < 0.2
    soon = [row for row, is_late in zip(fleet.rows, late, strict=True) if not is_late]
    steps = some_steps(fleet.random)

    fleet.insert(soon, 1)
    fleet.assert_windows_equal({asked: fleet.recounted_windows(soon, *asked) for asked in steps})
    stored.close_before(END)
    stored.count_all()
    fleet.insert([row for row, is_late in zip(fleet.rows, late, strict=True) if is_late], 2)
    expected = {asked: fleet.recounted_windows(fleet.rows, *asked) for asked in steps}
    # Notes that the writer left, and then none.
    fleet.assert_windows_equal(expected)
    stored.count_all()
    fleet.assert_windows_equal(expected)
    for doubt in ("some days are to be folded", "the mark stands in the midst"):
        DOUBTS[doubt](stored)
        fleet.assert_windows_equal(expected)


@pytest.mark.parametrize("step", ["P2D", "PT6H", "PT7M"])
def test_group_windows_beyond_the_budget_are_refused_with_the_limit(
    own_database: DatabaseAccess, step: str
) -> None:
    fleet = fleet_of(own_database, 3)
    fleet.insert(fleet.rows, 1)
    fleet.stored.close_before(END)
    fleet.stored.count_all()
    every: Group = (fleet.tenants[0], "all", None)
    assert any(fleet.windows([every], step, "UTC")[every].values())
    with pytest.raises(InvalidRequestError) as refused:
        fleet.windows([every], step, "UTC", rows_max=20)
    assert (refused.value.field, refused.value.limit) == ("to", 20)


values = st.floats(-1000, 1000).map(lambda value: round(value, 3))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6), values), min_size=1, max_size=60))
@settings(max_examples=200, deadline=None)
def test_percentiles_of_several_windows_are_those_of_numpy_to_the_bit(
    rows: list[tuple[int, int, float]],
) -> None:
    by_pack: dict[tuple[int, int], list[int]] = {}
    for window, pack, value in rows:
        by_pack.setdefault((window, pack), []).append(round(value * 1000))
    keys = sorted(by_pack)
    totals = np.zeros(len(keys), TOTAL)
    part = totals["voltage_v"]
    for place, key in enumerate(keys):
        thousandths = by_pack[key]
        part["count"][place], (part["sum_high"][place], part["sum_low"][place]) = (
            len(thousandths),
            divmod(sum(thousandths), 2**32),
        )
        part["minimum"][place], part["maximum"][place] = min(thousandths), max(thousandths)
    window, pack = (np.array(column) for column in zip(*keys, strict=True))
    windows, packs, records = percentiles_each(window, pack.astype(np.int32), totals)
    assert windows.tolist() == sorted({key[0] for key in keys})
    for place, one in enumerate(windows.tolist()):
        of = [by_pack[key] for key in keys if key[0] == one]
        assert packs[place] == len(of)
        for figure, figures in enumerate(
            ([min(v) / 1000 for v in of], [sum(v) / (1000 * len(v)) for v in of], [max(v) / 1000 for v in of])
        ):
            told = records[place, MEASURE_NAMES.index("voltage_v"), figure]
            assert told.tolist() == np.percentile(figures, PERCENTILES).tolist()
        assert np.isnan(records[place, MEASURE_NAMES.index("current_a")]).all()


def test_group_days_beyond_the_budget_are_refused_with_the_limit(own_database: DatabaseAccess) -> None:
    fleet = fleet_of(own_database, 3)
    fleet.insert(fleet.rows, 1)
    fleet.stored.close_before(END)
    fleet.stored.count_all()
    every: Group = (fleet.tenants[0], "all", None)
    whole = fleet.days([every])[every]
    DOUBTS["all quarters are noted"](fleet.stored)
    assert whole.keys() == fleet.days([every])[every].keys()
    with pytest.raises(InvalidRequestError) as refused:
        fleet.days([every], rows_max=50)
    assert (refused.value.field, refused.value.limit) == ("to", 50)
    # What is stored and without doubt needs no budget.
    fleet.stored.run("DELETE FROM window_notes")
    fleet.stored.close_before(END + timedelta(days=2))
    fleet.stored.count_all()
    assert fleet.days([every], rows_max=1)[every].keys() >= whole.keys()
