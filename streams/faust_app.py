"""The Faust application of a worker: its partitions' owners go on where PostgreSQL says, whatever Kafka remembers."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, cast

import faust
from faust.exceptions import ConsumerNotStarted
from faust.types import TP, EventT

from domain.errors import BpmError, MessageUnreadableError, PartitionRevokedError, PositionLostError
from domain.log_ends import Ends
from streams.codec import decode
from streams.dead_letters import DeadLetterWriter, Message, message_at
from streams.faust_driver import Consumer, EndsWithItsPartition, Found, Run, make_app
from streams.fetched import Damaged, Gap, Missing, Record
from streams.partition_worker import PartitionWorker, Passed, Unreadable
from streams.settling import Delivered
from streams.under_way import UnderWay

log = logging.getLogger(__name__)

_TURN_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """group_messages_max: messages committed together.

    singles_max, singles_wait_s: single readings that are sent on together, and how long the first waits for others.
    session_s: how long a worker may be silent before its partitions go to others. drain_s_max: how long a stop waits
    for what is in hand.
    """

    group_messages_max: int
    singles_max: int
    singles_wait_s: float
    session_s: float
    drain_s_max: float


class WorkerApp:
    """The application, with the worker of each partition that was ever assigned to this process.

    make_worker: the worker of a partition. dead_letters: what can't be committed or sent on.
    send_on: sends single readings of a partition of their topic on, and returns when that is durable. count_lost: of
    these, how many their topic has dropped before they were sent on.
    """

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        singles_topic: str,
        group: str,
        limits: WorkerLimits,
        make_worker: Callable[[int], PartitionWorker],
        dead_letters: DeadLetterWriter,
        send_on: Callable[[int, Sequence[Record]], Awaitable[None]],
        count_lost: Callable[[int], None],
    ) -> None:
        self.topic = topic
        self.limits = limits
        self.partitions: dict[int, PartitionWorker] = {}
        self.assigned: set[int] = set()
        self._make_worker = make_worker
        self.dead_letters = dead_letters
        self._send_on = send_on
        self._count_lost = count_lost
        self._lost: dict[TP, int] = {}
        """From which position on a loss was told."""
        self._turns: asyncio.Task[None] | None = None
        self._ending: list[asyncio.Task[None]] = []
        self.stopping = False
        """Whether nothing is begun any more."""
        self.app = make_app(self, bootstrap, group, limits)
        source = self.app.topic(topic, key_serializer="raw", value_serializer="raw")
        singles = self.app.topic(singles_topic, key_serializer="raw", value_serializer="raw")
        for name, topic_, work in (("readings", source, self._take_in), ("singles", singles, self._gather)):
            self.app.agent(
                topic_,
                name=name,
                isolated_partitions=True,
                concurrency=1,
                supervisor_strategy=EndsWithItsPartition,
            )(work)
        self.app.on_partitions_revoked.connect(self._on_revoked)  # type: ignore[arg-type]

    # Assignment

    async def take_over(self, numbers: Sequence[int]) -> dict[int, int]:
        """Take partitions over, unless stopping; where each goes on."""
        if self.stopping:
            return dict.fromkeys(numbers, 0)
        self.assigned = set(numbers)
        for number in self.assigned - set(self.partitions):
            self.partitions[number] = self._make_worker(number)
        workers = [self.partitions[number] for number in numbers]
        found = await asyncio.gather(*(worker.in_thread(worker.take_over) for worker in workers))
        if self._turns is None:
            self._turns = asyncio.create_task(self._turn_for_ever())
        return dict(zip(numbers, found, strict=True))

    async def goes_on_at(self, tp: TP, position: int | None, ends: Ends) -> int:
        """Where a partition that was assigned goes on. position: where it is to; None before the first message.

        A partition of readings whose position the log doesn't have isn't worked on, with an alarm. Single readings go
        on, with one: nobody but the group knows their position, and more would be dropped meanwhile.
        """
        if tp.topic == self.topic:
            worker = self.partitions[tp.partition]
            try:
                await worker.in_thread(worker.compare, ends)
            except PositionLostError as error:
                if self._is_news(tp, worker.store.position):
                    log.critical("%s, partition %d is refused: %s", tp.topic, tp.partition, error.detail)
                # Its messages stay where they are.
                return ends.behind
            return worker.store.position
        if position is None:
            return ends.first
        if (lost := ends.lost(position)) is None:
            return position
        if self._is_news(tp, position):
            log.critical("%s, partition %d: %s", tp.topic, tp.partition, lost.why)
            self._count_lost(lost.messages_max or 0)
        return lost.goes_on_at

    def _is_news(self, tp: TP, position: int) -> bool:
        """Whether a loss from a position on wasn't told yet.

        Faust asks twice for one assignment, and for the next one before the group has heard where this one goes on.
        """
        told = self._lost.get(tp)
        self._lost[tp] = position
        return told != position

    async def _on_revoked(self, _: object, revoked: set[TP], **__: Any) -> None:
        """Remember nothing as ours: whether it still is, is asked of the store at the next assignment."""
        self.assigned -= {tp.partition for tp in revoked if tp.topic == self.topic}

    def owned(self) -> list[PartitionWorker]:
        """The workers of the partitions that are ours, as far as is known."""
        return [
            self.partitions[number] for number in sorted(self.assigned) if not self.partitions[number].lost
        ]

    # Messages

    async def _take_in(self, stream: faust.StreamT[bytes]) -> None:
        """Commit the messages of a partition in their order; what is acknowledged here is committed.

        No exception leaves: it would acknowledge a message and go on with the next.
        """
        await self._each(stream, self.limits.group_messages_max, 0, self._commit)

    async def _gather(self, stream: faust.StreamT[bytes]) -> None:
        """Send single readings on; what is acknowledged here is in the topic of readings, or a dead letter."""
        await self._each(stream, self.limits.singles_max, self.limits.singles_wait_s, self._pass_on)

    async def _each(
        self,
        stream: faust.StreamT[bytes],
        records_max: int,
        wait_s: float,
        work: Callable[[TP, list[Record | Gap]], Awaitable[int]],
    ) -> None:
        """Work on one group of messages after another, each at most so large; work gives the position behind it.

        What can't be worked on ends the process, before another is taken. Of a partition that was given up nothing is
        worked on any more until it is assigned again.
        """
        consumer = cast("Consumer", self.app.consumer)
        async with aclosing(_gathered(stream, records_max, wait_s)) as gathered:
            async for runs in gathered:
                tp = runs[0].message.tp
                records, then = _readable(one for run in runs for one in _found_in(run))
                try:
                    for start in range(0, len(records), records_max):
                        if tp not in consumer.given_up:
                            consumer.done[tp] = await work(tp, records[start : start + records_max])
                    if then is not None and tp not in consumer.given_up:
                        await _stop_at(then, tp, consumer)
                except PartitionRevokedError:
                    consumer.given_up.add(tp)
                except Exception as error:  # noqa: BLE001 - none may leave
                    why = error.detail if isinstance(error, BpmError) else f"{type(error).__name__}: {error}"
                    log.critical("the worker ends: %s, partition %d: %s", tp.topic, tp.partition, why)
                    await self.app.crash(error)
                    await asyncio.Event().wait()
                for run in runs:
                    await stream.ack(run)

    async def _pass_on(self, tp: TP, records: list[Record | Gap]) -> int:
        if found := [one for one in records if not isinstance(one, Gap)]:
            await self._send_on(tp.partition, found)
        return records[-1].offset + 1

    async def _commit(self, tp: TP, records: list[Record | Gap]) -> int:
        number = tp.partition
        worker = self.partitions[number]
        messages = {
            one.offset: message_at(tp.topic, number, one) for one in records if not isinstance(one, Gap)
        }
        worker.log_end = max(worker.log_end, self._log_end(number), records[-1].offset + 1)
        loop = asyncio.get_running_loop()

        def aside(position: int, error: Exception) -> None:
            """From the owner's thread."""
            put = self.dead_letters.put(messages[position], error)
            asyncio.run_coroutine_threadsafe(put, loop).result()

        def commit() -> None:
            worker.commit([_read(number, one, messages) for one in records], aside)

        await worker.in_thread(commit)
        return worker.store.position

    def _log_end(self, number: int) -> int:
        """The end of a partition as far as Kafka has told it; 0 where it hasn't, or the group is just changing."""
        try:
            return self.app.consumer.highwater(TP(self.topic, number)) or 0
        except (AssertionError, AttributeError, ConsumerNotStarted):
            # aiokafka asserts that the partition is assigned, and what it asks changes in another thread.
            return 0

    async def _turn_for_ever(self) -> None:
        """What is due between groups, in each partition that is ours; one that takes long holds no other up."""
        under_way = UnderWay()
        try:
            while True:
                await asyncio.sleep(_TURN_S)
                try:
                    self._begin_turns(under_way)
                    await self._ask_anew()
                except Exception:
                    # Without turns nothing would be counted or asked for again, and nobody would be told.
                    log.exception("what is due between groups could not be begun")
        finally:
            under_way.cancel()

    def _begin_turns(self, under_way: UnderWay) -> None:
        for number in self.assigned:
            worker = self.partitions[number]
            worker.log_end = max(worker.log_end, self._log_end(number))
            under_way.begin(number, partial(self._turn, worker))

    async def _turn(self, worker: PartitionWorker) -> None:
        try:
            await worker.in_thread(worker.turn)
        except Exception:
            log.exception("partition %d: what is due between groups failed", worker.partition_no)

    async def _ask_anew(self) -> None:
        """Have partitions assigned again that others took over, though they stayed ours for the group.

        A worker that lags behind in the group's changes may take partitions from their next owner, and let go of them
        as it catches up. After a session that has happened, and whoever isn't a member any more knows.
        """
        now_s = time.monotonic()
        lost = [self.partitions[number] for number in self.assigned]
        late = [one for one in lost if one.lost_s is not None and now_s - one.lost_s > self.limits.session_s]
        if late:
            log.warning("partitions %s are ours, and were taken over", [one.partition_no for one in late])
            for one in late:
                one.lost_s = now_s
            await cast("Consumer", self.app.consumer).join_again()

    def begin_stop(self) -> None:
        """Let what is being committed end, and nothing begin: the next owner goes on where that ends.

        The states are saved behind that, whether or not Kafka lets go of this worker.
        """
        self.stopping = True
        for worker in self.partitions.values():
            worker.stop()
        self._ending = [asyncio.create_task(one.in_thread(one.end)) for one in self.partitions.values()]

    async def stop(self) -> None:
        """Let go of the partitions, once Faust has ended; after `begin_stop`."""
        if self._turns is not None:
            self._turns.cancel()
            await asyncio.gather(self._turns, return_exceptions=True)
        await asyncio.gather(*self._ending)
        for worker in self.partitions.values():
            worker.close()

    def busy(self) -> list[PartitionWorker]:
        """Those whose thread is at work. From any thread."""
        return [worker for worker in list(self.partitions.values()) if worker.busy]


