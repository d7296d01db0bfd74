"""Windows over HTTP: every answer equals a recount of the readings, in any zone and format, counted or not."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.csv
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.database_access import DatabaseAccess
from domain.clock import to_ms
from domain.measures import MEASURE_NAMES
from domain.windows import step_of
from tests.naive_windows import Reading, recount
from tests.running import RunningApi, running_api

ARROW = "application/vnd.apache.arrow.stream"
WAIT_S = 60.0


def upload(api: RunningApi, tenant: str, pack: str, readings: list[Reading]) -> None:
    with api.client(tenant) as client:
        import_id = client.post("/v1/imports", json={"source": "test"}).raise_for_status().json()["id"]
        for start in range(0, len(readings), 10_000):
            part = [
                {"pack": pack, "ts": ts_ms}
                | {name: value for name, value in values.items() if value is not None}
                for ts_ms, values in readings[start : start + 10_000]
            ]
            receipt = client.post("/v1/telemetry", json=part, params={"import": import_id}).json()
            assert receipt["accepted"] == len(part), receipt


def some_readings(seed: int, starts: datetime, ends: datetime, seconds: float) -> list[Reading]:
    random = np.random.default_rng(seed)
    ts_ms, found = int(starts.timestamp() * 1000), []
    while ts_ms < ends.timestamp() * 1000:
        values = {
            name: round(float(random.uniform(low, high)), 3) if random.random() < 0.9 else None
            for name, (low, high) in {
                "voltage_v": (300, 400),
                "current_a": (-99, 99),
                "temperature_c": (-5, 40),
            }.items()
        }
        if any(value is not None for value in values.values()):
            found.append((ts_ms, values))
        ts_ms += int(random.exponential(seconds) * 1000) + 1
        if random.random() < 0.01:
            ts_ms += 3_000_000
    return found


def asked(
    client: httpx.Client, pack: str, step: str, zone: str, starts: datetime, ends: datetime
) -> dict[str, Any]:
    answer = client.get(
        "/v1/aggregates",
        params={
            "pack": pack, "measure": ["voltage_v", "current_a", "temperature_c"], "step": step, "zone": zone,
            "from": starts.isoformat(), "to": ends.isoformat(),
        },
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["columns"]
    return found


def assert_equal_to_recount(
    columns: dict[str, Any], readings: list[Reading], step: str, zone: str, starts: datetime, ends: datetime
) -> None:
    expected = recount(readings, step, ZoneInfo(zone), starts, ends)
    assert columns["ts"] == sorted(columns["ts"])
    filled = {
        ts: {name: values[place] for name, values in columns.items() if name != "ts"}
        for place, ts in enumerate(columns["ts"])
        if columns["covered_s"][place]
        or any(columns[f"{name}_count"][place] for name in ("voltage_v", "current_a", "temperature_c"))
    }
    assert sorted(filled) == sorted(expected)
    for ts, window in expected.items():
        for name, value in window.items():
            if value is None or name.endswith(("_count", "_ts", "_min", "_max", "_first", "_last")):
                assert filled[ts][name] == value, (ts, name)
            else:
                assert filled[ts][name] == pytest.approx(value, rel=1e-9, abs=1e-9), (ts, name)


DST = {
    "Europe/Zurich, clocks forward": ("Europe/Zurich", "2026-03-28", "2026-03-31"),
    "Europe/Zurich, clocks back": ("Europe/Zurich", "2025-10-25", "2025-10-28"),
    "Europe/Zurich, year's end": ("Europe/Zurich", "2025-12-30", "2026-01-02"),
    "Asia/Kolkata": ("Asia/Kolkata", "2025-12-30", "2026-01-02"),
    "Asia/Kathmandu": ("Asia/Kathmandu", "2025-12-30", "2026-01-02"),
    "Pacific/Chatham, clocks back": ("Pacific/Chatham", "2026-04-04", "2026-04-07"),
    "Pacific/Chatham, clocks forward": ("Pacific/Chatham", "2025-09-27", "2025-09-29"),
    "Australia/Lord_Howe, clocks back": ("Australia/Lord_Howe", "2026-04-04", "2026-04-06"),
    "Australia/Lord_Howe, clocks forward": ("Australia/Lord_Howe", "2025-10-04", "2025-10-06"),
    "Antarctica/Troll, clocks back": ("Antarctica/Troll", "2025-10-25", "2025-10-27"),
}


STEPS = (
    *("P1D", "PT6H", "PT1H", "PT15M", "PT5M", "P1W", "P1M"),
    *("PT7M", "PT20M", "PT45M", "PT90M", "PT3607S", "PT36H", "P2D", "P2W", "P3M"),
)


@pytest.fixture(scope="module")
def api(database: DatabaseAccess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    """A running API that looks often for what is to be counted."""
    with running_api(database, tmp_path_factory.mktemp("data"), count_wait_s=0.05) as running:
        yield running


def span_of(case: str) -> tuple[datetime, datetime]:
    zone, first, behind = DST[case]
    starts, ends = (datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone)) for day in (first, behind))
    return starts, ends


@dataclass(frozen=True)
class Case:
    """A pack's readings, and its windows by step as they were answered before and after counting."""

    readings: list[Reading]
    before: dict[str, Any]
    after: dict[str, Any]


