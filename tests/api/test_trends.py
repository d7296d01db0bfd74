"""Trends over HTTP: points, windows, several packs, groups and bands."""

import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import numpy as np
import orjson
import psycopg
import pyarrow as pa
import pyarrow.csv
import pytest

from api.client import sending
from api.database_access import DatabaseAccess
from api.series import CHUNK_ROWS
from domain.clock import to_ms
from tests.api.test_aggregates import some_readings, upload
from tests.kernels import naive_downsample
from tests.naive_windows import Reading
from tests.running import RunningApi, running_api

WAIT_S = 60.0
RAW_MAX = 2_000
START = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
MEASURES = ["voltage_v", "current_a"]


@pytest.fixture(scope="module")
def api(database: DatabaseAccess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    """A running API that chooses points from windows where there are more than a few readings."""
    with running_api(
        database, tmp_path_factory.mktemp("data"), count_wait_s=0.05, trend_raw_readings_max=RAW_MAX
    ) as running:
        yield running


def get(client: httpx.Client, days: float, **more: Any) -> dict[str, Any]:
    asked = {"measure": MEASURES, "from": START.isoformat(), "to": (START + timedelta(days=days)).isoformat()}
    answer = client.get("/v1/trends", params=asked | more)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def points_of(told: dict[str, Any], measure: str) -> list[tuple[int, float]]:
    columns = told["columns"]
    return [
        (ts_ms, value)
        for ts_ms, value in zip(columns["ts"], columns[measure], strict=True)
        if value is not None
    ]


def naive_rows(readings: list[Reading], points: int, method: str) -> list[Reading]:
    """The readings that are chosen for any measure, of readings in order of time."""
    chosen: set[int] = set()
    for measure in MEASURES:
        rows = [place for place, (_, values) in enumerate(readings) if values.get(measure) is not None]
        line = [(readings[row][0], round((readings[row][1][measure] or 0) * 1000)) for row in rows]
        found = (
            naive_downsample.lttb(line, points)
            if method == "lttb"
            else naive_downsample.min_max([value for _, value in line], points)
        )
        chosen |= {rows[place] for place in found}
    return [readings[place] for place in sorted(chosen)]


@pytest.mark.parametrize("method", ["lttb", "min_max"])
def test_points_of_several_packs_are_those_of_the_naive_twin_with_all_their_values(
    api: RunningApi, method: str
) -> None:
    tenant = api.tenant(f"points-{method}")
    packs = {f"P-{seed}": some_readings(seed, START, START + timedelta(hours=5), 60) for seed in (1, 2)}
    for pack, readings in packs.items():
        upload(api, tenant, pack, readings)
    with api.client(tenant) as client:
        told = get(client, 1, pack=list(packs), points=40, method=method)
    assert [item["pack"] for item in told["items"]] == list(packs)
    for item, readings in zip(told["items"], packs.values(), strict=True):
        expected = naive_rows(
            [one for one in readings if any(one[1][name] is not None for name in MEASURES)], 40, method
        )
        assert item["columns"]["ts"] == [ts_ms for ts_ms, _ in expected]
        for measure in MEASURES:
            assert item["columns"][measure] == [values[measure] for _, values in expected]
            assert item["readings"][measure] == sum(values[measure] is not None for _, values in readings)
        assert (item["source"], item["method"]) == ("readings", method)


def test_as_many_points_as_readings_are_every_reading(api: RunningApi) -> None:
    tenant = api.tenant("all-points")
    upload(api, tenant, "P", some_readings(3, START, START + timedelta(hours=1), 60))
    with api.client(tenant) as client:
        every, points = get(client, 1, pack="P"), get(client, 1, pack="P", points=5000)
    assert points["columns"] == every["columns"]
    assert set(every) == {"pack", "columns", "units"}


def test_points_of_a_pack_without_readings_are_none(api: RunningApi) -> None:
    tenant = api.tenant("no-points")
    with api.client(tenant) as client:
        client.post("/v1/packs", json={"pack": "P"}).raise_for_status()
        told = get(client, 1, pack="P", points=10)
    assert told["columns"] == {"ts": [], "voltage_v": [], "current_a": []}
    assert told["readings"] == {"voltage_v": 0, "current_a": 0}


@pytest.mark.parametrize("method", ["lttb", "min_max"])
def test_points_of_long_times_come_from_windows_and_lose_no_spike(api: RunningApi, method: str) -> None:
    tenant = api.tenant(f"windows-{method}")
    readings = some_readings(4, START, START + timedelta(days=3), 60)
    # One of the extremes came by itself, beside a reading of the same time.
    readings[1000] = (readings[1000][0], {"voltage_v": 999.125})
    assert len(readings) > RAW_MAX
    asked = {"pack": "P", "points": 100, "method": method}
    with api.client(tenant) as client, psycopg.connect(api.access.admin) as counter_waits:
        counter_waits.execute("SELECT FROM bpm.window_marks FOR UPDATE")
        upload(api, tenant, "P", readings)
        upload(api, tenant, "P", [(readings[1000][0], {"current_a": 12.5})])
        before = get(client, 10, **asked)
        counter_waits.rollback()
        assert api.engine.counter.wait_until_counted(WAIT_S)
        after = get(client, 10, **asked)
        every = get(client, 10, pack="P")
    assert before == after
    assert after["source"] == "windows"
    stored = {
        ts_ms: tuple(every["columns"][name][place] for name in MEASURES)
        for place, ts_ms in enumerate(every["columns"]["ts"])
    }
    for place, ts_ms in enumerate(after["columns"]["ts"]):
        assert stored[ts_ms] == tuple(after["columns"][name][place] for name in MEASURES)
    assert len(after["columns"]["ts"]) <= 100 * len(MEASURES)
    for measure in MEASURES:
        shown, line = points_of(after, measure), points_of(every, measure)
        assert after["readings"][measure] == len(line)
        assert (shown[0], shown[-1]) == (line[0], line[-1])
        if method == "min_max":
            values = [value for _, value in line]
            assert {min(values), max(values)} <= {value for _, value in shown}
    assert (readings[1000][0], 999.125) in points_of(after, "voltage_v")


@pytest.mark.parametrize("windows_max", [5, 20, 100])
def test_points_of_longer_windows_lose_no_spike_either(api: RunningApi, windows_max: int) -> None:
    tenant = api.tenant(f"longer-{windows_max}")
    readings = some_readings(7, START, START + timedelta(days=2, hours=20), 60)
    upload(api, tenant, "P", readings)
    assert api.engine.counter.wait_until_counted(WAIT_S)
    settings = api.engine.settings
    with api.client(tenant) as client:
        every = get(client, 10, pack="P")
        try:
            api.engine.settings = settings.model_copy(update={"aggregate_windows_max": windows_max})
            told = get(client, 10, pack="P", points=4, method="min_max")
        finally:
            api.engine.settings = settings
    for measure in MEASURES:
        shown, line = points_of(told, measure), points_of(every, measure)
        values = [value for _, value in line]
        assert set(shown) <= set(line)
        assert {min(values), max(values)} <= {value for _, value in shown}
    assert told["source"] == "windows"


def test_few_readings_over_a_long_time_are_taken_themselves(api: RunningApi) -> None:
    tenant = api.tenant("sparse")
    readings: list[Reading] = [
        (int((START + timedelta(days=day)).timestamp() * 1000), {"voltage_v": 300 + day, "current_a": None})
        for day in range(100)
    ]
    upload(api, tenant, "P", readings)
    with api.client(tenant) as client:
        told = get(client, 200, pack="P", points=20)
    assert told["source"] == "readings"
    assert len(told["columns"]["ts"]) == 20


def test_readings_of_several_packs_share_one_limit(api: RunningApi) -> None:
    tenant = api.tenant("limit")
    for pack in ("A", "B"):
        upload(api, tenant, pack, some_readings(5, START, START + timedelta(hours=1), 60))
    settings = api.engine.settings
    with api.client(tenant) as client:
        rows = sum(len(item["columns"]["ts"]) for item in get(client, 1, pack=["A", "B"])["items"])
        asked = {
            "pack": ["A", "B"],
            "measure": MEASURES,
            "from": START.isoformat(),
            "to": "2026-02-04T00:00:00Z",
        }
        try:
            api.engine.settings = settings.model_copy(update={"trend_points_max": rows - 1})
            refused = client.get("/v1/trends", params=asked)
            api.engine.settings = settings.model_copy(update={"trend_points_max": rows})
            assert client.get("/v1/trends", params=asked).status_code == 200
        finally:
            api.engine.settings = settings
    assert (refused.status_code, refused.json()["field"], refused.json()["limit"]) == (422, "to", rows - 1)


def test_windows_of_a_step_are_those_of_aggregates(api: RunningApi) -> None:
    tenant = api.tenant("steps")
    for pack in ("A", "B"):
        upload(api, tenant, pack, some_readings(6, START, START + timedelta(hours=30), 200))
    asked = {"pack": ["A", "B"], "step": "PT6H", "zone": "Asia/Kolkata"}
    with api.client(tenant) as client:
        told = get(client, 2, **asked)["items"]
        answer = client.get(
            "/v1/aggregates",
            params={
                "measure": MEASURES,
                "from": START.isoformat(),
                "to": (START + timedelta(days=2)).isoformat(),
            }
            | asked,
        )
    names = ["ts", *(f"{name}_{figure}" for name in MEASURES for figure in ("mean", "min", "max"))]
    for item, windows in zip(told, answer.json()["items"], strict=True):
        assert item["columns"] == {name: windows["columns"][name] for name in names}
        assert set(item["units"]) == set(names)


@pytest.fixture(scope="module")
def fleet(api: RunningApi) -> Iterator[httpx.Client]:
    """Packs A and B at the site Z, C elsewhere, A and C of the model M, D of neither; three days of readings."""
    tenant = api.tenant("fleet")
    with api.client(tenant) as client:
        for site in ("Z", "E"):
            client.post("/v1/sites", json={"name": site, "zone": "UTC"}).raise_for_status()
        model = {"name": "M", "chemistry": "LFP", "rated_capacity_ah": 1}
        client.post("/v1/models", json=model).raise_for_status()
        packs: list[dict[str, str]] = [
            {"pack": "A", "site": "Z", "model": "M"},
            {"pack": "B", "site": "Z"},
            {"pack": "C", "site": "E", "model": "M"},
            {"pack": "D"},
        ]
        for seed, pack in enumerate(packs):
            client.post("/v1/packs", json=pack).raise_for_status()
            upload(
                api, tenant, pack["pack"], some_readings(seed, START, START + timedelta(days=2, hours=9), 900)
            )
        yield client


BAND = {"from": "2026-02-02T12:00:00Z", "to": "2026-02-08T00:00:00Z", "measure": MEASURES, "step": "P1D"}


def test_group_gives_the_days_of_aggregates_with_and_without_a_step(fleet: httpx.Client) -> None:
    for group in ("all", "site:Z", "model:M"):
        asked = BAND | {"group": group}
        told = fleet.get("/v1/trends", params=asked).json()
        assert told == fleet.get("/v1/aggregates", params=asked).json()
        without_step = {name: value for name, value in asked.items() if name != "step"}
        assert told == fleet.get("/v1/trends", params=without_step).json()
    assert told["columns"]["packs"] == [2, 2, 2, None, None]


@pytest.mark.parametrize(
    ("band", "groups"),
    [
        ("site", ["site:Z", "site:Z", "site:E"]),
        ("model", ["model:M", "model:M"]),
        ("all", ["all"] * 4),
    ],
)
@pytest.mark.parametrize("step", ["P1D", "PT11H"])
def test_band_lies_beside_the_windows_of_each_pack(
    fleet: httpx.Client, band: str, groups: list[str], step: str
) -> None:
    packs = {"site": ["A", "B", "C"], "model": ["A", "C"], "all": ["A", "B", "C", "D"]}[band]
    told = fleet.get("/v1/trends", params=BAND | {"pack": packs, "band": band, "step": step}).json()["items"]
    assert [item["band"] for item in told] == groups
    for item in told:
        columns = item["columns"]
        asked = BAND | {"group": item["band"], "step": step}
        group = fleet.get("/v1/trends", params=asked).raise_for_status().json()["columns"]
        # The first window begins before the range: it is none of the group's.
        assert columns["ts"][1:] == group["ts"]
        assert columns["band_packs"] == [None, *group["packs"]]
        for measure in MEASURES:
            for rank in ("p5", "p50", "p95"):
                assert columns[f"{measure}_band_{rank}"] == [None, *group[f"{measure}_mean_{rank}"]]
        assert (item["units"]["band_packs"], item["units"]["voltage_v_band_p5"]) == ("1", "V")


def test_band_of_a_pack_without_site_is_refused(fleet: httpx.Client) -> None:
    refused = fleet.get("/v1/trends", params=BAND | {"pack": "D", "band": "site"})
    assert (refused.status_code, refused.json()["field"]) == (422, "band")


def test_long_answer_is_whole_and_its_points_come_from_readings_where_windows_are_too_few(
    api: RunningApi,
) -> None:
    tenant = api.tenant("long")
    ts_ms = int(START.timestamp() * 1000) + 1000 * np.arange(60_000)
    upload(api, tenant, "P", [(ts, {"voltage_v": 300.0}) for ts in ts_ms.tolist()])
    with api.client(tenant) as client:
        told = get(client, 1, pack="P", measure="voltage_v")
        points = get(client, 1, pack="P", measure="voltage_v", points=200)
    assert told["columns"]["ts"] == ts_ms.tolist()
    assert points["source"] == "readings", "the windows are too few to choose from"
    assert len(points["columns"]["ts"]) == 200


def test_long_series_is_streamed_whole_in_every_format(api: RunningApi) -> None:
    rows = 2 * CHUNK_ROWS + 1
    ts_ms = to_ms(START) + np.arange(rows, dtype=np.int64) * 1000
    volts = np.arange(rows) % 500
    with api.client(api.tenant("long")) as client:
        made = client.post("/v1/imports", json={"source": "a long series"}).json()["id"]
        sending.send_table(
            client,
            pa.table({"pack": ["P-1"] * rows, "ts": ts_ms, "voltage_v": volts.astype(np.float32)}),
            import_id=made,
        )
        asked = {
            "pack": "P-1",
            "measure": "voltage_v",
            "from": START.isoformat(),
            "to": (START + timedelta(days=3)).isoformat(),
        }

        def whole(kind: str) -> bytes:
            answer = client.get("/v1/trends", params=asked, headers={"Accept": kind})
            assert (answer.status_code, "content-length" in answer.headers) == (200, False)
            return answer.content

        columns = orjson.loads(whole("application/json"))["columns"]
        arrow = pa.ipc.open_stream(whole("application/vnd.apache.arrow.stream")).read_all()
        table = pa.csv.read_csv(io.BytesIO(whole("text/csv")))
    assert columns["ts"] == ts_ms.tolist()
    assert (
        columns["voltage_v"]
        == volts.tolist()
        == arrow["voltage_v"].to_pylist()
        == table["voltage_v"].to_pylist()
    )
