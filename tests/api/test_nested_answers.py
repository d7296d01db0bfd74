"""Nested answers as rows: CSV and Arrow hold every value that JSON holds, and no spreadsheet runs any."""

import csv
import io
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
import pyarrow as pa
import pytest

from api import flat
from api.alerts.schemas import STATISTICS_COLUMNS
from api.database_access import DatabaseAccess
from api.flat import Kind
from api.live_aggregates.schemas import COLUMNS
from api.trends.schemas import analysis_columns
from domain.clock import to_ms
from tests.running import running_api

ARROW = "application/vnd.apache.arrow.stream"
Path = tuple[str | int, ...]


@pytest.fixture(scope="module")
def client(database: DatabaseAccess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Of a tenant whose names a spreadsheet would run, with an alert on one of its packs."""
    with (
        running_api(database, tmp_path_factory.mktemp("data")) as api,
        api.client(api.tenant("nested")) as client,
    ):
        client.post("/v1/sites", json={"name": "=S", "zone": "UTC"}).raise_for_status()
        for pack, site in (("@P", "=S"), ("-P,2", None)):
            client.post("/v1/packs", json={"pack": pack, "site": site}).raise_for_status()
        rule = {
            "name": "+hot", "scope": {"kind": "tenant"}, "severity": "critical",
            "condition": {"kind": "threshold", "measure": "temperature_c", "side": "above", "limit": 50, "clear_limit": 45, "duration_s": 0},
        }  # fmt: skip
        client.post("/v1/rules", json=rule).raise_for_status()
        now = datetime.now(UTC)
        sent = [
            {
                "pack": "@P",
                "ts": (now - timedelta(seconds=10 * (number - 1))).isoformat(),
                "temperature_c": 53.25 if number == 1 else -5,
                "state_of_charge_pct": 40 + number,
                "cell_voltage_min_v": 3.5,
            }
            for number in range(20, 0, -1)
        ]
        client.post("/v1/telemetry", json=sent).raise_for_status()
        yield client


def span() -> dict[str, str]:
    now = datetime.now(UTC)
    return {"from": (now - timedelta(hours=1)).isoformat(), "to": (now + timedelta(minutes=1)).isoformat()}


def live(answer: dict[str, Any]) -> list[dict[str, Any]]:
    head = {name: value for name, value in answer.items() if name != "items"}
    return [head | item for item in answer["items"]]


def statistics(answer: dict[str, Any]) -> list[dict[str, Any]]:
    head = {name: answer[name] for name in ("from", "to", "by", "more")}
    return [
        head | {"is_total": True, "key": None, "id": None} | answer["total"],
        *(head | {"is_total": False} | group for group in answer["groups"]),
    ]


def alone(answer: dict[str, Any]) -> list[dict[str, Any]]:
    return [answer]


ANSWERS: dict[str, Any] = {
    "live by site": ("/v1/aggregates/live", {"by": "site"}, COLUMNS, live),
    "live by state": ("/v1/aggregates/live", {"by": "state"}, COLUMNS, live),
    "statistics by pack": ("/v1/alerts/statistics", {"by": "pack"}, STATISTICS_COLUMNS, statistics),
    "statistics by severity": ("/v1/alerts/statistics", {"by": "severity"}, STATISTICS_COLUMNS, statistics),
    "analysis": (
        "/v1/trends/analysis",
        {"pack": "@P", "measure": "temperature_c", "threshold": 50, "direction": "above"},
        analysis_columns("°C"),
        alone,
    ),
    "analysis without threshold": (
        "/v1/trends/analysis",
        {"pack": "@P", "measure": "state_of_charge_pct"},
        analysis_columns("%"),
        alone,
    ),
    "analysis of nothing": (
        "/v1/trends/analysis",
        {"pack": "-P,2", "measure": "voltage_v"},
        analysis_columns("V"),
        alone,
    ),
}


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    inner = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    )
    if inner is None:
        yield path, value
    else:
        for part, one in inner:
            yield from leaves(one, (*path, part))


def read(
    client: httpx.Client, name: str
) -> tuple[list[dict[str, Any]], Sequence[flat.Field], pa.Table, list[dict[str, str]]]:
    path, params, fields, rows_of = ANSWERS[name]
    asked = params if path.endswith("live") else params | span()
    while True:
        told = client.get(path, params=asked).raise_for_status().json()
        arrow = client.get(path, params=asked, headers={"Accept": ARROW}).raise_for_status()
        text = client.get(path, params=asked, headers={"Accept": "text/csv"}).raise_for_status().text
        # What is live moves on with the second.
        if client.get(path, params=asked).json() == told:
            break
    table = pa.ipc.open_stream(arrow.content).read_all()
    return rows_of(told), fields, table, list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("name", ANSWERS)
def test_every_value_of_json_is_a_cell_of_arrow_and_of_csv(client: httpx.Client, name: str) -> None:
    records, fields, arrow, table = read(client, name)
    known = {field.path: field for field in fields}
    assert arrow.column_names == [field.name for field in fields]
    assert len(set(arrow.column_names)) == len(fields)
    assert len(arrow) == len(table) == len(records) > 0
    for record, row, cells in zip(records, arrow.to_pylist(), table, strict=True):
        seen = set()
        for path, value in leaves(record):
            if value is None and path not in known:
                # A part that isn't there has empty columns.
                inner = [field for field in fields if field.path[: len(path)] == path]
                assert inner
                assert {row[field.name] for field in inner} == {None}
                seen |= {field.path for field in inner}
                continue
            field = known[path]
            seen.add(path)
            cell, told = cells[field.name], row[field.name]
            if value is None:
                assert (told, cell) == (None, "")
            elif field.kind is Kind.MOMENT:
                expected = datetime.fromisoformat(value)
                assert to_ms(told) == to_ms(expected) == to_ms(datetime.fromisoformat(cell))
            elif field.kind is Kind.TEXT:
                assert told == value
                assert cell == (f"'{value}" if value[0] in "=+-@" else value)
            elif field.kind is Kind.FLAG:
                assert (told, cell) == (value, str(value).lower())
            else:
                assert told == value == float(cell)
        assert seen == set(known)


@pytest.mark.parametrize("name", ANSWERS)
def test_numbers_have_units_and_their_types(client: httpx.Client, name: str) -> None:
    _, fields, arrow, _ = read(client, name)
    units = orjson.loads(arrow.schema.metadata[b"units"])
    numbers = {field.name for field in fields if field.kind in (Kind.WHOLE, Kind.NUMBER)}
    assert set(units) == numbers
    assert all(units.values())
    for field in fields:
        assert arrow.schema.field(field.name).type == field.kind.value[1]


def test_units_are_those_of_what_is_told(client: httpx.Client) -> None:
    units = {
        name: orjson.loads(read(client, name)[2].schema.metadata[b"units"])
        for name in ("live by site", "analysis")
    }
    live_units, analysis_units = units["live by site"], units["analysis"]
    assert (live_units["packs_silent"], live_units["readings_per_s"]) == ("1", "1/s")
    assert (live_units["state_of_charge_pct_p95"], live_units["state_of_charge_pct_histogram_40_packs"]) == (
        "%",
        "1",
    )
    assert (live_units["cell_voltage_v_min_value"], live_units["clock_skew_s_p50"]) == ("V", "s")
    assert (analysis_units["least_squares_slope_per_day"], analysis_units["threshold_value"]) == (
        "°C/d",
        "°C",
    )


def test_histogram_is_told_by_the_lower_ends_of_its_buckets(client: httpx.Client) -> None:
    _, _, arrow, _ = read(client, "live by site")
    by_site = {row["group"]: row for row in arrow.to_pylist()}
    filled = [
        name
        for name, value in by_site["=S"].items()
        if "histogram" in name and name.endswith("packs") and value
    ]
    assert filled == ["state_of_charge_pct_histogram_40_packs"]
    assert by_site["=S"]["open_alerts_critical"] == 1


def test_tables_without_rows_have_their_columns() -> None:
    columns = flat.columns_of([], COLUMNS)
    assert [str(column.values.dtype) for column in columns.values()][:3] == ["object", "int64", "int64"]
    assert all(len(column.values) == 0 for column in columns.values())
