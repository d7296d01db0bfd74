"""Which brokers are there, and whether those of a topic are: each is asked, and answers for itself."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError
from aiokafka.protocol.admin import DescribeConfigsRequest
from aiokafka.protocol.metadata import MetadataRequest

from domain.errors import KafkaUnreachableError

log = logging.getLogger(__name__)

_ANSWER_S_MAX: Final = 5.0
_SLOW_S: Final = 2.0
_LOOK_S: Final = 10.0
"""Between looks while nothing is suspected."""
_AGAIN_S: Final = 0.5
_OF_TOPICS: Final = 2
_COPIES_MIN: Final = "min.insync.replicas"

Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class _Told:
    """What a broker says: where the cluster's brokers are, who has copies of each partition, and how many must."""

    places: dict[int, Place]
    copies: tuple[frozenset[int], ...]
    copies_min: int


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at the brokers found.

    taking: some partition has as many copies at brokers that answer as must have a message. One whose leader is away
    counts: another leader is elected soon. whole: every broker answers that the others know.
    """

    taking: bool
    whole: bool


async def first_answering(bootstrap: str, answer_s_max: float = _ANSWER_S_MAX) -> str:
    """The address of those given, as HOST:PORT, whose broker answers first. Raises KafkaUnreachableError.

    One that takes connections and says nothing, as a broker that hangs does, isn't waited for while another answers.
    A client that is given this one learns of the others from it, and asks no address again; given all, it would try
    them in any order, and wait for each.
    """
    addresses = bootstrap.split(",")
    asking = [asyncio.create_task(_answer(address, answer_s_max)) for address in addresses]
    try:
        for answered in asyncio.as_completed(asking):
            address, why = await answered
            if why is None:
                return address
    finally:
        for one in asking:
            one.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
    silent = ", ".join(f"{address} ({why})" for address, why in [one.result() for one in asking])
    raise KafkaUnreachableError(f"no broker answers at {silent}")


async def _answer(address: str, answer_s_max: float) -> tuple[str, str | None]:
    """The address, and why its broker doesn't answer; None when it does."""
    try:
        async with asyncio.timeout(answer_s_max):
            (await create_conn(*_place(address), request_timeout_ms=int(answer_s_max * 1000))).close()
    except TimeoutError:
        return address, f"silent for {answer_s_max:g} s"
    except (KafkaError, OSError) as error:
        return address, getattr(error, "strerror", None) or str(error) or type(error).__name__
    return address, None


def _place(address: str) -> Place:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


async def look_at(bootstrap: str, topic: str) -> Look:
    """How the brokers of a topic are.

    What is left of a cluster that has lost its quorum tells what was, so a broker counts by its own answer, and not by
    what others say of it.
    """
    tried = {_place(address) for address in bootstrap.split(",")}
    first = await _ask_all(topic, tried)
    places = {node: place for told in first.values() for node, place in told.places.items()}
    told = first | await _ask_all(topic, {*places.values()} - tried)
    in_reach = {node for node, place in places.items() if place in told}
    taking = any(len(copies & in_reach) >= one.copies_min for one in told.values() for copies in one.copies)
    return Look(taking, whole=bool(in_reach) and in_reach == places.keys())


async def _ask_all(topic: str, places: set[Place]) -> dict[Place, _Told]:
    """The answers of those that answer."""
    told = await asyncio.gather(*(_ask(topic, place) for place in places))
    return {place: answer for place, answer in zip(places, told, strict=True) if answer is not None}


async def _ask(topic: str, place: Place) -> _Told | None:
    try:
        async with asyncio.timeout(_ANSWER_S_MAX):
            connection = await create_conn(*place, request_timeout_ms=int(_ANSWER_S_MAX * 1000))
            try:
                cluster = await connection.send(MetadataRequest([topic], allow_auto_topic_creation=False))
                asked = [(_OF_TOPICS, topic, [_COPIES_MIN])]
                configured = await connection.send(DescribeConfigsRequest(asked))
            finally:
                connection.close()
    except (KafkaError, OSError) as error:
        log.info("the broker at %s:%d does not answer: %s", *place, type(error).__name__)
        return None
    return _read(cluster, configured)


def _read(cluster: Any, configured: Any) -> _Told:
    """Without copies when the broker doesn't know the topic."""
    ((_, _, _, _, settings),) = configured.resources
    ((_, _, _, partitions),) = cluster.topics
    return _Told(
        {node: (host, port) for node, host, port, *_ in cluster.brokers},
        tuple(frozenset(copies) for _, _, _, _, copies, *_ in partitions),
        max((int(setting[1]) for setting in settings), default=1),
    )


@dataclass(slots=True)
class Reach:
    """Whether the brokers are away: two looks in a row found it, and no message was acknowledged since.

    A message that isn't acknowledged soon has the next look made at once.
    """

    away: bool = False
    _suspected: bool = False
    _waiting: set[asyncio.Timeout] = field(default_factory=set)
    _look_now: asyncio.Event = field(default_factory=asyncio.Event)

    def saw(self, look: Look) -> None:
        """Note what a look found. When the brokers are away, whoever waits for an acknowledgement is let go."""
        self.away, self._suspected = self._suspected and not look.taking, not look.taking
        if self.away:
            now_s = asyncio.get_running_loop().time()
            for window in self._waiting:
                if not window.expired():
                    window.reschedule(now_s)

    async def until_next_look(self) -> None:
        """Wait until it is time for a look."""
        if self._suspected:
            await asyncio.sleep(_AGAIN_S)
            return
        await asyncio.sleep(_SLOW_S)
        try:
            async with asyncio.timeout(_LOOK_S - _SLOW_S):
                await self._look_now.wait()
        except TimeoutError:
            return
        finally:
            self._look_now.clear()

    @contextmanager
    def acknowledging(self, window: asyncio.Timeout) -> Iterator[None]:
        """Around the wait for a message's acknowledgement, within a time that ends when the brokers are away."""
        soon = asyncio.get_running_loop().call_later(_SLOW_S, self._look_now.set)
        self._waiting.add(window)
        try:
            yield
        finally:
            soon.cancel()
            self._waiting.discard(window)
        self.away = self._suspected = False