@pytest.fixture(scope="module")
def cases(api: RunningApi) -> dict[str, Case]:
    """A pack for each zone; nothing is counted while the first answers are given."""
    tenant = api.tenant("zones")
    packs = {case: f"P{number}" for number, case in enumerate(DST)}
    readings = {}

    def answered(client: httpx.Client) -> dict[str, dict[str, Any]]:
        return {
            case: {step: asked(client, pack, step, DST[case][0], *span_of(case)) for step in STEPS}
            for case, pack in packs.items()
        }

    with api.client(tenant) as client, psycopg.connect(api.access.admin) as counter_waits:
        counter_waits.execute("SELECT FROM bpm.window_marks FOR UPDATE")
        for case, pack in packs.items():
            starts, ends = span_of(case)
            readings[case] = some_readings(1, starts - timedelta(hours=5), ends + timedelta(hours=5), 240)
            upload(api, tenant, pack, readings[case])
        before = answered(client)
        counter_waits.rollback()
        assert api.engine.counter.wait_until_counted(WAIT_S), api.engine.counter.trouble
        after = answered(client)
    return {case: Case(readings[case], before[case], after[case]) for case in DST}


@pytest.mark.parametrize("case", DST)
def test_e16_days_and_shorter_windows_of_a_zone_equal_a_naive_recount(
    cases: dict[str, Case], case: str
) -> None:
    found = cases[case]
    for step in STEPS:
        assert_equal_to_recount(found.after[step], found.readings, step, DST[case][0], *span_of(case))
        # From readings, quarter-hours or stored days: the same to the last bit.
        assert found.before[step] == found.after[step]


seconds = st.integers(60, 3_700).map("PT{}S".format)
quarters = st.integers(1, 200).map(lambda number: f"PT{15 * number}M")
minutes = st.integers(1, 5_000).map("PT{}M".format)
longer = st.one_of(
    st.integers(1, 300).map("PT{}H".format),
    st.integers(1, 60).map("P{}D".format),
    st.integers(1, 12).map("P{}M".format),
)


