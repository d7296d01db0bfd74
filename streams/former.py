"""Readings that were stored once, and come again: what was deleted stays deleted, what was corrected stays so."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from domain.readings import ABSENT, FormerReadings, ReadingBatch, StoredReadings

UInt32Array = npt.NDArray[np.uint32]
Identity = tuple[int, int, int]


def withhold(
    readings: ReadingBatch, stored: StoredReadings, former: FormerReadings
) -> tuple[ReadingBatch, UInt32Array]:
    """The readings without the values that were superseded, and a bit mask of those that were deleted.

    A value that is stored now passes, and is a duplicate. One that was stored and is not any more is taken out of
    its reading: silently when a correction put another in its place, with its bit set when nothing is stored now.
    What readings before it bring counts as stored, as if each had been committed alone.
    """
    deleted = np.zeros(len(readings), np.uint32)
    if len(former) == 0:
        return readings, deleted
    fates = _fates(former)
    now = {(identity, value) for identity, value, _ in _values(stored, np.zeros(len(stored), np.int32))}
    taken = {identity for identity, _ in now}
    thousandths = readings.thousandths.copy()
    times = {(pack, ts_ms) for pack, ts_ms, _ in fates}
    for row in np.flatnonzero(np.isin(readings.pack, former.pack)).tolist():
        pack, ts_ms = int(readings.pack[row]), int(readings.ts_ms[row])
        if (pack, ts_ms) not in times:
            continue
        for measure, value in enumerate(thousandths[:, row].tolist()):
            identity = pack, ts_ms, measure
            fate = fates.get(identity, {}).get(value)
            if fate is None or (identity, value) in now:
                if value != ABSENT:
                    taken.add(identity)
                continue
            thousandths[measure, row] = ABSENT
            if fate or identity not in taken:
                deleted[row] |= np.uint32(1 << measure)
    return replace(readings, thousandths=thousandths), deleted


def _fates(former: FormerReadings) -> dict[Identity, dict[int, bool]]:
    """For each identity, whether each of its former values was deleted, by what came last."""
    fates: dict[Identity, dict[int, bool]] = {}
    for identity, value, deleted in _values(former, former.deleted):
        fates.setdefault(identity, {})[value] = deleted
    return fates


def _values(
    rows: StoredReadings | FormerReadings, marks: npt.NDArray[np.int32]
) -> list[tuple[Identity, int, bool]]:
    return [
        ((pack, ts_ms, measure), value, bool(mark))
        for pack, ts_ms, mark, values in zip(
            rows.pack.tolist(), rows.ts_ms.tolist(), marks.tolist(), rows.thousandths.T.tolist(), strict=True
        )
        for measure, value in enumerate(values)
        if value != ABSENT
    ]
