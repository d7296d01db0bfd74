"""Series in every format hold the same, also over several chunks."""

import io

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.csv
import pytest

from api.series import CHUNK_ROWS, Column, Table, arrow_chunks, csv_chunks, json_chunks

LONG = 2 * CHUNK_ROWS + 1


def table(name: str, rows: int, *, gaps: bool) -> Table:
    random = np.random.default_rng(rows)
    voltage_v = random.integers(0, 400_000, rows) / 1000
    if gaps:
        voltage_v[random.random(rows) < 0.1] = np.nan
    count = random.integers(0, 9, rows)
    columns = {
        "ts": Column(1_700_000_000_123 + 1000 * np.arange(rows)),
        "voltage_v": Column(voltage_v),
        "voltage_v_count": Column(count, count > 0),
    }
    return Table("pack", name, columns, {"source": "readings", "readings": {"voltage_v": rows}})


def rows_of(told: Table) -> list[tuple[object, ...]]:
    """What every format must hold."""
    columns = []
    for column in told.columns.values():
        gaps = column.gaps()
        missing = np.zeros(len(told), np.bool_) if gaps is None else gaps
        pairs = zip(column.values.tolist(), missing.tolist(), strict=True)
        columns.append([None if is_missing else value for value, is_missing in pairs])
    return list(zip(*columns, strict=True))


@pytest.mark.parametrize("rows", [0, 1, 7, LONG])
@pytest.mark.parametrize("gaps", [False, True])
def test_one_series_is_the_same_in_every_format(rows: int, gaps: bool) -> None:
    told = table("=P", rows, gaps=gaps)
    expected = rows_of(told)
    body = orjson.loads(b"".join(json_chunks([told])))
    assert list(zip(*body["columns"].values(), strict=True)) == expected
    assert (body["pack"], body["source"], body["readings"]) == ("=P", "readings", {"voltage_v": rows})
    arrow = pa.ipc.open_stream(b"".join(arrow_chunks([told]))).read_all()
    assert arrow.schema.field("ts").type == pa.timestamp("ms", "UTC")
    moments = arrow.set_column(0, "ts", arrow.column("ts").cast(pa.int64()))
    assert [tuple(row.values()) for row in moments.to_pylist()] == expected
    metadata = {name.decode(): value.decode() for name, value in arrow.schema.metadata.items()}
    assert (metadata["pack"], metadata["source"]) == ("=P", '"readings"')
    assert orjson.loads(metadata["units"]) == body["units"]
    arrow.validate(full=True)
    csv = pa.csv.read_csv(io.BytesIO(b"".join(csv_chunks([told]))))
    assert csv.column_names == arrow.column_names
    if rows:
        assert csv.column("voltage_v").to_pylist() == arrow.column("voltage_v").to_pylist()
        assert csv.column("ts").cast(pa.timestamp("ms", "UTC")).to_pylist() == arrow.column("ts").to_pylist()


NAMES = ["=1+1", "+P", "-P", "@P", "\tP", "\rP", 'P,"quoted"', "P"]


def test_several_series_have_their_names_first_and_none_that_a_spreadsheet_runs() -> None:
    told = [table(name, 3, gaps=True) for name in NAMES]
    body = orjson.loads(b"".join(json_chunks(told)))
    assert [item["pack"] for item in body["items"]] == NAMES
    arrow = pa.ipc.open_stream(b"".join(arrow_chunks(told))).read_all()
    assert arrow.column_names[0] == "pack"
    assert arrow.column("pack").to_pylist() == [name for name in NAMES for _ in range(3)]
    assert [one["pack"] for one in orjson.loads(arrow.schema.metadata[b"items"])] == NAMES
    csv = pa.csv.read_csv(
        io.BytesIO(b"".join(csv_chunks(told))), parse_options=pa.csv.ParseOptions(newlines_in_values=True)
    )
    marked = [name if name.startswith("P") else f"'{name}" for name in NAMES]
    assert csv.column("pack").to_pylist() == [name for name in marked for _ in range(3)]


def test_negative_numbers_stay_numbers() -> None:
    told = Table("pack", "P", {"ts": Column(np.array([0])), "current_a": Column(np.array([-1.5]))})
    for tables in ([told], [told, told]):
        line = b"".join(csv_chunks(tables)).splitlines()[1].decode()
        assert line.endswith(
            '1970-01-01T00:00:00.000Z",-1.5' if len(tables) > 1 else "1970-01-01T00:00:00.000Z,-1.5"
        )


def test_several_series_of_different_lengths_follow_each_other() -> None:
    told = [table("A", LONG, gaps=True), table("B", 0, gaps=False), table("C", 2, gaps=False)]
    arrow = pa.ipc.open_stream(b"".join(arrow_chunks(told))).read_all()
    assert arrow.column("pack").value_counts().to_pylist() == [
        {"values": "A", "counts": LONG},
        {"values": "C", "counts": 2},
    ]
    body = orjson.loads(b"".join(json_chunks(told)))
    assert [len(item["columns"]["ts"]) for item in body["items"]] == [LONG, 0, 2]
    assert len(b"".join(csv_chunks(told)).splitlines()) == LONG + 3