@given(
    st.sampled_from(sorted(DST)),
    st.one_of(seconds, quarters, minutes, longer),
    st.floats(0, 1, exclude_max=True),
    st.floats(0.01, 1),
)
@settings(max_examples=60, deadline=None)
def test_e16_windows_of_any_step_in_any_part_of_a_range_equal_a_naive_recount(
    api: RunningApi, cases: dict[str, Case], case: str, step: str, begin: float, share: float
) -> None:
    starts, ends = span_of(case)
    starts += timedelta(milliseconds=int((ends - starts) / timedelta(milliseconds=1) * begin))
    ends = starts + (ends - starts) * share + timedelta(milliseconds=1)
    # A naive recount of a window takes a while: at most 300 of them.
    ends = min(ends, starts + timedelta(seconds=300 * step_of(step).least_s))
    ends = ends.replace(microsecond=ends.microsecond // 1000 * 1000)
    number = list(DST).index(case)
    with api.client("zones") as client:
        columns = asked(client, f"P{number}", step, DST[case][0], starts, ends)
    assert_equal_to_recount(columns, cases[case].readings, step, DST[case][0], starts, ends)


def test_e16_long_windows_that_cut_quarter_hours_are_the_same_before_and_after_counting(
    api: RunningApi,
) -> None:
    tenant = api.tenant("long")
    starts = datetime(2026, 1, 1, tzinfo=UTC)
    ends = starts + timedelta(days=80)
    step, random = "PT900H7M", np.random.default_rng(5)
    # No quarter-hour without readings: a month in milliseconds doesn't fit into 32 bits.
    readings: list[Reading] = [
        (to_ms(starts) + 800_000 * place, {"voltage_v": voltage_v, "current_a": 1.0, "temperature_c": 20.0})
        for place, voltage_v in enumerate(random.integers(300, 400, 80 * 108).tolist())
    ]
    with api.client(tenant) as client, psycopg.connect(api.access.admin) as counter_waits:
        counter_waits.execute("SELECT FROM bpm.window_marks FOR UPDATE")
        upload(api, tenant, "P", readings)
        before = asked(client, "P", step, "UTC", starts, ends)
        counter_waits.rollback()
        assert api.engine.counter.wait_until_counted(WAIT_S), api.engine.counter.trouble
        after = asked(client, "P", step, "UTC", starts, ends)
    assert before == after
    assert_equal_to_recount(after, readings, step, "UTC", starts, ends)


def test_range_that_cuts_windows_leaves_out_what_is_outside(api: RunningApi) -> None:
    tenant = api.tenant("cut")
    starts = datetime(2026, 2, 3, 10, 7, 31, 5000, tzinfo=UTC)
    ends = starts + timedelta(hours=7, minutes=4, milliseconds=77)
    readings = some_readings(2, starts - timedelta(hours=1), ends + timedelta(hours=1), 100)
    upload(api, tenant, "P", readings)
    assert api.engine.counter.wait_until_counted(WAIT_S)
    with api.client(tenant) as client:
        for step in ("PT1H", "PT15M", "PT1M", "P1D", "P1Y"):
            columns = asked(client, "P", step, "UTC", starts, ends)
            assert_equal_to_recount(columns, readings, step, "UTC", starts, ends)


def test_live_readings_of_the_open_quarter_are_in_the_answer(api: RunningApi) -> None:
    tenant = api.tenant("open")
    now = datetime.now(UTC).replace(microsecond=0)
    with api.client(tenant) as client:
        sent = [
            {
                "pack": "P",
                "ts": (now - timedelta(seconds=30 * n)).isoformat(),
                "voltage_v": 300 + n,
                "current_a": -5,
            }
            for n in range(40)
        ]
        assert client.post("/v1/telemetry", json=sent).json()["accepted"] == 40
        columns = asked(client, "P", "P1Y", "UTC", now - timedelta(days=300), now + timedelta(seconds=1))
    assert sum(columns["voltage_v_count"]) == 40
    assert sum(value or 0 for value in columns["discharged_ah"]) == pytest.approx(5 * 39 * 30 / 3600)


def test_formats_hold_the_same_numbers(api: RunningApi) -> None:
    tenant = api.tenant("formats")
    starts = datetime(2026, 1, 5, tzinfo=UTC)
    for pack in ("A", 'B,"quoted"'):
        upload(api, tenant, pack, some_readings(3, starts, starts + timedelta(hours=5), 90))
    params = {
        "measure": "voltage_v", "step": "PT1H", "from": starts.isoformat(), "to": (starts + timedelta(hours=8)).isoformat(),
    }  # fmt: skip
    with api.client(tenant) as client:
        for packs in (["A"], ["A", 'B,"quoted"']):
            told = {
                accept: client.get(
                    "/v1/aggregates", params=params | {"pack": packs}, headers={"Accept": accept}
                )
                for accept in ("application/json", "text/csv", ARROW)
            }
            assert {answer.status_code for answer in told.values()} == {200}, told["text/csv"].text
            body = told["application/json"].json()
            series = [body] if len(packs) == 1 else body["items"]
            assert [one["pack"] for one in series] == packs
            arrow = pa.ipc.open_stream(told[ARROW].content).read_all()
            csv = pa.csv.read_csv(io.BytesIO(told["text/csv"].content))
            assert csv.column_names == arrow.column_names
            for name in series[0]["columns"]:
                expected = [value for one in series for value in one["columns"][name]]
                column = arrow.column(name)
                if name.endswith("ts"):
                    assert column.cast(pa.int64()).to_pylist() == expected
                else:
                    assert column.to_pylist() == expected
                    assert csv.column(name).to_pylist() == expected
            assert series[0]["columns"]["voltage_v_mean"][-1] is None
            assert series[0]["columns"]["voltage_v_count"][-1] == 0
            assert series[0]["units"]["voltage_v_mean"] == "V"


@pytest.mark.parametrize(
    ("change", "field", "limit"),
    [
        ({"step": "seven"}, "step", None),
        ({"step": "P1M2D"}, "step", None),
        ({"step": "PT0S"}, "step", "PT1S"),
        ({"step": "P13M"}, "step", "P1Y"),
        ({"step": "P1D", "zone": "Mars/Olympus"}, "zone", None),
        ({"zone": "../../etc/passwd"}, "zone", None),
        ({"zone": "Factory"}, "zone", None),
        ({"zone": "localtime"}, "zone", None),
        ({"measure": "colour"}, "measure", None),
        ({"to": "2026-01-01T00:00:00Z"}, "to", None),
        ({"from": "0001-01-01T00:00:00Z"}, "from", 2261),
        ({"to": "9999-12-31T23:59:59Z"}, "to", 2261),
        ({"step": "PT1S", "to": "2027-01-01T00:00:00Z"}, "step", "PT10M"),
        ({"step": "PT1S", "to": "2026-01-02T04:00:00Z"}, "step", "PT2S"),
        ({"step": "PT2S", "to": "2026-01-03T12:00:00Z"}, "step", "PT5S"),
        ({"step": "PT15M", "to": "2100-01-01T00:00:00Z"}, "step", "PT8H"),
        ({"group": "all", "step": "P1D"}, "group", None),
        ({"pack": []}, "pack", None),
    ],
)
def test_wrong_parameters_are_named(api: RunningApi, change: dict[str, Any], field: str, limit: Any) -> None:
    tenant = api.tenant("wrong")
    given = {
        "pack": "P", "measure": "voltage_v", "step": "PT15M", "from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z",
    }  # fmt: skip
    with api.client(tenant) as client:
        client.post("/v1/packs", json={"pack": "P"})
        answer = client.get("/v1/aggregates", params=given | change)
    assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text
    assert answer.json().get("limit") == limit


def test_unknown_pack_is_absent(api: RunningApi) -> None:
    tenant = api.tenant("absent")
    given = {
        "pack": "P",
        "measure": "voltage_v",
        "step": "P1D",
        "from": "2026-01-01T00:00:00Z",
        "to": "2026-01-02T00:00:00Z",
    }
    with api.client(tenant) as client:
        assert client.get("/v1/aggregates", params=given).status_code == 404


READINGS_MAX = 100


@pytest.fixture(scope="module")
def frugal(second_database: DatabaseAccess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    """A running API that reads few readings for an answer."""
    with running_api(
        second_database,
        tmp_path_factory.mktemp("frugal"),
        count_wait_s=0.05,
        aggregate_readings_max=READINGS_MAX,
    ) as running:
        yield running


def test_short_steps_over_too_many_readings_answer_the_smallest_step_that_fits(frugal: RunningApi) -> None:
    tenant = frugal.tenant("budget")
    starts = datetime(2026, 1, 5, tzinfo=UTC)
    readings = some_readings(4, starts, starts + timedelta(hours=5), 60)
    assert len(readings) > READINGS_MAX
    upload(frugal, tenant, "P", readings)
    assert frugal.engine.counter.wait_until_counted(WAIT_S)
    given = {
        "pack": "P",
        "measure": "voltage_v",
        "from": starts.isoformat(),
        "to": (starts + timedelta(hours=5)).isoformat(),
    }
    with frugal.client(tenant) as client:
        refused = client.get("/v1/aggregates", params=given | {"step": "PT1M"})
        fits = client.get("/v1/aggregates", params=given | {"step": refused.json()["limit"]})
    assert (refused.status_code, refused.json()["field"], refused.json()["limit"]) == (422, "step", "PT15M")
    assert fits.status_code == 200
    assert sum(fits.json()["columns"]["voltage_v_count"]) == sum(
        v["voltage_v"] is not None for _, v in readings
    )


def test_steps_of_quarters_read_no_reading_and_others_those_of_quarters_that_they_cut(
    frugal: RunningApi,
) -> None:
    tenant = frugal.tenant("folds")
    starts = datetime(2026, 1, 5, tzinfo=UTC)
    readings = some_readings(6, starts, starts + timedelta(hours=40), 60)
    upload(frugal, tenant, "P", readings)
    assert frugal.engine.counter.wait_until_counted(WAIT_S)
    ends = starts + timedelta(hours=40)
    with frugal.client(tenant) as client:
        # The last one cuts a few quarter-hours: of these, less than a hundred readings are read.
        for step in ("PT45M", "PT90M", "PT105M", "PT36H", "P5D", "P2M", "PT19H1M"):
            columns = asked(client, "P", step, "UTC", starts, ends)
            assert_equal_to_recount(columns, readings, step, "UTC", starts, ends)
        given = {"pack": "P", "measure": "voltage_v", "from": starts.isoformat(), "to": ends.isoformat()}
        refused = {
            step: client.get("/v1/aggregates", params=given | {"step": step}).json()
            for step in ("PT20M", "PT50M", "PT3H1M")
        }
    told = {step: (one["status"], one["field"], one["limit"]) for step, one in refused.items()}
    assert told == {
        "PT20M": (422, "step", "PT30M"),
        "PT50M": (422, "step", "PT1H"),
        "PT3H1M": (422, "step", "PT4H"),
    }


@pytest.mark.parametrize("asks", [{"pack": "P", "step": "PT1H"}, {"group": "all", "step": "P1D"}])
def test_range_with_too_many_uncounted_readings_is_refused_with_the_limit(
    frugal: RunningApi, asks: dict[str, str]
) -> None:
    tenant = frugal.tenant(f"uncounted-{asks['step'].lower()}")
    starts = datetime(2026, 1, 5, tzinfo=UTC)
    given = {"measure": "voltage_v", "from": starts.isoformat(), "to": "2026-01-08T00:00:00Z"}
    with frugal.client(tenant) as client, psycopg.connect(frugal.access.admin) as counter_waits:
        counter_waits.execute("SELECT FROM bpm.window_marks FOR UPDATE")
        upload(frugal, tenant, "P", some_readings(4, starts, starts + timedelta(hours=5), 60))
        refused = client.get("/v1/aggregates", params=given | asks)
        assert (refused.status_code, refused.json()["field"]) == (422, "to"), refused.text
        assert refused.json()["limit"] == READINGS_MAX
        counter_waits.rollback()
        assert frugal.engine.counter.wait_until_counted(WAIT_S)
        assert client.get("/v1/aggregates", params=given | asks).status_code == 200


def test_names_of_all_measures_are_columns(api: RunningApi) -> None:
    tenant = api.tenant("names")
    with api.client(tenant) as client:
        client.post("/v1/packs", json={"pack": "P"}).raise_for_status()
        given = {
            "pack": "P",
            "measure": list(MEASURE_NAMES),
            "step": "P1D",
            "from": "2026-01-01T00:00:00Z",
            "to": "2026-01-03T00:00:00Z",
        }
        answer = client.get("/v1/aggregates", params=given).json()
    assert len(answer["columns"]) == 1 + 11 * len(MEASURE_NAMES) + 5
    assert set(answer["columns"]) == set(answer["units"])
    assert answer["columns"]["charged_ah"] == [None, None]
