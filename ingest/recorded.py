"""Readings that were recorded elsewhere, as columns on their way to the API."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from domain.measures import MEASURE_NAMES, MEASURES


@dataclass(frozen=True, slots=True, eq=False)
class RecordedReadings:
    """Readings of one pack in the order of their recording, n of them.

    ts_ms: int64[n], milliseconds since 1970. values: float64[measures, n], rows as in MEASURES, NaN for none.
    """

    ts_ms: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.ts_ms)

    def __getitem__(self, rows: slice) -> "RecordedReadings":
        return RecordedReadings(self.ts_ms[rows], self.values[:, rows])


NO_READINGS: Final = RecordedReadings(np.empty(0, np.int64), np.empty((len(MEASURES), 0)))


def joined(parts: Iterable[RecordedReadings]) -> RecordedReadings:
    """All readings of `parts`, one after the other."""
    listed = [NO_READINGS, *parts]
    return RecordedReadings(
        np.concatenate([part.ts_ms for part in listed]),
        np.concatenate([part.values for part in listed], axis=1),
    )


def in_batches(parts: Iterable[RecordedReadings], readings_max: int) -> Iterator[RecordedReadings]:
    """The same readings in batches of `readings_max`; the last may be smaller."""
    waiting: list[RecordedReadings] = []
    count = 0
    for part in parts:
        waiting.append(part)
        count += len(part)
        if count >= readings_max:
            together = joined(waiting)
            full = count - count % readings_max
            for start in range(0, full, readings_max):
                yield together[start : start + readings_max]
            waiting = [together[full:]]
            count -= full
    if count:
        yield joined(waiting)


def to_arrow_stream(readings: RecordedReadings, pack: str) -> bytes:
    """An Arrow IPC stream of the readings: pack, ts in milliseconds, the measures that any of them has."""
    columns: dict[str, pa.Array] = {
        "pack": pa.repeat(pa.scalar(pack), len(readings)),
        "ts": pa.array(readings.ts_ms, pa.int64()),
    }
    for name, values in zip(MEASURE_NAMES, readings.values, strict=True):
        absent = np.isnan(values)
        if not absent.all():
            columns[name] = pa.array(values, pa.float64(), mask=absent)
    batch = pa.RecordBatch.from_pydict(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue().to_pybytes())
