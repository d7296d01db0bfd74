"""Lists, history and statistics of alerts equal a naive look at all of them, and read a bounded number of rows."""

import asyncio
import itertools
import math
import random
import statistics
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import psycopg
import pytest
from psycopg.rows import dict_row

from api.database_access import DatabaseAccess
from api.settings import Settings
from domain.errors import InvalidRequestError
from domain.tenancy import Actor, Role, TenantId
from storage import alert_history
from storage.alerts import AlertFilter, page, page_query
from storage.cursors import Cursors
from storage.database import APP_ROLE, query
from storage.transactions import Transaction, Transactions, open_pool

Row = dict[str, Any]
Result = TypeVar("Result")

ALERTS = 30_000
SCANNED = 1_000
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
CONDITION = (
    '{"kind": "threshold", "measure": "temperature_c", "side": "above", "limit": 50, "clear_limit": 50,'
    ' "duration_s": 0}'
)

FILL = """
SELECT setseed(0.42);
INSERT INTO tenants (name) VALUES ('lists'), ('others');
INSERT INTO partitions (partition_no) VALUES (0) ON CONFLICT DO NOTHING;
INSERT INTO sites (tenant_id, name, zone) SELECT 1, 'S-' || n, 'UTC' FROM generate_series(1, 5) AS n;
INSERT INTO models (tenant_id, name, chemistry, rated_capacity_ah)
    SELECT 1, 'M-' || n, 'LFP', 10 FROM generate_series(1, 2) AS n;
INSERT INTO packs (tenant_id, external_id) SELECT 1, 'P-' || n FROM generate_series(1, 200) AS n;
INSERT INTO tenures (tenant_id, pack_id, site_id, model_id, held_from, held_to)
    SELECT 1, pack_id, (SELECT id FROM sites WHERE name = 'S-' || 1 + mod(pack_id, 6)),
        (SELECT id FROM models WHERE name = 'M-' || 1 + mod(pack_id, 3)), '-infinity', 'infinity'
    FROM packs;
INSERT INTO rules (tenant_id, name, scope) SELECT 1, 'R-' || n, 'tenant' FROM generate_series(1, 10) AS n;
INSERT INTO rule_versions
    SELECT 1, rule_no, 1, 'epoch', true, 'info', %(condition)s::jsonb, 5, 3600, 'tester' FROM rules;
INSERT INTO alerts (tenant_id, rule_no, rule_version, pack_id, tenure_no, onset, raised_at, cleared_at, state,
    clear_reason, severity, value, flapping, late, provisional, silence_id, maintenance, partition_no, seq,
    acknowledged_by, acknowledged_at, assigned_to)
SELECT 1, 1 + mod(n * 7, 10), 1, pack_id, tenure_no, %(first)s + n * interval '1 minute',
    %(first)s + n * interval '1 minute' + random() * interval '10 minutes',
    CASE WHEN NOT open THEN %(first)s + n * interval '1 minute' + (11 + random() * 60) * interval '1 minute' END,
    CASE WHEN open THEN 'open' WHEN random() < 0.05 THEN 'withdrawn' ELSE 'cleared' END,
    CASE WHEN NOT open THEN 'measured' END,
    CASE WHEN random() < 0.02 THEN 'critical' WHEN random() < 0.3 THEN 'warning' ELSE 'info' END,
    60, random() < 0.01, random() < 0.01, false,
    CASE WHEN random() < 0.05 THEN gen_random_uuid() END, false, 0, 2 * n,
    CASE WHEN seen THEN 'someone' END,
    CASE WHEN seen THEN %(first)s + n * interval '1 minute' + (10 + random() * 600) * interval '1 minute' END,
    CASE WHEN random() < 0.01 THEN 'workshop' END
FROM (
    SELECT n, random() < 0.02 AS open, random() < 0.3 AS seen, tenures.*
    FROM generate_series(1, %(alerts)s) AS n JOIN tenures ON tenure_no = 1 + mod(n * 31, 200) ORDER BY n
) AS made;
INSERT INTO rule_transitions (tenant_id, partition_no, seq, rule_no, rule_version, pack_id, kind, reason, rule_time,
    onset, value, flapping, tenure_no)
SELECT 1, 0, seq, rule_no, 1, pack_id, 'raised', 'measured', raised_at, onset, 60, false, tenure_no FROM alerts;
INSERT INTO alert_actions (tenant_id, id, partition_no, seq, alert_id, kind, subject, at)
SELECT 1, gen_random_uuid(), 0, seq + 1, id, 'acknowledged', 'someone', acknowledged_at FROM alerts
WHERE acknowledged_at IS NOT NULL;
"""


