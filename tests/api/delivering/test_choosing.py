"""Which events go through which channel: by severity, rule, site and tenant; and what quiet hours hold back."""

import uuid
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest

from api.database_access import DatabaseAccess
from domain.channels import QuietHours, Weekday
from tests.api.delivering.receiver import Receiver, receiving
from tests.api.delivering.stage import HandClock, run, staged

NIGHT = QuietHours("Europe/Zurich", time(22), time(7), frozenset(Weekday))
LATE_EVENING = datetime(2026, 3, 28, 22, tzinfo=UTC)
"""23:00 in Zurich; the clocks are put forward in this night."""

MORNING = datetime(2026, 3, 29, 5, tzinfo=UTC)


def seqs(receiver: Receiver) -> list[int]:
    return [one.said["data"]["seq"] for one in receiver.received]


def test_each_channel_gets_what_it_chose_and_nothing_else(database: DatabaseAccess, tmp_path: Path) -> None:
    async def steps() -> None:
        with receiving() as every, receiving() as critical, receiving() as of_rule, receiving() as at_north:
            async with staged(database, tmp_path) as stage:
                north, south = stage.site("North"), stage.site("South")
                rule_no = stage.rule("cold")
                (rule,) = stage.rows("SELECT id FROM rules WHERE rule_no = %s", rule_no)
                await stage.channel(every.url, events=("raised", "cleared", "late"))
                await stage.channel(critical.url, severities=("critical",))
                await stage.channel(of_rule.url, rules=(rule["id"],))
                await stage.channel(at_north.url, sites=(north,))
                first = stage.happen(severity="critical", site=north)
                second = stage.happen(rule="cold", site=south)
                third = stage.happen("late")
                stage.happen("withdrawn", silence=uuid.uuid4(), severity="critical")
                stage.happen("provisional", severity="info", site=south)
                for _ in range(4):
                    await stage.turn()
            assert seqs(every) == [first, second, third]
            assert seqs(critical) == [first]
            assert seqs(of_rule) == [second]
            assert seqs(at_north) == [first]

    run(steps())


def test_site_is_known_by_its_name_as_it_is_now(database: DatabaseAccess, tmp_path: Path) -> None:
    async def steps() -> None:
        with receiving() as receiver:
            async with staged(database, tmp_path) as stage:
                north = stage.site("North")
                await stage.channel(receiver.url, sites=(north,))
                stage.rows("UPDATE sites SET name = 'Far North' WHERE id = %s", north)
                seq = stage.happen(site=north)
                await stage.turn()
        assert seqs(receiver) == [seq]

    run(steps())


def test_tenants_get_their_own_alerts_alone(database: DatabaseAccess, tmp_path: Path) -> None:
    async def steps() -> None:
        with receiving() as own, receiving() as others:
            async with staged(database, tmp_path) as stage:
                other = stage.new_tenant(f"other-{uuid.uuid4().hex}")
                await stage.channel(own.url)
                await stage.channel(others.url, tenant=other)
                mine, theirs = stage.happen(), stage.happen(tenant=other)
                await stage.turn()
                rows = stage.rows("SELECT tenant_id, count(*) FROM delivery_events GROUP BY tenant_id")
                assert {row["tenant_id"]: row["count"] for row in rows} == {stage.tenant: 1, other: 1}
            assert (seqs(own), seqs(others)) == ([mine], [theirs])

    run(steps())


def test_channel_that_is_off_gets_nothing_of_what_happens_meanwhile(
    database: DatabaseAccess, tmp_path: Path
) -> None:
    async def steps() -> None:
        with receiving() as receiver:
            async with staged(database, tmp_path) as stage:
                made = await stage.channel(receiver.url)
                stage.rows("UPDATE channels SET enabled = false WHERE id = %s", made.id)
                stage.happen()
                await stage.turn()
                stage.rows("UPDATE channels SET enabled = true WHERE id = %s", made.id)
                seq = stage.happen()
                await stage.turn()
        assert seqs(receiver) == [seq]

    run(steps())


