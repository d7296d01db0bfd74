"""Latest values of chosen packs as they change, at a chosen pace: what came in between is passed over."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from api.call import Call
from api.live.frames import Frame
from api.live.watch import Standing
from api.packs.latest import LatestOfPacks, of_group, of_packs
from domain.errors import ForbiddenError, UnauthenticatedError
from domain.measures import MEASURE_INDEX, MEASURES
from domain.policy import Action, decide
from domain.readings import BoolArray, Int32Array, Int64Array

_NOTHING = np.empty((len(MEASURES), 0), np.int64), np.empty((len(MEASURES), 0), np.int32)


@dataclass(frozen=True, slots=True)
class LatestWanted:
    """Of which packs, by external id or by their group, which measures, every `period_s` at most."""

    packs: tuple[str, ...] | None
    group: str | None
    measures: tuple[str, ...]
    period_s: float


@dataclass(frozen=True, slots=True)
class LatestPace:
    """heartbeat_s: after so long without a frame comes a heartbeat. members_s: who is in a group may be this old."""

    heartbeat_s: float
    members_s: float


@dataclass(slots=True, eq=False)
class LatestStream:
    """What one client gets. Each frame is read as its actor, so that a pack that was given away shows no more.

    monotonic_s: the clock of the pace. ends_at_s: when the credential ends, by that clock. standing: whether it has
    ended before.
    """

    call: Call
    wanted: LatestWanted
    pace: LatestPace
    ends_at_s: float
    standing: Standing
    monotonic_s: Callable[[], float]
    _number: Int32Array = field(default_factory=lambda: np.empty(0, np.int32))
    _seen: tuple[Int64Array, Int32Array] = _NOTHING

    async def frames(self) -> AsyncGenerator[Frame]:
        """A snapshot, then the packs that changed, without end.

        Raises InvalidRequestError for what can't be asked, NotFoundError for a group, ForbiddenError when the policy
        lets the actor read no telemetry, UnauthenticatedError when the credential has ended, CredentialChangedError
        when it may do other things, UnavailableError, TenantElsewhereError when the tenant has moved to another cell.
        """
        self._check()
        shown = await self._read()
        read_s = told_s = self.monotonic_s()
        yield Frame("snapshot", None, self._data(shown, np.arange(len(shown.packs)), unknown=shown.unknown))
        while True:
            await self._pause()
            now_s = self.monotonic_s()
            if await self._moved() or now_s - read_s >= self.pace.members_s:
                before, shown, read_s = shown, await self._read(), now_s
                changed = np.flatnonzero(self._differ(before, shown))
                gone = sorted(set(before.packs) - set(shown.packs))
                if len(changed) or gone:
                    told_s = now_s
                    yield Frame("telemetry", None, self._data(shown, changed, gone=gone))
            if now_s - told_s >= self.pace.heartbeat_s:
                told_s = now_s
                yield Frame("heartbeat", None, None)

    async def _pause(self) -> None:
        """Wait for the next frame's time, or for the end of the credential."""
        due_s = self.monotonic_s() + self.wanted.period_s
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(min(due_s, self.ends_at_s) - self.monotonic_s(), 0)):
                await self.standing.ended.wait()
        self._check()

    def _check(self) -> None:
        if self.monotonic_s() >= self.ends_at_s:
            raise UnauthenticatedError("the credential has ended")
        self.standing.check()
        decision = decide(self.call.actor, Action.TELEMETRY_READ)
        if not decision.allowed:
            raise ForbiddenError(decision.reason)

    async def _remembered(self) -> tuple[Int64Array, Int32Array]:
        return await self.call.engine.runner.latest_of_packs(self._number)

    async def _moved(self) -> bool:
        """Whether the writer has newer values of these packs, or others since a correction."""
        ts_ms, thousandths = await self._remembered()
        return not (np.array_equal(self._seen[0], ts_ms) and np.array_equal(self._seen[1], thousandths))

    async def _read(self) -> LatestOfPacks:
        # Taken before: what the writer changes while the store is read is seen at the next look.
        await self.call.engine.require_near(self.call.actor.tenant_name)
        seen = await self._remembered()
        if self.wanted.group is not None:
            found = await of_group(self.call, self.wanted.group)
        else:
            found = await of_packs(self.call, self.wanted.packs or ())
        if np.array_equal(self._number, found.number):
            self._seen = seen
        else:
            # Nothing is known of the newcomers before they were read: the next look reads once more.
            self._number, self._seen = found.number, _NOTHING
        return found

    @property
    def _rows(self) -> list[int]:
        return [MEASURE_INDEX[name] for name in self.wanted.measures]

    def _differ(self, before: LatestOfPacks, after: LatestOfPacks) -> BoolArray:
        """Which of the packs have other values than before, or weren't there: bool[n]."""
        places = {pack: place for place, pack in enumerate(before.packs)}
        place = np.array([places.get(pack, -1) for pack in after.packs], np.int64)
        differ, there = place < 0, np.flatnonzero(place >= 0)
        place = place[there]
        for row in self._rows:
            known, was_known = after.known[row][there], before.known[row][place]
            same = (after.value[row][there] == before.value[row][place]) & (
                after.ts_ms[row][there] == before.ts_ms[row][place]
            )
            differ[there] |= (known != was_known) | (known & ~same)
        return differ

    def _data(
        self,
        found: LatestOfPacks,
        which: Int64Array,
        unknown: Sequence[str] = (),
        gone: Sequence[str] = (),
    ) -> dict[str, Any]:
        columns: dict[str, Any] = {"pack": [found.packs[place] for place in which.tolist()]}
        for name, row in zip(self.wanted.measures, self._rows, strict=True):
            known = found.known[row][which]
            columns[name] = _or_none(found.value[row][which], known)
            columns[f"{name}_ts"] = _or_none(found.ts_ms[row][which], known)
        return {"columns": columns, "unknown": list(unknown), "gone": list(gone)}


def _or_none(values: np.ndarray[Any, np.dtype[Any]], known: BoolArray) -> list[Any]:
    return [one if some else None for one, some in zip(values.tolist(), known.tolist(), strict=True)]
