"""Readings of an invented fleet, and the same readings in every form that a contender takes."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from domain.measures import MEASURE_NAMES
from domain.readings import Float32Array, Float64Array, Int32Array, Int64Array, to_values
from kernels import pgcopy

_TYPICAL_THOUSANDTHS = {
    "state_of_charge_pct": (5_000, 95_000),
    "state_of_health_pct": (70_000, 100_000),
    "temperature_c": (-5_000, 45_000),
    "voltage_v": (300_000, 400_000),
    "current_a": (-150_000, 120_000),
    "cell_voltage_min_v": (3_000, 4_100),
    "cell_voltage_max_v": (3_000, 4_200),
}


@dataclass(frozen=True, slots=True, eq=False)
class FleetReadings:
    """Readings sorted by (pack, time), none with an absent measure.

    position: int32[n], of the pack in the fleet. ts_ms: int64[n]. thousandths: int32[measures, n].
    """

    position: Int32Array
    ts_ms: Int64Array
    thousandths: Int32Array

    def __len__(self) -> int:
        return len(self.position)

    def values(self) -> Float64Array:
        return to_values(self.thousandths)


def make_readings(
    packs: int, readings_per_pack: int, first_ms: int, step_ms: int, seed: int
) -> FleetReadings:
    """`readings_per_pack` readings of each of `packs` packs, `step_ms` apart."""
    random = np.random.default_rng(seed)
    count = packs * readings_per_pack
    moments = first_ms + step_ms * np.arange(readings_per_pack, dtype=np.int64)
    thousandths = np.stack(
        [random.integers(*_TYPICAL_THOUSANDTHS[name], count, dtype=np.int32) for name in MEASURE_NAMES]
    )
    return FleetReadings(
        np.repeat(np.arange(packs, dtype=np.int32), readings_per_pack), np.tile(moments, packs), thousandths
    )


def pack_name(position: int) -> str:
    return f"P-{position:06d}"


def arrow_body(readings: FleetReadings) -> bytes:
    """The body that a good sender posts: dictionary-encoded names, milliseconds, 32-bit numbers."""
    positions, codes = np.unique(readings.position, return_inverse=True)
    names = pa.array([pack_name(position) for position in positions.tolist()])
    columns: dict[str, Any] = {
        "pack": pa.DictionaryArray.from_arrays(codes.astype(np.int32), names),
        "ts": pa.array(readings.ts_ms).cast(pa.timestamp("ms", "UTC")),
    }
    table = pa.table(columns | _values_by_name(readings))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def json_body(readings: FleetReadings) -> bytes:
    """An array of objects with every measure and RFC 3339 times, as a gateway writes it."""
    return msgspec.json.encode(list(_objects(readings)))


def _objects(readings: FleetReadings) -> Iterator[dict[str, Any]]:
    columns = readings.values().tolist()
    for position, ts_ms, *values in zip(
        readings.position.tolist(), readings.ts_ms.tolist(), *columns, strict=True
    ):
        moment = datetime.fromtimestamp(ts_ms / 1000, UTC).isoformat(timespec="milliseconds")
        yield {
            "pack": pack_name(position),
            "ts": moment.replace("+00:00", "Z"),
            **dict(zip(MEASURE_NAMES, values, strict=True)),
        }


@dataclass(frozen=True, slots=True)
class Registered:
    """The fleet as the store knows it: the tenant's number and int32 pack numbers by position."""

    tenant_id: int
    numbers: Int32Array


def copy_rows(readings: FleetReadings, fleet: Registered, batch_no: int) -> memoryview:
    """The rows in binary COPY format, without header and trailer."""
    return pgcopy.encode_rows(
        np.full(len(readings), fleet.tenant_id, np.int32),
        fleet.numbers[readings.position],
        readings.ts_ms,
        np.full(len(readings), batch_no, np.int64),
        np.arange(len(readings), dtype=np.int32),
        readings.values().astype(np.float32),
    ).data


def arrow_rows(readings: FleetReadings, fleet: Registered, batch_no: int) -> pa.Table:
    """The rows as an Arrow table with the columns of the table of readings."""
    columns: dict[str, Any] = {
        "tenant_id": np.full(len(readings), fleet.tenant_id, np.int32),
        "pack_id": fleet.numbers[readings.position],
        "ts": pa.array(readings.ts_ms * 1000).cast(pa.timestamp("us", "UTC")),
        "batch_no": np.full(len(readings), batch_no, np.int64),
        "item_no": np.arange(len(readings), dtype=np.int32),
    }
    return pa.table(columns | _values_by_name(readings))


def _values_by_name(readings: FleetReadings) -> dict[str, Float32Array]:
    return dict(zip(MEASURE_NAMES, readings.values().astype(np.float32), strict=True))


def python_rows(readings: FleetReadings, fleet: Registered, batch_no: int) -> list[tuple[Any, ...]]:
    """The rows as tuples of Python's own types."""
    return [
        (fleet.tenant_id, int(number), datetime.fromtimestamp(ts_ms / 1000, UTC), batch_no, item_no, *values)
        for item_no, (number, ts_ms, *values) in enumerate(
            zip(
                fleet.numbers[readings.position].tolist(),
                readings.ts_ms.tolist(),
                *readings.values().tolist(),
                strict=True,
            )
        )
    ]
