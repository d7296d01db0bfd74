"""When recorded readings are sent: moved to now, and as fast or as slowly as they were recorded."""

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Final

import numpy as np

from ingest.recorded import RecordedReadings

SLICE_MS: Final = 1_000
"""At recorded speed, readings of the same second are sent together."""


def shifted(parts: Iterable[RecordedReadings], by_ms: int) -> Iterator[RecordedReadings]:
    """The readings, all moved in time by the same span."""
    return (RecordedReadings(part.ts_ms + by_ms, part.values) for part in parts)


def first_and_last_ms(parts: Iterable[RecordedReadings]) -> tuple[int, int] | None:
    """Time of the first reading in order, and the largest time; None without readings."""
    first: int | None = None
    last = 0
    for part in parts:
        if len(part):
            first = int(part.ts_ms[0]) if first is None else first
            last = max(last, int(part.ts_ms.max()))
    return None if first is None else (first, max(first, last))


def at_recorded_speed(
    parts: Iterable[RecordedReadings],
    monotonic_s: Callable[[], float],
    sleep: Callable[[float], None],
) -> Iterator[RecordedReadings]:
    """The readings second by second, each given when as much time has passed as between their recordings."""
    began_s = monotonic_s()
    first_ms: int | None = None
    for part in parts:
        if not len(part):
            continue
        first_ms = int(part.ts_ms[0]) if first_ms is None else first_ms
        seconds = part.ts_ms // SLICE_MS
        edges = [0, *(np.flatnonzero(np.diff(seconds)) + 1).tolist(), len(part)]
        for start, end in pairwise(edges):
            due_s = began_s + (int(part.ts_ms[end - 1]) - first_ms) / 1_000
            wait_s = due_s - monotonic_s()
            if wait_s > 0:
                sleep(wait_s)
            yield part[start:end]