@pytest.fixture(scope="module")
def filled(database: DatabaseAccess) -> DatabaseAccess:
    with psycopg.connect(database.admin, autocommit=True, options="-c search_path=bpm") as connection:
        given = {"first": FIRST, "alerts": ALERTS, "condition": CONDITION}
        client = psycopg.ClientCursor(connection)
        client.execute(FILL.encode(), given)
        connection.execute("ANALYZE alerts, tenures, sites, packs, rules, rule_transitions, alert_actions")
    return database


@pytest.fixture(scope="module")
def everything(filled: DatabaseAccess) -> list[Row]:
    """All alerts with what filters look at, newest first."""
    with psycopg.connect(filled.admin, row_factory=dict_row, options="-c search_path=bpm") as connection:
        return connection.execute(
            "SELECT shown_alerts.*, models.name AS model FROM shown_alerts"
            " LEFT JOIN tenures ON tenures.tenant_id = shown_alerts.tenant_id"
            " AND tenures.pack_id = shown_alerts.pack_id LEFT JOIN models ON models.id = model_id"
            " WHERE shown_alerts.tenant_id = 1 ORDER BY alert_no DESC"
        ).fetchall()


def asking(
    access: DatabaseAccess,
    steps: Callable[[Transaction], Awaitable[Result]],
    sites: frozenset[str] | None = None,
) -> Result:
    """What steps give in a read-only transaction of the tenant's."""

    async def ask() -> Result:
        pool = open_pool(access.as_role(APP_ROLE, Settings()), connections_max=1, wait_s_max=10)
        await pool.open()
        actor = Actor("tester", TenantId(1), "lists", frozenset({Role.ANALYST}), sites)
        try:
            async with Transactions(pool).begin(actor, "request", read_only=True) as transaction:
                return await steps(transaction)
        finally:
            await pool.close()

    return asyncio.run(ask())


def rule_id(everything: list[Row]) -> UUID:
    return UUID(str(next(one["rule_id"] for one in everything if one["rule"] == "R-3")))


CHOICES: dict[str, list[Row]] = {
    "state": [{}, {"state": "open"}, {"state": "cleared"}],
    "severity": [{}, {"severities": ("critical",)}, {"severities": ("critical", "warning")}],
    "who": [{}, {"pack": "P-7"}, {"site": "S-2"}, {"rule": "R-3"}],
    "range": [{}, {"starts": FIRST + timedelta(days=2), "ends": FIRST + timedelta(days=12)}],
    "more": [
        {},
        {"acknowledged": True},
        {"acknowledged": False},
        {"assigned_to": "workshop"},
        {"flapping": True},
        {"flapping": False},
        {"muted": True},
        {"muted": False},
    ],
}


def filters(everything: list[Row]) -> Iterator[AlertFilter]:
    for parts in itertools.product(*CHOICES.values()):
        given: Row = {name: value for part in parts for name, value in part.items()}
        if "rule" in given:
            given["rule"] = rule_id(everything)
        yield AlertFilter(**given)


def fits(one: Row, chosen: AlertFilter) -> bool:
    """The naive twin of what the queries choose."""
    return (
        chosen.state in (None, one["state"])
        and (chosen.severities is None or one["severity"] in chosen.severities)
        and chosen.pack in (None, one["pack"])
        and chosen.rule in (None, one["rule_id"])
        and chosen.site in (None, one["site"])
        and (chosen.starts is None or one["raised_at"] >= chosen.starts)
        and (chosen.ends is None or one["raised_at"] < chosen.ends)
        and chosen.acknowledged in (None, one["acknowledged_at"] is not None)
        and chosen.assigned_to in (None, one["assigned_to"])
        and chosen.flapping in (None, one["flapping"])
        and chosen.muted in (None, one["silence_id"] is not None)
    )


async def all_pages(transaction: Transaction, chosen: AlertFilter, limit: int) -> list[Row]:
    found: list[Row] = []
    cursor: str | None = None
    for _ in range(10_000):
        rows, cursor = await page(transaction, chosen, cursor, limit, SCANNED)
        assert len(rows) <= limit
        found += rows
        if cursor is None:
            return found
    raise AssertionError("the list doesn't end")


