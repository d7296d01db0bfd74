"""The newest events of a tenant, and the clients that have read them all."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from api.live.audience import Audience, AudienceKey
from api.live.frames import AlertEvent, Frame
from domain.errors import ForbiddenError
from storage.alert_log import Positions


@dataclass(frozen=True, slots=True, eq=False)
class Published:
    """An event with its frame."""

    event: AlertEvent
    frame: Frame


@dataclass(slots=True, eq=False)
class Parked:
    """A client that has read all and is written to by the hub itself, until it is called.

    push: writes at once; whether the client keeps up. ends_at_s: when its credential ends.
    place, position: how far it had come when it was called.
    """

    push: Callable[[bytes], bool]
    ends_at_s: float
    place: int
    position: Positions
    pushed_at_s: float
    called: asyncio.Event = field(default_factory=asyncio.Event)


class Feed:
    """The newest events of a tenant. Those who are subscribed keep only how far they have come in it.

    before: the positions behind which every event of the tenant, as far as the hub has read, stands in the feed.
    """

    def __init__(self, before: Positions, events_max: int, now_s: Callable[[], float]) -> None:
        self.before = before
        self.subscribers = 0
        self.changed = asyncio.Event()
        self._events: deque[Published] = deque(maxlen=events_max)
        self._events_max = events_max
        self._now_s = now_s
        self._first = 0
        self._parked: dict[AudienceKey, tuple[Audience, set[Parked]]] = {}

    @property
    def first(self) -> int:
        """The place of the oldest event that the feed still has."""
        return self._first

    @property
    def behind(self) -> int:
        """The place of the next event."""
        return self._first + len(self._events)

    def after(self, place: int) -> list[Published]:
        """The events from a place on that the feed still has."""
        count = min(self.behind - place, len(self._events))
        return [self._events[index] for index in range(-count, 0)]

    def publish(self, new: Sequence[Published], reached: Positions) -> None:
        """Add events, which bring the sequences to `reached`, and hand them on.

        It doesn't wait anywhere, so that between two calls who is parked has all, and who isn't knows its place.
        """
        for published in new:
            if len(self._events) == self._events_max:
                oldest = self._events[0].event
                self.before[oldest.partition_no] = oldest.seq
                self._first += 1
            self._events.append(published)
        self._push(new, reached)
        self.wake()

    def wake(self) -> None:
        """Wake all who wait for a change."""
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    def park(self, audience: Audience, parked: Parked) -> None:
        """Let the hub write to a client that has read all."""
        self._parked.setdefault(audience.key, (audience, set()))[1].add(parked)

    def leave(self, audience: Audience, parked: Parked) -> None:
        """Let the hub write to a client no more; also when it doesn't already."""
        _, those = self._parked.get(audience.key, (audience, set()))
        those.discard(parked)
        if not those:
            self._parked.pop(audience.key, None)

    def call_all(self) -> None:
        """Let every client go on by itself."""
        for _, those in self._parked.values():
            for parked in those:
                parked.place = self.behind
                parked.called.set()
        self._parked.clear()
        self.wake()

    def _push(self, new: Sequence[Published], reached: Positions) -> None:
        now_s, at_s = self._now_s(), asyncio.get_running_loop().time()
        for audience, those in list(self._parked.values()):
            frames = _for(audience, new)
            if frames == b"":
                continue
            slow = [one for one in those if not _pushed(one, frames, now_s, at_s)]
            for one in slow:
                took = frames is not None and one.ends_at_s > now_s
                one.place = self.behind - (0 if took else len(new))
                if took:
                    one.position = dict(reached)
                self.leave(audience, one)
                one.called.set()


def _for(audience: Audience, new: Sequence[Published]) -> bytes | None:
    """What is written to an audience; None when the policy shows it nothing any more."""
    try:
        audience.check()
    except ForbiddenError:
        return None
    return b"".join(one.frame.message for one in new if audience.gets(one.event.facts))


def _pushed(one: Parked, frames: bytes | None, now_s: float, at_s: float) -> bool:
    """Write to a client; whether it keeps up and may go on."""
    if frames is None or one.ends_at_s <= now_s:
        return False
    one.pushed_at_s = at_s
    return one.push(frames)
