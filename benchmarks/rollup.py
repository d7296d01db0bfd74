"""The rollup kernel beside DuckDB, Polars and pandas, which compute a part of it, and beside reading the bytes."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from numba import njit

from aggregations.quarters import Columns, Records, count_windows
from benchmarks.fleet import make_readings
from benchmarks.measuring import Contender, alternate, seconds_of
from benchmarks.report import Goal, Report, compare
from domain.measures import MEASURE_NAMES
from domain.readings import Int32Array, Int64Array
from domain.windows import QUARTER_MS

STEP_MS = 60_000
CORES = len(os.sched_getaffinity(0))
GAP_MS = 300_000
FIRST_MS = 1_700_000_100_000 // QUARTER_MS * QUARTER_MS
_MILLION = 1e6
_SCAN = "scan of 40 bytes a reading"
_KERNEL = "kernel, with charge, energy and areas"
_ONE_THREAD = "the same on one thread"
_PEERS = {"DuckDB": 12.0, "Polars": 30.0, "pandas": 25.0}
FIELDS = ("count", "minimum", "maximum", "sum", "sum_of_squares", "first", "last")


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """Readings of every pack at the same times: pack int32[n], ts_ms int64[n], thousandths int32[measures, n]."""

    pack: Int32Array
    ts_ms: Int64Array
    thousandths: Int32Array

    def __len__(self) -> int:
        return len(self.pack)

    def columns(self) -> dict[str, Any]:
        return {"pack": self.pack, "ts": self.ts_ms} | dict(zip(MEASURE_NAMES, self.thousandths, strict=True))


@njit(nogil=True)
def scan(pack, ts_ms, thousandths):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    """A sum over all bytes: what reading them costs at least."""
    total = np.int64(0)
    for row in range(len(pack)):
        total += pack[row] ^ ts_ms[row]
    for measure in range(thousandths.shape[0]):
        for row in range(len(pack)):
            total += thousandths[measure, row]
    return total


def measure(*, quick: bool) -> list[Report]:
    """Readings a minute and four times a minute, as they arrive, and sorted by pack."""
    packs, readings, rounds = (1_000, 120, 2) if quick else (10_000, 480, 3)
    reports = []
    for share in (1, 4):
        by_pack, arriving = _given(packs // share, readings * share, STEP_MS // share)
        reports += [
            _beside_peers(arriving, 15 * share, rounds),
            _beside_floor(by_pack, 15 * share, 3 * rounds),
        ]
    return reports


def _given(packs: int, readings: int, step_ms: int) -> tuple[Given, Given]:
    """Readings sorted by pack; and the same in order of arrival, one of all packs after the other."""
    made = make_readings(packs, readings, FIRST_MS, step_ms, seed=14)
    thousandths = np.ascontiguousarray(made.thousandths)
    arrival = np.arange(len(made)).reshape(packs, readings).T.ravel()
    arriving = Given(
        made.position[arrival], made.ts_ms[arrival], np.ascontiguousarray(thousandths[:, arrival])
    )
    return Given(made.position, made.ts_ms, thousandths), arriving


def _kernel(given: Given, threads: int = CORES) -> Records:
    bounds_ms = np.arange(FIRST_MS, int(given.ts_ms.max()) + QUARTER_MS, QUARTER_MS)
    return count_windows(Columns(given.pack, given.ts_ms, given.thousandths), bounds_ms, GAP_MS, threads)


def _rate(count: int, work: Callable[[], Any]) -> Callable[[], float]:
    return lambda: count / seconds_of(work) / _MILLION


def _beside_peers(given: Given, of_window: int, rounds: int) -> Report:
    ways: dict[str, Callable[[], Any]] = {
        _KERNEL: lambda: _kernel(given),
        _ONE_THREAD: lambda: _kernel(given, 1),
        "DuckDB": _by_duckdb(given),
        "Polars": _by_polars(given),
        "pandas": _by_pandas(given),
    }
    expected = _table_of_records(_kernel(given))
    for name in _PEERS:
        _require_equal(name, ways[name](), expected)
    contenders = [Contender(name, _rate(len(given), way)) for name, way in ways.items()]
    samples = alternate(contenders, rounds)
    lines = compare(samples, tuple(_PEERS))
    return Report(
        f"Rollup of {len(given):,} readings in order of arrival into quarter-hours, {of_window} each",
        "M readings/s",
        lines,
        (
            f"{len(MEASURE_NAMES)} measures; the peers compute {', '.join(FIELDS)}, the kernel everything of a record",
            "the kernel sorts, too; the peers use all cores; results were compared first",
        ),
        tuple(Goal(f"to {name}", goal, lines[0].against[name]) for name, goal in _PEERS.items()),
    )


def _beside_floor(given: Given, of_window: int, rounds: int) -> Report:
    ways: dict[str, Callable[[], Any]] = {
        _KERNEL: lambda: _kernel(given),
        _ONE_THREAD: lambda: _kernel(given, 1),
        _SCAN: lambda: scan(given.pack, given.ts_ms, given.thousandths),
    }
    samples = alternate([Contender(name, _rate(len(given), way)) for name, way in ways.items()], rounds)
    lines = compare(samples, (_SCAN,))
    return Report(
        f"Rollup of {len(given):,} sorted readings into quarter-hours, {of_window} each",
        "M readings/s",
        lines,
        (f"a record of 432 bytes is written for every {of_window} readings; the scan runs on one thread",),
        (Goal("of the floor", 0.3, lines[0].against[_SCAN]),),
    )


def _by_duckdb(given: Given) -> Callable[[], pa.Table]:
    connection = duckdb.connect()
    connection.register("given", pa.table(given.columns()))
    figures = ", ".join(
        f"count({name}), min({name}), max({name}), sum({name}::bigint)::bigint,"
        f" sum({name}::bigint * {name})::bigint, arg_min({name}, ts), arg_max({name}, ts)"
        for name in MEASURE_NAMES
    )
    statement = f"SELECT pack, ts // {QUARTER_MS} AS quarter, {figures} FROM given GROUP BY ALL"
    return lambda: connection.sql(statement).to_arrow_table()


def _by_polars(given: Given) -> Callable[[], pa.Table]:
    frame = pl.DataFrame(given.columns())
    figures = []
    for name in MEASURE_NAMES:
        column, wide = pl.col(name), pl.col(name).cast(pl.Int64)
        made = (
            column.count(),
            column.min(),
            column.max(),
            wide.sum(),
            (wide * wide).sum(),
            column.first(),
            column.last(),
        )
        figures += [figure.alias(f"{name}_{field}") for figure, field in zip(made, FIELDS, strict=True)]
    lazy = (
        frame.lazy()
        .sort("pack", "ts")
        .with_columns((pl.col("ts") // QUARTER_MS).alias("quarter"))
        .group_by("pack", "quarter")
        .agg(figures)
    )
    return lambda: lazy.collect().to_arrow()


def _by_pandas(given: Given) -> Callable[[], pa.Table]:
    frame = pd.DataFrame(given.columns())

    def rolled() -> pa.Table:
        ordered = frame.sort_values(["pack", "ts"])
        ordered["quarter"] = ordered["ts"] // QUARTER_MS
        squares = {f"{name}_square": ordered[name].astype(np.int64) ** 2 for name in MEASURE_NAMES}
        grouped = ordered.assign(**squares).groupby(["pack", "quarter"], sort=False)
        names = list(MEASURE_NAMES)
        parts = {
            "count": grouped[names].count(), "minimum": grouped[names].min(), "maximum": grouped[names].max(),
            "sum": grouped[names].sum(), "first": grouped[names].first(), "last": grouped[names].last(),
        }  # fmt: skip
        square_sums = grouped[list(squares)].sum()
        columns = {name: parts["count"].index.get_level_values(name) for name in ("pack", "quarter")}
        for name in MEASURE_NAMES:
            for field in FIELDS:
                part = square_sums[f"{name}_square"] if field == "sum_of_squares" else parts[field][name]
                columns[f"{name}_{field}"] = part.to_numpy()
        return pa.table(columns)

    return rolled


def _table_of_records(found: Records) -> np.ndarray[Any, np.dtype[np.int64]]:
    columns = [found.series.astype(np.int64), found.starts_ms // QUARTER_MS]
    columns += [found.records[name][field].astype(np.int64) for name in MEASURE_NAMES for field in FIELDS]
    return np.stack(columns)


def _require_equal(name: str, table: pa.Table, expected: np.ndarray[Any, np.dtype[np.int64]]) -> None:
    """Raises AssertionError unless a peer found the same numbers."""
    found = np.stack([column.to_numpy().astype(np.int64) for column in table.columns])
    assert np.array_equal(found[:, np.lexsort((found[1], found[0]))], expected), name