def _read(
    number: int, found: Record | Gap, messages: Mapping[int, Message]
) -> Delivered | Unreadable | Passed:
    """messages: of a partition, by their positions."""
    if isinstance(found, Gap):
        # The engine's own messages are in no transaction.
        log.warning(
            "partition %d: positions %d to %d are passed over: markers of transactions, or messages of aborted ones",
            number,
            found.first,
            found.offset,
        )
        return Passed(found.first, found.offset)
    message = messages[found.offset]
    try:
        return Delivered(decode(message.value or b""), message.position)
    except MessageUnreadableError as error:
        return Unreadable(message.position, error)


def _found_in(event: EventT[bytes]) -> list[Found]:
    return cast(Run, event.message).found


def _readable(found: Iterable[Found]) -> tuple[list[Record | Gap], Damaged | Missing | None]:
    """What comes before the first that can't be read, and that."""
    before: list[Record | Gap] = []
    for one in found:
        if isinstance(one, Damaged | Missing):
            return before, one
        before.append(one)
    return before, None


async def _stop_at(found: Damaged | Missing, tp: TP, consumer: Consumer) -> None:
    """Work on no more of a partition.

    Raises MessageUnreadableError for what is damaged: to pass it over would lose what nobody can look at.
    """
    if isinstance(found, Damaged):
        raise MessageUnreadableError(
            f"what stands at position {found.offset} can't be unpacked: {type(found.error).__name__}: {found.error}"
        )
    if found.offset < consumer.began.get(tp, 0):
        # Asked for at the position that Kafka remembers, before it was set to where the partition goes on.
        return
    log.error("%s, partition %d: position %d isn't there any more", *tp, found.offset)
    consumer.given_up.add(tp)
    consumer.done[tp] = found.offset
    # As it is assigned anew, it is seen what is there.
    await consumer.join_again()


async def _gathered(
    stream: faust.StreamT[bytes], records_max: int, wait_s: float
) -> AsyncGenerator[list[EventT[bytes]], None]:
    """Runs of a partition's messages, as they come, or as many as come in so long a wait after the first."""
    events = aiter(cast("faust.Stream[bytes]", stream).noack().events())
    ahead: asyncio.Future[EventT[bytes]] | None = None
    try:
        while True:
            runs = [await (ahead or anext(events))]
            ahead, until_s = None, time.monotonic() + wait_s
            count = len(_found_in(runs[0]))
            while count < records_max and (left_s := until_s - time.monotonic()) > 0:
                ahead = ahead or asyncio.ensure_future(anext(events))
                if not (await asyncio.wait({ahead}, timeout=left_s))[0]:
                    break
                runs.append(ahead.result())
                ahead, count = None, count + len(_found_in(runs[-1]))
            yield runs
    except StopAsyncIteration:
        return
    finally:
        if ahead is not None:
            ahead.cancel()
