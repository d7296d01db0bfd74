"""Latest values of chosen packs as they change, at a chosen pace: what came in between is passed over."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from api.call import Call
from api.live.frames import Frame
from api.packs.latest import LatestOfPacks, of_group, of_packs
from domain.errors import ForbiddenError, UnauthenticatedError
from domain.measures import MEASURE_INDEX
from domain.policy import Action, decide
from domain.readings import BoolArray, Int32Array, Int64Array

Values = dict[str, tuple[tuple[float | None, int | None], ...]]
"""Of each pack the value and time of each measure wanted."""


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

    monotonic_s: the clock of the pace. ends_at_s: when the credential ends, by that clock.
    """

    call: Call
    wanted: LatestWanted
    pace: LatestPace
    ends_at_s: float
    monotonic_s: Callable[[], float]
    _number: Int32Array = field(default_factory=lambda: np.empty(0, np.int32))
    _seen: tuple[Int64Array, Int32Array] | None = None

    async def frames(self) -> AsyncGenerator[Frame]:
        """A snapshot, then the packs that changed, without end.

        Raises InvalidRequestError for what can't be asked, NotFoundError for a group, ForbiddenError when the policy
        lets the actor read telemetry no more, UnauthenticatedError when the credential has ended, UnavailableError.
        """
        self._check()
        found = await self._read()
        shown = self._values(found)
        read_s = told_s = self.monotonic_s()
        yield Frame("snapshot", None, self._data(shown, found.unknown))
        while True:
            await asyncio.sleep(max(0.0, min(self.wanted.period_s, self.ends_at_s - self.monotonic_s())))
            self._check()
            now_s = self.monotonic_s()
            if self._moved() or now_s - read_s >= self.pace.members_s:
                values = self._values(await self._read())
                read_s = now_s
                changed = {pack: one for pack, one in values.items() if shown.get(pack) != one}
                gone = [pack for pack in shown if pack not in values]
                shown = values
                if changed or gone:
                    told_s = now_s
                    yield Frame("telemetry", None, self._data(changed, gone=gone))
            if now_s - told_s >= self.pace.heartbeat_s:
                told_s = now_s
                yield Frame("heartbeat", None, None)

    def _check(self) -> None:
        if self.monotonic_s() >= self.ends_at_s:
            raise UnauthenticatedError("the credential has ended")
        decision = decide(self.call.actor, Action.TELEMETRY_READ)
        if not decision.allowed:
            raise ForbiddenError(decision.reason)

    def _moved(self) -> bool:
        """Whether the writer has newer values of these packs, or others since a correction."""
        before = self._seen
        ts_ms, thousandths = self._seen = self.call.engine.runner.latest_of_packs(self._number)
        return before is None or not (
            np.array_equal(before[0], ts_ms) and np.array_equal(before[1], thousandths)
        )

    async def _read(self) -> LatestOfPacks:
        # What the writer changes from here on is seen at the next look.
        self._seen = None
        if self.wanted.group is not None:
            found = await of_group(self.call, self.wanted.group)
        else:
            found = await of_packs(self.call, self.wanted.packs or ())
        if not np.array_equal(self._number, found.number):
            self._number = found.number
        return found

    def _values(self, found: LatestOfPacks) -> Values:
        rows = [MEASURE_INDEX[name] for name in self.wanted.measures]
        columns = [
            list(
                zip(
                    _or_none(found.value[row], found.known[row]),
                    _or_none(found.ts_ms[row], found.known[row]),
                    strict=True,
                )
            )
            for row in rows
        ]
        return dict(zip(found.packs, zip(*columns, strict=True), strict=True))

    def _data(self, values: Values, unknown: tuple[str, ...] = (), gone: list[str] | None = None) -> Any:
        columns: dict[str, Any] = {"pack": list(values)}
        for place, name in enumerate(self.wanted.measures):
            columns[name] = [one[place][0] for one in values.values()]
            columns[f"{name}_ts"] = [one[place][1] for one in values.values()]
        return {"columns": columns, "unknown": list(unknown), "gone": gone or []}


def _or_none(values: np.ndarray[Any, np.dtype[Any]], known: BoolArray) -> list[Any]:
    return [one if some else None for one, some in zip(values.tolist(), known.tolist(), strict=True)]