def test_every_combination_of_filters_gives_each_alert_once(
    filled: DatabaseAccess, everything: list[Row]
) -> None:
    combinations = random.sample(list(filters(everything)), 60)

    async def steps(transaction: Transaction) -> None:
        for chosen in combinations:
            expected = [one["id"] for one in everything if fits(one, chosen)]
            found = await all_pages(transaction, chosen, 1000)
            assert [one["id"] for one in found] == expected or chosen.has_range, chosen
            assert sorted(one["id"] for one in found) == sorted(expected), chosen
            if chosen.has_range:
                assert is_newest_first(found), chosen

    asking(filled, steps)


def is_newest_first(rows: list[Row]) -> bool:
    """In one of the two orders: of the index that is gone through."""
    numbers = [one["alert_no"] for one in rows]
    moments = [(one["raised_at"], one["alert_no"]) for one in rows]
    return numbers == sorted(numbers, reverse=True) or moments == sorted(moments, reverse=True)


@pytest.mark.parametrize("sites", [frozenset({"S-2"}), frozenset({"S-1", "S-3"}), frozenset()])
def test_credential_limited_to_sites_is_shown_their_alerts_alone(
    filled: DatabaseAccess, everything: list[Row], sites: frozenset[str]
) -> None:
    async def steps(transaction: Transaction) -> None:
        for chosen in (AlertFilter(), AlertFilter(state="open"), AlertFilter(severities=("critical",))):
            expected = [one["id"] for one in everything if one["site"] in sites and fits(one, chosen)]
            assert [one["id"] for one in await all_pages(transaction, chosen, 500)] == expected

    asking(filled, steps, sites)


def rows_read(node: Row) -> int:
    """Rows of alerts that a plan went through, kept or not."""
    own = 0
    if node.get("Relation Name") == "alerts":
        gone = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
        own = math.ceil((node["Actual Rows"] + gone) * node["Actual Loops"])
    return own + sum(rows_read(child) for child in node.get("Plans", []))


def test_no_combination_of_filters_reads_more_alerts_than_it_may(
    filled: DatabaseAccess, everything: list[Row]
) -> None:
    worst: dict[int, AlertFilter] = {}
    with psycopg.connect(filled.as_role(APP_ROLE, Settings()), row_factory=dict_row) as connection:
        connection.execute(query("records.set_tenant"), {"tenant": "1"})
        for chosen in filters(everything):
            for sites in (None, ["S-2"]):
                for name in ("page", "scan_end"):
                    text, given, _ = page_query(chosen, None, limited=sites is not None, name=name)
                    given |= {"tenant_id": 1, "sites": sites, "scanned": SCANNED, "limit": 101}
                    cursor = connection.execute(b"EXPLAIN (ANALYZE, FORMAT JSON, TIMING OFF) " + text, given)
                    (explained,) = cursor.fetchall()
                    worst.setdefault(rows_read(explained["QUERY PLAN"][0]["Plan"]), chosen)
    # Where an index finds little more than may be looked at, all of that is read and sorted, since it costs as little.
    assert max(worst) <= 2 * SCANNED, worst[max(worst)]


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"kinds": ("acknowledged",)},
        {"severities": ("critical",)},
        {"pack": "P-7"},
        {"site": "S-2", "kinds": ("raised", "cleared")},
    ],
)
def test_history_gives_each_event_once_in_order(
    filled: DatabaseAccess, everything: list[Row], newest_first: bool, more: Row
) -> None:
    chosen = alert_history.HistoryFilter(FIRST + timedelta(days=1), FIRST + timedelta(days=4), **more)
    asked = replace(AlertFilter(), severities=chosen.severities, pack=chosen.pack, site=chosen.site)
    expected = [
        (at, kind, one["id"])
        for one in everything
        if fits(one, asked)
        for kind, at in (("raised", one["raised_at"]), ("acknowledged", one["acknowledged_at"]))
        if at is not None and chosen.starts <= at < chosen.ends
        if chosen.kinds is None or kind in chosen.kinds
    ]

    async def steps(transaction: Transaction) -> list[Row]:
        found: list[Row] = []
        cursor: str | None = None
        while True:
            rows, cursor = await alert_history.history(
                transaction, chosen, cursor, 300, SCANNED, newest_first=newest_first
            )
            found += rows
            if cursor is None:
                return found

    found = asking(filled, steps)
    assert len(found) > 10
    assert sorted((one["at"], one["kind"], one["alert"]) for one in found) == sorted(expected)
    moments = [one["at"] for one in found]
    assert moments == sorted(moments, reverse=newest_first)


