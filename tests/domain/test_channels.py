"""When it is quiet, by the clocks of a zone whatever they do; which events a channel wants; how long it waits."""

from datetime import UTC, datetime, time, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.alert_rules import Severity
from domain.channels import EventKind, Patience, QuietHours, Wanted, Weekday

EVERY_DAY = frozenset(Weekday)
ZONES = ("Europe/Zurich", "Pacific/Chatham", "America/St_Johns", "Australia/Lord_Howe", "UTC")


def quiet(zone: str, starts: str, ends: str, days: frozenset[Weekday] = EVERY_DAY) -> QuietHours:
    return QuietHours(zone, time.fromisoformat(starts), time.fromisoformat(ends), days)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize(
    ("zone", "starts", "ends", "moment", "until"),
    [
        # A night in winter, and the same over the change to summer time: it is an hour shorter.
        ("Europe/Zurich", "22:00", "07:00", "2026-01-10T23:00+01:00", "2026-01-11T07:00+01:00"),
        ("Europe/Zurich", "22:00", "07:00", "2026-03-28T23:00+01:00", "2026-03-29T07:00+02:00"),
        ("Europe/Zurich", "22:00", "07:00", "2026-03-29T06:59+02:00", "2026-03-29T07:00+02:00"),
        ("Europe/Zurich", "22:00", "07:00", "2026-03-29T07:00+02:00", None),
        # An end that is skipped (02:30) is read by the clock of before: 03:30 in summer time.
        ("Europe/Zurich", "22:00", "02:30", "2026-03-29T03:15+02:00", "2026-03-29T03:30+02:00"),
        # An end that comes twice is the second one, a start that comes twice the first.
        ("Europe/Zurich", "22:00", "02:30", "2026-10-25T02:45+02:00", "2026-10-25T02:30+01:00"),
        ("Europe/Zurich", "02:30", "05:00", "2026-10-25T02:30+02:00", "2026-10-25T05:00+01:00"),
        ("Europe/Zurich", "02:30", "05:00", "2026-10-25T02:29+02:00", None),
        # Three quarters of an hour beside the full hour, and a change at 02:45.
        ("Pacific/Chatham", "22:00", "06:00", "2026-09-26T23:00+12:45", "2026-09-27T06:00+13:45"),
        ("Pacific/Chatham", "22:00", "06:00", "2026-04-05T02:50+13:45", "2026-04-05T06:00+12:45"),
        ("Pacific/Chatham", "22:00", "03:00", "2026-04-05T03:10+13:45", "2026-04-05T03:00+12:45"),
        # Within a day.
        ("UTC", "12:00", "13:00", "2026-01-10T12:00+00:00", "2026-01-10T13:00+00:00"),
        ("UTC", "12:00", "13:00", "2026-01-10T11:59+00:00", None),
    ],
)
def test_quiet_hours_follow_the_zone_s_clocks(
    zone: str, starts: str, ends: str, moment: str, until: str | None
) -> None:
    found = quiet(zone, starts, ends).ends_after(utc(moment))
    assert found == (None if until is None else utc(until))


def test_days_are_those_on_which_quiet_hours_begin() -> None:
    nights = quiet("Europe/Zurich", "22:00", "07:00", frozenset({Weekday.FRIDAY}))
    assert nights.ends_after(utc("2026-06-05T23:00+02:00")) == utc("2026-06-06T07:00+02:00")
    assert nights.ends_after(utc("2026-06-06T06:00+02:00")) == utc("2026-06-06T07:00+02:00")
    assert nights.ends_after(utc("2026-06-06T23:00+02:00")) is None
    assert nights.ends_after(utc("2026-06-05T06:00+02:00")) is None


