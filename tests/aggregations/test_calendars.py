"""Windows of any step begin where a naive look at the zone's clock says, also where clocks change."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregations.calendars import calendar_windows, day_bounds, window_starts
from domain.clock import to_ms
from domain.errors import InvalidRequestError
from domain.windows import DAY_S, USUAL_STEPS, step_of
from tests import naive_windows

CHANGES = {
    "forward": ("Europe/Zurich", "2026-03-29"),
    "back": ("Europe/Zurich", "2025-10-26"),
    "forward by half an hour": ("Australia/Lord_Howe", "2025-10-05"),
    "back by half an hour": ("Australia/Lord_Howe", "2026-04-05"),
    "forward by two hours": ("Antarctica/Troll", "2026-03-29"),
    "back by two hours": ("Antarctica/Troll", "2025-10-26"),
    "forward, of three quarters": ("Pacific/Chatham", "2025-09-28"),
    "back, of three quarters": ("Pacific/Chatham", "2026-04-05"),
    "forward at midnight": ("Africa/Cairo", "2026-04-24"),
    "back over midnight": ("Asia/Beirut", "2025-10-26"),
    "back from a minute behind midnight": ("America/St_Johns", "2010-11-07"),
    "forward from a minute behind midnight": ("America/St_Johns", "2011-03-13"),
    "a day that is skipped": ("Pacific/Apia", "2011-12-30"),
    "another half-hour": ("Asia/Pyongyang", "2018-05-04"),
    "no change, of a half-hour": ("Asia/Kolkata", "2026-01-01"),
    "no change, of three quarters": ("Asia/Kathmandu", "2026-02-28"),
    "no change": ("UTC", "2024-02-29"),
}

SPAN_S_MAX = 3 * 366 * DAY_S

times = st.one_of(
    st.integers(1, 3600).map("PT{}S".format),
    st.integers(1, 3000).map("PT{}M".format),
    st.integers(1, 60).map(lambda quarters: f"PT{15 * quarters}M"),
    st.integers(1, 8784).map("PT{}H".format),
    st.builds("P{}DT{}H{}M".format, st.integers(0, 9), st.integers(0, 30), st.integers(1, 90)),
    st.integers(1, 366).map("P{}D".format),
    st.integers(1, 52).map("P{}W".format),
)
months = st.one_of(st.integers(1, 12).map("P{}M".format), st.just("P1Y"))
steps = st.one_of(times, months, st.sampled_from([step.text for step in USUAL_STEPS]))


@given(st.sampled_from(sorted(CHANGES)), steps, st.integers(-200_000_000, 200_000_000), st.floats(0.001, 40))
@settings(max_examples=150, deadline=None)
def test_windows_begin_where_the_clock_of_the_naive_twin_says(
    change: str, step: str, away_ms: int, windows: float
) -> None:
    zone_name, day = CHANGES[change]
    zone = ZoneInfo(zone_name)
    from_ms = to_ms(datetime.fromisoformat(day).replace(tzinfo=UTC)) + away_ms
    until_ms = from_ms + 1 + min(int(windows * step_of(step).least_s), SPAN_S_MAX) * 1000
    found = window_starts(step_of(step), zone, from_ms, until_ms).tolist()
    assert found == naive_windows.window_starts(step, zone, from_ms, until_ms)
    assert found[0] <= from_ms < found[1]
    assert found[-2] < until_ms <= found[-1]


@pytest.mark.parametrize(
    ("step", "zone", "starts"),
    [
        # Seven minutes don't divide an hour: the grid runs on over hours and days, and is cut by the change.
        ("PT7M", "Europe/Zurich", ["2025-10-26T00:53:00Z", "2025-10-26T01:00:00Z", "2025-10-26T01:04:00Z"]),
        ("PT90M", "UTC", ["2025-10-26T00:00:00Z", "2025-10-26T01:30:00Z"]),
        # The clock shows 00:00, 01:30 and 03:00, the last of them an hour later.
        ("PT90M", "Europe/Zurich", ["2025-10-25T23:30:00Z", "2025-10-26T02:00:00Z"]),
        ("PT36H", "Europe/Zurich", ["2025-10-25T10:00:00Z", "2025-10-26T23:00:00Z"]),
        ("P2D", "Europe/Zurich", ["2025-10-25T22:00:00Z", "2025-10-27T23:00:00Z"]),
        ("P2W", "Europe/Zurich", ["2025-10-19T22:00:00Z", "2025-11-02T23:00:00Z"]),
        ("P3M", "Europe/Zurich", ["2025-09-30T22:00:00Z", "2025-12-31T23:00:00Z"]),
        ("P6M", "UTC", ["2025-07-01T00:00:00Z", "2026-01-01T00:00:00Z"]),
        ("P5M", "UTC", ["2025-06-01T00:00:00Z", "2025-11-01T00:00:00Z"]),
    ],
)
def test_known_windows(step: str, zone: str, starts: list[str]) -> None:
    moment_ms = to_ms(datetime(2025, 10, 26, 0, 59, tzinfo=UTC))
    until_ms = moment_ms + (120_000 if len(starts) > 2 else 1)
    found = window_starts(step_of(step), ZoneInfo(zone), moment_ms, until_ms)
    assert found.tolist() == [to_ms(datetime.fromisoformat(one)) for one in starts]


@given(st.sampled_from(sorted(CHANGES)), st.integers(1, 40), st.booleans())
@settings(max_examples=100, deadline=None)
def test_calendar_windows_are_whole_days_in_every_zone(change: str, length: int, is_of_months: bool) -> None:
    zone_name, day = CHANGES[change]
    zone, middle = ZoneInfo(zone_name), datetime.fromisoformat(day).replace(tzinfo=UTC)
    step = step_of(f"P{length % 12 + 1}M" if is_of_months else f"P{length}D")
    from_ms, until_ms = (to_ms(middle + sign * timedelta(days=100)) for sign in (-1, 1))
    found = calendar_windows(step, zone, from_ms, until_ms)
    starts_ms = window_starts(step, zone, from_ms, until_ms)
    assert [one.starts_ms for one in found] == [
        start for start in starts_ms[:-1].tolist() if start >= from_ms
    ]
    for one, after in pairwise(found):
        # Between them lies nothing but a day that the zone skips.
        between = (one.behind + timedelta(days=n) for n in range((after.first - one.behind).days))
        assert all(begins == ends for begins, ends in (day_bounds(day, zone) for day in between))
        begins = [
            day_bounds(one.first + timedelta(days=n), zone)[0] for n in range((one.behind - one.first).days)
        ]
        assert min(begins) == one.starts_ms
        assert max(begins) <= after.starts_ms


def test_day_that_a_zone_skips_has_no_window() -> None:
    from_ms, until_ms = (to_ms(datetime(2011, 12, day, 12, tzinfo=UTC)) for day in (28, 31))
    found = calendar_windows(step_of("P1D"), ZoneInfo("Pacific/Apia"), from_ms, until_ms)
    assert [one.first for one in found] == [date(2011, 12, 29), date(2011, 12, 31), date(2012, 1, 1)]


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("PT0S", "PT1S"),
        ("P0D", "PT1S"),
        ("P13M", "P1Y"),
        ("P1Y1M", "P1Y"),
        ("P367D", "P1Y"),
        ("PT8784H1S", "P1Y"),
        ("P999999999Y", "P1Y"),
        ("P1M2D", None),
        ("P1YT1H", None),
        ("P", None),
        ("PT", None),
        ("P1DT", None),
        ("PT1.5H", None),
        ("PT1H1D", None),
        ("-PT1H", None),
        ("pt1h", None),
        ("PT1H ", None),
        ("PT\u0661H", None),
        ("PT" + "9" * 5000 + "S", None),
    ],
)
def test_what_is_no_step_is_refused(text: str, limit: str | None) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        step_of(text)
    assert (refused.value.field, refused.value.limit) == ("step", limit)


@given(steps)
def test_text_of_a_step_is_the_same_step(step: str) -> None:
    assert step_of(step_of(step).text) == step_of(step)