def test_quiet_hours_hold_events_back_for_one_digest_and_let_critical_ones_through(
    database: DatabaseAccess, tmp_path: Path
) -> None:
    async def steps() -> None:
        with receiving() as receiver:
            async with staged(database, tmp_path, HandClock(LATE_EVENING)) as stage:
                await stage.channel(receiver.url, quiet=NIGHT)
                held = [stage.happen()]
                critical = stage.happen(severity="critical")
                await stage.turn()
                assert receiver.kinds() == ["alert.raised"]
                assert seqs(receiver) == [critical]
                stage.hand.now = MORNING - timedelta(seconds=1)
                held.append(stage.happen("cleared"))
                await stage.turn()
                assert len(receiver.received) == 1
                assert stage.states() == ["pending", "delivered"]
                stage.hand.now = MORNING
                await stage.turn()
                assert receiver.kinds() == ["alert.raised", "alert.digest"]
                said = receiver.received[1].said
                assert datetime.fromisoformat(said["timestamp"]) == MORNING
                assert [one["data"]["seq"] for one in said["data"]["events"]] == held
                assert said["data"]["left_out"] == 0
                assert stage.states() == ["delivered"] * 2
                # By day all come at once, and the next night has a digest of its own.
                by_day = stage.happen()
                await stage.turn()
                assert seqs_of(receiver.received[2].said) == [by_day]
                stage.hand.now = datetime(2026, 3, 29, 21, tzinfo=UTC)
                stage.happen()
                await stage.turn()
                stage.hand.move(hours=9)
                await stage.turn()
                assert receiver.kinds()[3:] == ["alert.digest"]

    def seqs_of(said: dict[str, dict[str, int]]) -> list[int]:
        return [said["data"]["seq"]]

    run(steps())


def test_digest_is_retried_whole_under_one_id(database: DatabaseAccess, tmp_path: Path) -> None:
    async def steps() -> None:
        with receiving() as receiver:
            receiver.answer = lambda _: (503 if len(receiver.received) < 3 else 200, {}, b"")
            async with staged(database, tmp_path, HandClock(LATE_EVENING)) as stage:
                await stage.channel(receiver.url, quiet=NIGHT)
                for _ in range(3):
                    stage.happen()
                await stage.turn_until(1)
        assert len(receiver.received) == 3
        assert len({(one.id, one.body) for one in receiver.received}) == 1

    run(steps())


def test_digest_tells_so_many_events_and_counts_the_others(database: DatabaseAccess, tmp_path: Path) -> None:
    async def steps() -> None:
        with receiving() as receiver:
            async with staged(database, tmp_path, HandClock(LATE_EVENING), digest_events_max=3) as stage:
                await stage.channel(receiver.url, quiet=NIGHT)
                for _ in range(2):
                    for _ in range(4):
                        stage.happen()
                    await stage.turn()
                assert len(stage.deliveries()) == 1
                assert len(stage.rows("SELECT * FROM delivery_events")) == 3
                stage.hand.now = MORNING
                await stage.turn()
        said = receiver.received[0].said["data"]
        assert (len(said["events"]), said["left_out"]) == (3, 5)

    run(steps())


def test_channel_may_hold_critical_events_back_too(database: DatabaseAccess, tmp_path: Path) -> None:
    async def steps() -> None:
        quiet = QuietHours(NIGHT.zone, NIGHT.starts, NIGHT.ends, NIGHT.days, hold_critical=True)
        with receiving() as receiver:
            async with staged(database, tmp_path, HandClock(LATE_EVENING)) as stage:
                await stage.channel(receiver.url, quiet=quiet)
                stage.happen(severity="critical")
                await stage.turn()
                assert receiver.received == []
                stage.hand.now = MORNING
                await stage.turn()
                assert receiver.kinds() == ["alert.digest"]

    run(steps())


@pytest.mark.parametrize("events_max", [1, 2, 500])
def test_log_is_read_in_steps_of_any_size_without_a_gap(
    database: DatabaseAccess, tmp_path: Path, events_max: int
) -> None:
    async def steps() -> None:
        with receiving() as receiver:
            async with staged(database, tmp_path, dispatch_events_max=events_max) as stage:
                await stage.channel(receiver.url)
                sent = [stage.happen() for _ in range(5)]
                # Numbers without an event, as of what was only pending.
                stage.rows("UPDATE partitions SET alert_seq = alert_seq + 3")
                sent.append(stage.happen())
                await stage.turn()
                assert seqs(receiver) == sent
                (row,) = stage.rows("SELECT seq FROM dispatch_positions")
                assert row["seq"] == sent[-1]

    run(steps())
