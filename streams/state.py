"""What the writer remembers of each pack: a cache of what follows from committed readings (rule E12)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from domain.measures import MEASURES
from domain.readings import (
    ABSENT,
    NEVER_MS,
    Int32Array,
    LatestValues,
    NewReadings,
    PackStates,
    StoredReadings,
)
from kernels import latest as kernels
from kernels.sketch_columns import Latest

_SMALLEST_CAPACITY = 1024


@dataclass(frozen=True, slots=True)
class LatestValue:
    """A pack's latest value of a measure by event time."""

    thousandths: int
    ts_ms: int


class State:
    """Watermark and latest values by pack number, in columns that grow with the largest number."""

    def __init__(self) -> None:
        self.watermark_ms = np.full(0, NEVER_MS, np.int64)
        self._latest_ts_ms = np.full((len(MEASURES), 0), NEVER_MS, np.int64)
        self._latest = np.full((len(MEASURES), 0), ABSENT, np.int32)
        self._touched = np.zeros(0, np.bool_)
        self._corrected = np.zeros(0, np.bool_)
        self._changed: list[Int32Array] = []

    @staticmethod
    def restored(saved: PackStates, later: StoredReadings) -> "State":
        """The state as saved, with the readings committed later applied; their packs count as touched."""
        state = State()
        if len(saved.pack):
            state.make_room(int(saved.pack.max()))
            state.watermark_ms[saved.pack] = saved.watermark_ms
            state._latest_ts_ms[:, saved.pack] = saved.latest_ts_ms
            state._latest[:, saved.pack] = saved.latest
        state.apply(later)
        return state

    def make_room(self, largest_pack: int) -> None:
        """Let packs up to this number be looked up."""
        have = len(self.watermark_ms)
        if largest_pack < have:
            return
        more = max(largest_pack + 1, 2 * have, _SMALLEST_CAPACITY) - have
        self._latest_ts_ms = np.pad(self._latest_ts_ms, ((0, 0), (0, more)), constant_values=NEVER_MS)
        self._latest = np.pad(self._latest, ((0, 0), (0, more)), constant_values=ABSENT)
        self._touched = np.pad(self._touched, (0, more))
        self._corrected = np.pad(self._corrected, (0, more))
        # Last, because other threads ask it which packs can be looked up.
        self.watermark_ms = np.pad(self.watermark_ms, (0, more), constant_values=NEVER_MS)

    def apply(self, rows: NewReadings | StoredReadings) -> None:
        """Take committed readings into account; applying one twice changes nothing."""
        if len(rows) == 0:
            return
        self.make_room(int(rows.pack.max()))
        kernels.advance(
            rows.pack,
            rows.ts_ms,
            np.ascontiguousarray(rows.thousandths),
            self.watermark_ms,
            self._latest_ts_ms,
            self._latest,
        )
        self._touched[rows.pack] = True
        self._changed.append(rows.pack)

    def mark_corrected(self, pack: npt.NDArray[np.int32]) -> None:
        """Remember that these packs have superseded readings."""
        if len(pack):
            self.make_room(int(pack.max()))
            self._corrected[pack] = True

    def was_corrected(self, pack: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
        """Which of the packs have superseded readings."""
        if len(pack):
            self.make_room(int(pack.max()))
        return self._corrected[pack]

    def holders_of_latest(self, gone: StoredReadings) -> npt.NDArray[np.int32]:
        """The packs of which one of these values, that aren't stored any more, is remembered as the latest."""
        if len(gone) == 0:
            return np.empty(0, np.int32)
        self.make_room(int(gone.pack.max()))
        held = (gone.thousandths != ABSENT) & (gone.ts_ms == self._latest_ts_ms[:, gone.pack])
        return np.unique(gone.pack[held.any(axis=0)])

    def replace_latest(self, latest: LatestValues) -> None:
        """Take over the latest values of some packs as the store has them; their watermarks stay."""
        absent = latest.thousandths == ABSENT
        self._latest_ts_ms[:, latest.pack] = np.where(absent, NEVER_MS, latest.ts_ms)
        self._latest[:, latest.pack] = latest.thousandths
        self._touched[latest.pack] = True
        self._changed.append(latest.pack)

    def take_changed(self) -> Int32Array:
        """The packs that were changed since this was asked last, ascending and each once."""
        changed, self._changed = self._changed, []
        return np.unique(np.concatenate(changed)) if changed else np.empty(0, np.int32)

    def latest(self) -> Latest:
        """Watermarks and latest values of all packs, as kernels take them; not copied."""
        return Latest(self.watermark_ms, self._latest_ts_ms, self._latest)

    def latest_of(self, pack: int) -> list[LatestValue | None]:
        """The latest value of each measure of MEASURES; None where the pack never sent one."""
        if pack >= len(self.watermark_ms):
            return [None] * len(MEASURES)
        return [
            None if time == NEVER_MS else LatestValue(int(value), int(time))
            for value, time in zip(self._latest[:, pack], self._latest_ts_ms[:, pack], strict=True)
        ]

    def latest_of_packs(
        self, pack: npt.NDArray[np.int32]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
        """Time and thousandths of the latest values of n packs, [measures, n] each; NEVER_MS for none."""
        ts_ms = np.full((len(MEASURES), len(pack)), NEVER_MS, np.int64)
        thousandths = np.full((len(MEASURES), len(pack)), ABSENT, np.int32)
        # In this order, because the watermarks grow last.
        there = np.flatnonzero(pack < len(self.watermark_ms))
        ts_ms[:, there] = self._latest_ts_ms[:, pack[there]]
        thousandths[:, there] = self._latest[:, pack[there]]
        return ts_ms, thousandths

    def not_newer(self, pack: npt.NDArray[np.int32], ts_ms: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which readings aren't newer than their pack's watermark, so that the store may have them already."""
        marked = np.zeros(len(pack), np.bool_)
        if len(pack):
            self.make_room(int(pack.max()))
            kernels.mark_not_newer(pack, ts_ms, self.watermark_ms, marked)
        return marked

    def touched(self, also: npt.NDArray[np.int32]) -> PackStates:
        """The states of the packs changed since `saved` was last called, and of some more."""
        if len(also):
            self.make_room(int(also.max()))
            self._touched[also] = True
        pack = np.flatnonzero(self._touched).astype(np.int32)
        return PackStates(pack, self.watermark_ms[pack], self._latest_ts_ms[:, pack], self._latest[:, pack])

    def saved(self, states: PackStates) -> None:
        """Forget that these packs were changed."""
        self._touched[states.pack] = False