@given(
    zone=st.sampled_from(ZONES),
    minutes=st.tuples(st.integers(0, 1439), st.integers(0, 1439)).filter(lambda both: both[0] != both[1]),
    moment=st.integers(1_735_689_600, 1_830_000_000).map(
        lambda seconds: datetime.fromtimestamp(seconds, UTC)
    ),
    days=st.frozensets(st.sampled_from(Weekday), min_size=1),
)
def test_quiet_hours_equal_a_walk_over_the_days(
    zone: str, minutes: tuple[int, int], moment: datetime, days: frozenset[Weekday]
) -> None:
    starts, ends = (time(minute // 60, minute % 60) for minute in minutes)
    found = QuietHours(zone, starts, ends, days).ends_after(moment)
    spans = []
    for back in range(-3, 4):
        day = moment.astimezone(ZoneInfo(zone)).date() + timedelta(days=back)
        if day.strftime("%a").lower() not in days:
            continue
        last = day if starts < ends else day + timedelta(days=1)
        begin, end = moments_of(zone, day, starts)[0], moments_of(zone, last, ends)[-1]
        if begin <= moment < end:
            spans.append(end)
    assert found == (max(spans) if spans else None)
    if found is not None:
        assert moment < found <= moment + timedelta(hours=26)


def moments_of(zone: str, day: Any, at: time) -> list[datetime]:
    """The moments at which the zone's clocks show a time; of one that they skip, what it would have been."""
    base = datetime.combine(day, at, UTC)
    shown = [
        one
        for minutes in range(-15 * 60, 15 * 60 + 1, 15)
        if (one := base + timedelta(minutes=minutes)).astimezone(ZoneInfo(zone)).replace(tzinfo=UTC) == base
    ]
    if shown:
        return sorted(shown)
    before = (base - timedelta(hours=3)).replace(tzinfo=ZoneInfo(zone)).utcoffset()
    assert before is not None
    return [base - before]


RULE = UUID(int=1)
EVENT = {
    "kind": "raised",
    "severity": "critical",
    "rule_id": RULE,
    "site": "North",
    "silence_id": None,
    "security_kind": None,
}
REFUSED = {"security_kind": "denied", "site": None}
ALL = Wanted(frozenset({EventKind.RAISED}))


@pytest.mark.parametrize(
    ("wanted", "event", "holds"),
    [
        (ALL, {}, True),
        (ALL, {"kind": "cleared"}, False),
        (ALL, {"silence_id": UUID(int=9)}, False),
        (ALL, REFUSED, False),
        (Wanted(ALL.kinds, rules=frozenset({RULE})), REFUSED, False),
        (Wanted(ALL.kinds, sites=frozenset({"North"}), security_alerts=True), REFUSED, True),
        (Wanted(ALL.kinds, frozenset({Severity.INFO}), security_alerts=True), REFUSED, False),
        (Wanted(ALL.kinds, muted=True), {"silence_id": UUID(int=9)}, True),
        (Wanted(ALL.kinds, severities=frozenset({Severity.CRITICAL})), {}, True),
        (Wanted(ALL.kinds, severities=frozenset({Severity.INFO})), {}, False),
        (Wanted(ALL.kinds, rules=frozenset({RULE})), {}, True),
        (Wanted(ALL.kinds, rules=frozenset({UUID(int=2)})), {}, False),
        (Wanted(ALL.kinds, sites=frozenset({"North"})), {}, True),
        (Wanted(ALL.kinds, sites=frozenset({"South"})), {}, False),
        (Wanted(ALL.kinds, sites=frozenset({"South"})), {"site": None}, False),
        (ALL, {"site": None}, True),
    ],
)
def test_event_is_wanted_when_all_that_was_chosen_holds(
    wanted: Wanted, event: dict[str, Any], holds: bool
) -> None:
    assert wanted.holds_for(EVENT | event) is holds


@given(attempts=st.integers(1, 10_000), drawn=st.floats(0, 1))
def test_wait_lies_between_half_of_what_it_may_be_and_all_of_it(attempts: int, drawn: float) -> None:
    wait_s = Patience(5, 3, 3600, 0.5, 10, 48).wait_s(attempts, drawn)
    full_s = min(5 * 3 ** min(attempts - 1, 10), 3600)
    assert full_s / 2 <= wait_s <= full_s
