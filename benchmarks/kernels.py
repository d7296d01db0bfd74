"""Kernels beside NumPy's way to the same result, and beside copying the bytes that they must touch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from benchmarks.fleet import FleetReadings, json_body, make_readings
from benchmarks.measuring import Contender, alternate, seconds_of
from benchmarks.report import Report, compare
from domain.measures import MEASURES
from kernels import identity, jsontext, latest, pgcopy

READINGS_PER_PACK = 10
_NEVER_MS = np.iinfo(np.int64).min
_MILLION = 1e6
FLOOR = "copying the bytes"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One kernel and its peers on the same input; `same` says whether two results are equal."""

    name: str
    readings: int
    contenders: dict[str, Callable[[], Any]]
    touched: tuple[np.ndarray[Any, Any], ...]
    same: Callable[[Any, Any], bool]


def measure(*, quick: bool) -> list[Report]:
    """A table for each kernel."""
    packs, rounds = (1_000, 3) if quick else (10_000, 9)
    readings = make_readings(packs, READINGS_PER_PACK, 1_700_000_000_000, 1000, seed=4)
    shuffled = _shuffled(readings)
    made = [
        _classify("classify, sorted", readings),
        _classify("classify, in any order", shuffled),
        _encode(readings),
        _advance(readings, packs),
        _count_members(make_readings(packs // 10, READINGS_PER_PACK, 1_700_000_000_000, 1000, seed=5)),
    ]
    return [_measured(comparison, rounds) for comparison in made]


def _measured(comparison: Comparison, rounds: int) -> Report:
    results = {name: work() for name, work in comparison.contenders.items()}
    first, *others = results.values()
    assert all(comparison.same(first, other) for other in others), comparison.name
    every = comparison.contenders | {FLOOR: lambda: [array.copy() for array in comparison.touched]}

    def rate(work: Callable[[], Any]) -> Callable[[], float]:
        return lambda: comparison.readings / seconds_of(work) / _MILLION

    samples = alternate([Contender(name, rate(work)) for name, work in every.items()], rounds)
    against = [name for name in every if name != "kernel"]
    touched_bytes = sum(array.nbytes for array in comparison.touched)
    return Report(
        f"Kernel: {comparison.name}, {comparison.readings:,} readings",
        "M readings/s",
        compare(samples, against),
        (f"{touched_bytes / comparison.readings:.0f} bytes a reading are read; results were compared first",),
    )


def _shuffled(readings: FleetReadings) -> FleetReadings:
    order = np.random.default_rng(6).permutation(len(readings))
    return FleetReadings(
        readings.position[order],
        readings.ts_ms[order],
        np.ascontiguousarray(readings.thousandths[:, order]),
    )


def _classify(name: str, readings: FleetReadings) -> Comparison:
    pack, ts_ms, thousandths = readings.position, readings.ts_ms, readings.thousandths
    bits = (1 << np.arange(len(MEASURES), dtype=np.uint32))[:, None]

    def by_numpy() -> tuple[Any, Any]:
        order = np.lexsort((ts_ms, pack))
        again = np.zeros(len(pack), np.bool_)
        again[1:] = (pack[order][1:] == pack[order][:-1]) & (ts_ms[order][1:] == ts_ms[order][:-1])
        if again.any():
            raise RuntimeError("this way knows no repeated identity")
        present = thousandths != identity.ABSENT
        return (present * bits).sum(axis=0, dtype=np.uint32), np.zeros(len(pack), np.uint32)

    return Comparison(
        name,
        len(readings),
        {"kernel": lambda: identity.classify(pack, ts_ms, thousandths, 0), "NumPy, no repeats": by_numpy},
        (pack, ts_ms, thousandths),
        lambda a, b: bool(np.array_equal(a[0], b[0]) and np.array_equal(a[1], b[1])),
    )


def _encode(readings: FleetReadings) -> Comparison:
    count = len(readings)
    tenant, batch_no = np.ones(count, np.int32), np.full(count, 7, np.int64)
    item_no = np.arange(count, dtype=np.int32)
    values = readings.values().astype(np.float32)
    fields: list[tuple[str, str]] = [("columns", ">i2")]
    for name, kind in (("tenant", ">i4"), ("pack", ">i4"), ("ts", ">i8"), ("batch", ">i8"), ("item", ">i4")):
        fields += [(f"{name}_bytes", ">i4"), (name, kind)]
    for measure in range(len(MEASURES)):
        fields += [(f"m{measure}_bytes", ">i4"), (f"m{measure}", ">f4")]
    row = np.dtype(fields)

    def by_numpy() -> Any:
        out = np.empty(count, row)
        out["columns"] = 5 + len(MEASURES)
        ts_us = (readings.ts_ms - pgcopy.EPOCH_2000_MS) * 1000
        given = {"tenant": tenant, "pack": readings.position, "ts": ts_us, "batch": batch_no, "item": item_no}
        for name, column in (given | {f"m{number}": one for number, one in enumerate(values)}).items():
            out[f"{name}_bytes"] = row[name].itemsize
            out[name] = column
        return out.view(np.uint8)

    return Comparison(
        "encode_rows",
        count,
        {
            "kernel": lambda: pgcopy.encode_rows(
                tenant, readings.position, readings.ts_ms, batch_no, item_no, values
            ),
            "NumPy record, no absent": by_numpy,
        },
        (tenant, readings.position, readings.ts_ms, batch_no, item_no, values),
        lambda a, b: bool(np.array_equal(a, b)),
    )


def _advance(readings: FleetReadings, packs: int) -> Comparison:
    pack, ts_ms, thousandths = readings.position, readings.ts_ms, readings.thousandths

    def by_kernel() -> tuple[Any, ...]:
        watermark_ms = np.full(packs, _NEVER_MS, np.int64)
        latest_ts_ms = np.full((len(MEASURES), packs), _NEVER_MS, np.int64)
        values = np.full((len(MEASURES), packs), latest.ABSENT, np.int32)
        latest.advance(pack, ts_ms, thousandths, watermark_ms, latest_ts_ms, values)
        return watermark_ms, latest_ts_ms, values

    def by_numpy() -> tuple[Any, ...]:
        order = np.lexsort((ts_ms, pack))
        last = order[np.append(np.flatnonzero(np.diff(pack[order])), len(order) - 1)]
        watermark_ms = np.full(packs, _NEVER_MS, np.int64)
        latest_ts_ms = np.full((len(MEASURES), packs), _NEVER_MS, np.int64)
        values = np.full((len(MEASURES), packs), latest.ABSENT, np.int32)
        watermark_ms[pack[last]] = ts_ms[last]
        latest_ts_ms[:, pack[last]] = ts_ms[last]
        values[:, pack[last]] = thousandths[:, last]
        return watermark_ms, latest_ts_ms, values

    return Comparison(
        "advance",
        len(readings),
        {"kernel": by_kernel, "NumPy, none absent": by_numpy},
        (pack, ts_ms, thousandths),
        lambda a, b: all(np.array_equal(one, other) for one, other in zip(a, b, strict=True)),
    )


def _count_members(readings: FleetReadings) -> Comparison:
    body = json_body(readings)
    return Comparison(
        "count_members of JSON",
        len(readings),
        {
            "kernel": lambda: jsontext.members_of(body),
            "msgspec decode and len": lambda: sum(map(len, msgspec.json.decode(body))),
        },
        (np.frombuffer(body, np.uint8),),
        lambda a, b: bool(a == b),
    )
