import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from domain.errors import DecodeError
from domain.measures import MEASURE_INDEX
from ingest.recorded import joined
from ingest.series import Series, load_series_map, parse_duration_ms

START = datetime(2026, 3, 1, tzinfo=UTC)
HEALTH = MEASURE_INDEX["state_of_health_pct"]
TIMED = "time: {column: t, format: FORMAT}\nmeasures: {voltage_v: {column: v}}\n"


def series_of(tmp_path: Path, table: str, map_text: str, start: datetime | None = None) -> Series:
    (tmp_path / "map.yaml").write_text(map_text)
    (tmp_path / "table.csv").write_text(table)
    return Series(tmp_path / "table.csv", load_series_map(tmp_path / "map.yaml"), start)


def test_nasa_capacities_are_a_health_a_day(shared_data, maps):
    folder = shared_data / "ageing_nasa_capacity"
    expected = json.loads((folder / "expected_share.json").read_text())["B0005"]
    readings = joined(
        Series(folder / "B0005.csv", load_series_map(maps / "nasa-discharge-capacity.yaml"), START).batches()
    )
    health = readings.values[HEALTH]
    assert len(readings) == expected["n_cycles"] == 168
    assert health[0] == pytest.approx(expected["soh_first_pct"], abs=5e-4)
    assert health[-1] == pytest.approx(expected["soh_last_pct"], abs=5e-4)
    assert (round(health[0], 3), round(health[-1], 3)) == (92.824, 66.254)
    np.testing.assert_array_equal(np.diff(readings.ts_ms), 86_400_000)
    assert readings.ts_ms[0] == START.timestamp() * 1000


def test_table_without_times_needs_a_start(tmp_path):
    map_text = "time: {every: PT15M}\nmeasures: {voltage_v: {column: v}}\n"
    with pytest.raises(DecodeError, match="--start") as raised:
        series_of(tmp_path, "v\n1\n", map_text)
    assert raised.value.field == "start"


@pytest.mark.parametrize(
    ("written", "cell", "expected"),
    [
        ("rfc3339", "2026-03-01T01:00:00.5+01:00", 1_772_323_200_500),
        ("epoch_ms", "1772323200500", 1_772_323_200_500),
        ("epoch_s", "1772323200.5", 1_772_323_200_500),
    ],
)
def test_time_column_is_read_in_three_formats(tmp_path, written, cell, expected):
    series = series_of(tmp_path, f"t,v\n{cell},3.5\n", TIMED.replace("FORMAT", written))
    assert joined(series.batches()).ts_ms.tolist() == [expected]


def test_rows_that_give_no_reading_are_counted_by_reason(tmp_path):
    table = "t,v\n2026-03-01T00:00:00Z,1\n2026-03-01T00:00:00,1\nx,1\n2026-03-01T00:00:01Z,\n2026-03-01T00:00:01Z,nan\n2026-03-01T00:00:01Z,y\n2026-03-01T00:00:02Z,2\n"
    series = series_of(tmp_path, table, TIMED.replace("FORMAT", "rfc3339"))
    assert joined(series.batches()).values[MEASURE_INDEX["voltage_v"]].tolist() == [1.0, 2.0]
    assert series.counts() == {"rows": 7}
    assert series.dropped() == {"bad_time": 2, "bad_value": 2, "no_value": 1}


def test_row_that_is_dropped_keeps_its_place_in_time(tmp_path):
    map_text = "time: {every: PT1S}\nmeasures: {voltage_v: {column: v}}\n"
    readings = joined(series_of(tmp_path, "v\n1\nx\n3\n", map_text, START).batches())
    assert np.diff(readings.ts_ms).tolist() == [2_000]


def test_column_that_is_not_there_is_named(tmp_path):
    series = series_of(tmp_path, "t,w\n", TIMED.replace("FORMAT", "rfc3339"))
    with pytest.raises(DecodeError, match="no column v"):
        list(series.batches())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("measures: {voltage_v: {column: v}}", "time"),
        ("time: {every: P1M}\nmeasures: {voltage_v: {column: v}}", "every must be an ISO 8601 duration"),
        ("time: {column: t, format: x}\nmeasures: {voltage_v: {column: v}}", "format must be one of"),
        ("time: {every: P1D}\nmeasures: {voltage_v: {column: v, divide_by: 0}}", "divide_by must not be 0"),
        ("time: {every: P1D}\nmeasures: {volts: {column: v}}", "volts is no measure"),
    ],
)
def test_mistake_in_a_map_of_a_table_is_named_by_its_key(tmp_path, text, message):
    with pytest.raises(DecodeError, match=message):
        series_of(tmp_path, "v\n", text, START)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("P1W", 604_800_000),
        ("P1DT1H", 90_000_000),
        ("PT15M", 900_000),
        ("PT0S", None),
        ("P", None),
        ("1D", None),
    ],
)
def test_durations_are_those_of_fixed_length(text, expected):
    assert parse_duration_ms(text) == expected
