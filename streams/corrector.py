"""Carries out corrections slice by slice, between the groups of a partition's writer."""

import asyncio
import threading
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import numpy as np

from domain.corrections import Correction, Reached
from domain.readings import Int32Array
from streams.ports import Store
from streams.state import State

_STALE_PACKS_MAX: Final = 100
"""Packs whose latest values are looked up in one go; each takes some index probes."""


@dataclass(slots=True)
class _UnderWay:
    """A correction with how far it has come, and the packs whose latest values must be looked up again."""

    correction: Correction
    reached: Reached | None
    stale: Int32Array


@dataclass(slots=True)
class _Waits:
    """Who waits for which correction; asked and answered by different threads."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    by_id: dict[UUID, list[asyncio.Event]] = field(default_factory=dict)
    loops: dict[asyncio.Event, asyncio.AbstractEventLoop] = field(default_factory=dict)


class Corrector:
    """Does the next piece of work of the oldest correction that isn't done; the store is the queue.

    Nothing is remembered that the store doesn't know: after `forget`, a correction goes on where it was.
    """

    def __init__(self, store: Store, slice_readings: int) -> None:
        self._store = store
        self._slice_readings = slice_readings
        self._under_way: _UnderWay | None = None
        self._waits = _Waits()

    def forget(self) -> None:
        """Start again from what the store says."""
        self._under_way = None

    def step(self, state: State) -> Correction | None:
        """Do one slice; returns a correction whose readings and latest values are all put right, to be finished.

        `pending` says whether there was anything to do.
        """
        work = self._under_way or self._begin()
        if work is None:
            return None
        if work.reached is not None:
            changed = self._store.correct_slice(work.correction, work.reached, self._slice_readings)
            work.stale = np.union1d(work.stale, state.holders_of_latest(changed.gone)).astype(np.int32)
            state.apply(changed.added)
            state.mark_corrected(changed.gone.pack)
            work.reached = changed.reached
        elif len(work.stale):
            now, work.stale = work.stale[:_STALE_PACKS_MAX], work.stale[_STALE_PACKS_MAX:]
            state.replace_latest(self._store.latest_of(now))
        else:
            return work.correction
        return None

    def _begin(self) -> _UnderWay | None:
        correction = self._store.next_correction()
        if correction is not None:
            # Of one that was under way when the state was lost, the latest values may not have been put right.
            self._under_way = _UnderWay(correction, Reached(), self._store.packs_touched_by(correction))
        return self._under_way

    @property
    def pending(self) -> bool:
        """Whether a correction is under way."""
        return self._under_way is not None

    def finish(self, correction: Correction) -> None:
        """Say that a correction is done, to the store and to those who wait; its state must have been saved."""
        self._store.finish_correction(correction)
        self._under_way = None
        with self._waits.lock:
            for event in self._waits.by_id.pop(correction.id, []):
                loop = self._waits.loops.pop(event)
                if not loop.is_closed():
                    loop.call_soon_threadsafe(event.set)

    def waiting_for(self, correction_id: UUID) -> asyncio.Event:
        """An event of the running loop, set when the correction is done."""
        event = asyncio.Event()
        with self._waits.lock:
            self._waits.by_id.setdefault(correction_id, []).append(event)
            self._waits.loops[event] = asyncio.get_running_loop()
        return event

    def stop_waiting(self, correction_id: UUID, event: asyncio.Event) -> None:
        """Take back `waiting_for`."""
        with self._waits.lock:
            if self._waits.loops.pop(event, None) is not None:
                self._waits.by_id[correction_id].remove(event)
                if not self._waits.by_id[correction_id]:
                    del self._waits.by_id[correction_id]