@pytest.mark.parametrize("by", alert_history.GROUPS)
@pytest.mark.parametrize("sites", [None, frozenset({"S-2", "S-4"})])
def test_statistics_equal_a_naive_recount(
    filled: DatabaseAccess, everything: list[Row], by: str, sites: frozenset[str] | None
) -> None:
    starts, ends = FIRST + timedelta(days=1), FIRST + timedelta(days=15)
    chosen = [
        one
        for one in everything
        if starts <= one["raised_at"] < ends and (sites is None or one["site"] in sites)
    ]
    total, *groups = asking(
        filled, lambda transaction: alert_history.statistics(transaction, by, starts, ends, 300, 10**6), sites
    )
    assert_sums(total, chosen)
    expected: dict[str | None, list[Row]] = {}
    for one in chosen:
        expected.setdefault(one[by], []).append(one)
    assert {row["key"] for row in groups} == set(expected)
    assert [row["raised"] for row in groups] == sorted((row["raised"] for row in groups), reverse=True)
    for row in groups:
        assert_sums(row, expected[row["key"]])


def assert_sums(row: Row, alerts: list[Row]) -> None:
    clear_s = [
        max(0.0, (one["cleared_at"] - one["raised_at"]).total_seconds())
        for one in alerts
        if one["state"] == "cleared" and not one["late"]
    ]
    seen_s = [
        max(0.0, (one["acknowledged_at"] - one["raised_at"]).total_seconds())
        for one in alerts
        if one["acknowledged_at"] is not None
    ]
    for state in ("open", "cleared", "withdrawn"):
        assert row[state] == sum(one["state"] == state for one in alerts)
    for name, value in (("raised", len(alerts)), ("acknowledged", len(seen_s))):
        assert row[name] == value
    assert row["flapping"] == sum(one["flapping"] for one in alerts)
    assert row["muted"] == sum(one["silence_id"] is not None for one in alerts)
    assert row["late"] == sum(one["late"] for one in alerts)
    for name, found_s in (("clear", clear_s), ("acknowledge", seen_s)):
        if not found_s:
            assert (row[f"{name}_mean_s"], row[f"{name}_s"]) == (None, None)
            continue
        assert row[f"{name}_mean_s"] == pytest.approx(statistics.fmean(found_s), abs=1e-6)
        percentiles = [percentile(sorted(found_s), share) for share in (0.5, 0.9, 0.99)]
        assert row[f"{name}_s"] == pytest.approx(percentiles, abs=1e-6)


def percentile(ordered: list[float], share: float) -> float:
    """Between the two values beside it, in proportion."""
    place = share * (len(ordered) - 1)
    low, high = math.floor(place), math.ceil(place)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def test_statistics_of_too_many_alerts_are_refused(filled: DatabaseAccess, everything: list[Row]) -> None:
    def ask(alerts_max: int) -> list[Row]:
        ends = FIRST + timedelta(days=1000)
        return asking(
            filled,
            lambda transaction: alert_history.statistics(transaction, "rule", FIRST, ends, 3, alerts_max),
        )

    assert ask(ALERTS)[0]["raised"] == len(everything) == ALERTS
    with pytest.raises(InvalidRequestError) as refused:
        ask(ALERTS - 1)
    assert refused.value.limit == ALERTS - 1


@pytest.mark.parametrize(
    "text", ["", "x", "2026-01-01T00:00:00+00:00", "2026-01-01T00:00:00 5", "5 5", "1 2 3 4"]
)
def test_what_is_no_cursor_of_the_list_is_refused(filled: DatabaseAccess, text: str) -> None:
    chosen = AlertFilter(starts=FIRST)
    with pytest.raises(InvalidRequestError):
        asking(
            filled, lambda transaction: page(transaction, chosen, Cursors("alerts by time").encode(text), 10)
        )
    span = alert_history.HistoryFilter(FIRST, FIRST + timedelta(days=1))
    with pytest.raises(InvalidRequestError):
        asking(
            filled,
            lambda transaction: alert_history.history(
                transaction, span, Cursors("alert history").encode(text), 10, 10, newest_first=True
            ),
        )
