"""The Faust application of a worker: its partitions' owners go on where PostgreSQL says, whatever Kafka remembers."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias, cast

import faust
from aiokafka import AIOKafkaConsumer
from faust.exceptions import ConsumerNotStarted
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, EventT
from faust.types.transports import SchedulingStrategyT
from faust.types.tuples import ConsumerMessage
from mode.supervisors import SupervisorStrategy
from mode.types import ServiceT

from domain.errors import MessageUnreadableError, PartitionRevokedError, PositionLostError
from streams.codec import decode
from streams.dead_letters import DeadLetterWriter, Message, message_of
from streams.fetched import Damaged, Fetched, Gap, Record
from streams.partition_worker import Ends, PartitionWorker, Passed, Unreadable
from streams.settling import Delivered
from streams.under_way import UnderWay

log = logging.getLogger(__name__)

Found: TypeAlias = Record | Gap | Damaged

_TURN_S: Final = 0.25
_RECORDS_OF_A_RUN_MAX: Final = 5_000
_RUNS_WAITING_MAX: Final = 4


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
    send_on: sends single readings of a partition of their topic on, and returns when that is durable.
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
        send_on: Callable[[int, Sequence[Message]], Awaitable[None]],
    ) -> None:
        self.topic = topic
        self.limits = limits
        self.partitions: dict[int, PartitionWorker] = {}
        self.assigned: set[int] = set()
        self._make_worker = make_worker
        self.dead_letters = dead_letters
        self._send_on = send_on
        self._turns: asyncio.Task[None] | None = None
        self.stopping = False
        """Whether nothing is begun any more."""
        self.app = _app(self, bootstrap, group, limits)
        source = self.app.topic(topic, key_serializer="raw", value_serializer="raw")
        singles = self.app.topic(singles_topic, key_serializer="raw", value_serializer="raw")
        for name, topic_, work in (("readings", source, self._take_in), ("singles", singles, self._gather)):
            self.app.agent(
                topic_,
                name=name,
                isolated_partitions=True,
                concurrency=1,
                supervisor_strategy=_EndsWithItsPartition,
            )(work)
        self.app.on_partitions_revoked.connect(self._on_revoked)  # type: ignore[arg-type]

    # Assignment

    async def take_over(self, numbers: Sequence[int]) -> dict[int, int]:
        """Take partitions over; where each goes on."""
        self.assigned = set(numbers)
        for number in self.assigned - set(self.partitions):
            self.partitions[number] = self._make_worker(number)
            if self.stopping:
                self.partitions[number].stop()
        workers = [self.partitions[number] for number in numbers]
        found = await asyncio.gather(*(worker.in_thread(worker.take_over) for worker in workers))
        if self._turns is None:
            self._turns = asyncio.create_task(self._turn_for_ever())
        return dict(zip(numbers, found, strict=True))

    async def has(self, number: int, ends: Ends) -> bool:
        """Whether the log has the position of a partition. One whose it hasn't isn't worked on, with an alarm."""
        worker = self.partitions[number]
        try:
            await worker.in_thread(worker.compare, ends)
        except PositionLostError as error:
            log.critical("partition %d is refused: %s", number, error.detail)
            return False
        return True

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
        consumer = cast("_Consumer", self.app.consumer)
        async with aclosing(_gathered(stream, records_max, wait_s)) as gathered:
            async for runs in gathered:
                tp = runs[0].message.tp
                records, damaged = _readable(one for run in runs for one in _found_in(run))
                try:
                    for start in range(0, len(records), records_max):
                        if tp not in consumer.given_up:
                            consumer.done[tp] = await work(tp, records[start : start + records_max])
                    if tp not in consumer.given_up:
                        _require_whole(tp, damaged)
                except PartitionRevokedError:
                    consumer.given_up.add(tp)
                except Exception as error:  # noqa: BLE001 - none may leave
                    log.critical("the worker ends: %s", getattr(error, "detail", error))
                    await self.app.crash(error)
                    await asyncio.Event().wait()
                for run in runs:
                    await stream.ack(run)

    async def _pass_on(self, tp: TP, records: list[Record | Gap]) -> int:
        if messages := [message_of(one) for one in records if not isinstance(one, Gap)]:
            await self._send_on(tp.partition, messages)
        return records[-1].offset + 1

    async def _commit(self, tp: TP, records: list[Record | Gap]) -> int:
        number = tp.partition
        worker = self.partitions[number]
        messages = {one.offset: message_of(one) for one in records if not isinstance(one, Gap)}
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
            await cast("_Consumer", self.app.consumer).join_again()

    def begin_stop(self) -> None:
        """Let what is being committed end, and nothing begin: the next owner goes on where that ends."""
        self.stopping = True
        for worker in self.partitions.values():
            worker.stop()

    async def stop(self) -> None:
        """Save the states and let go of the partitions, once Faust has ended."""
        if self._turns is not None:
            self._turns.cancel()
            await asyncio.gather(self._turns, return_exceptions=True)
        workers = list(self.partitions.values())
        await asyncio.gather(*(worker.in_thread(worker.end) for worker in workers))
        for worker in workers:
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
    return cast(_Run, event.message).found


def _readable(found: Iterable[Found]) -> tuple[list[Record | Gap], Damaged | None]:
    """What comes before the first that can't be read, and that."""
    before: list[Record | Gap] = []
    for one in found:
        if isinstance(one, Damaged):
            return before, one
        before.append(one)
    return before, None


def _require_whole(tp: TP, damaged: Damaged | None) -> None:
    """To pass it over would lose what nobody can look at; whoever mends it needs its place."""
    if damaged is not None:
        raise MessageUnreadableError(
            f"{tp.topic}, partition {tp.partition}: what stands at position {damaged.offset} can't be unpacked: "
            f"{type(damaged.error).__name__}: {damaged.error}"
        )


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


def _app(worker: WorkerApp, bootstrap: str, group: str, limits: WorkerLimits) -> faust.App:
    """Faust without what it isn't needed for: no tables, no leader, no web server, no topics of its own."""
    app = _App(
        group,
        broker=[f"kafka://{address}" for address in bootstrap.split(",")],
        store="memory://",
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        reply_create_topic=False,
        table_standby_replicas=0,
        consumer_auto_offset_reset="earliest",
        stream_wait_empty=True,
        stream_buffer_maxsize=_RUNS_WAITING_MAX,
        broker_session_timeout=limits.session_s,
        broker_heartbeat_interval=max(0.3, limits.session_s / 6),
        broker_rebalance_timeout=max(10.0, 2 * limits.session_s),
        broker_request_timeout=max(30.0, 3 * limits.session_s),
        broker_commit_interval=0.5,
        broker_max_poll_records=_RECORDS_OF_A_RUN_MAX,
        ConsumerScheduler=_InRuns,
        worker_redirect_stdouts=False,
    )
    app.worker = worker
    return app


class _EndsWithItsPartition(SupervisorStrategy):
    """Restarts nothing: what works on a partition ends when the partition is taken away, and begins anew with it.

    Faust cancels it then, takes that for a crash, and would start another one for the partition that is gone; and with
    two at the same moment it would take the worker for broken, and end it.
    """

    async def restart_service(self, service: ServiceT) -> None:
        self.discard(service)


class _App(faust.App):
    worker: WorkerApp

    def _new_transport(self) -> "_Transport":
        return _Transport(self.conf.broker_consumer, self)

    def _create_directories(self) -> None:
        """None: they are for tables."""


class _Run(ConsumerMessage):
    """Messages of a partition that follow one another, as one message of Faust, which spends 100 µs on each."""

    __slots__ = ("found",)
    found: list[Found]


class _InRuns(SchedulingStrategyT):
    """What was fetched of a partition stays together."""

    @classmethod
    def map_from_records(cls, records: Mapping[TP, list[Found]]) -> Mapping[TP, list[Found]]:
        return records

    def iterate(self, records: Mapping[TP, list[Found]]) -> Iterator[tuple[TP, list[Found]]]:
        return iter(records.items())

    def records_iterator(self, index: Mapping[TP, list[Found]]) -> Iterator[tuple[TP, list[Found]]]:
        return iter(index.items())


class _Thread(driver.AIOKafkaConsumerThread):
    """Reads what is committed alone, and tells what stands between messages.

    Faust would do the first only where it writes in transactions itself; aiokafka never does the second.
    """

    def _create_worker_consumer(self, transport: driver.Transport) -> AIOKafkaConsumer:
        made = super()._create_worker_consumer(transport)
        made._isolation_level = "read_committed"  # noqa: SLF001
        return made

    async def on_start(self) -> None:
        await super().on_start()
        self._ensure_consumer()._fetcher._records = Fetched()  # noqa: SLF001 - nothing is fetched yet


class _Consumer(driver.Consumer):
    """Goes on where the store says (E11): the only place where a position that is set is kept."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.done: dict[TP, int] = {}
        """Behind the last that was worked on, since the partition was assigned."""
        self.given_up: set[TP] = set()
        """Those that were let go of with a message that could neither be worked on nor become a dead letter."""

    def _new_consumer_thread(self) -> _Thread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:
        """A run's. record: the messages of one, as the scheduler gives them."""
        last = record[-1]
        run = _Run(
            tp.topic, tp.partition, last.offset, last.timestamp / 1000, last.timestamp_type, None, None, b"", None,
            tp=tp, generation_id=self.app.consumer_generation_id,
        )  # fmt: skip
        run.found = record
        return run

    def _new_offset(self, tp: TP) -> int | None:
        """What Kafka is told of a partition: what its agent says, not Faust's sums of single messages."""
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        return self.done.get(tp)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Gaps between the last messages of runs are no gaps."""

    async def wait_empty(self) -> None:
        """Before partitions are let go of: what waits for dead letters would hold up all of them.

        When the worker stops, nothing is waited for that can't be done now.
        """
        worker: WorkerApp = self.app.worker  # type: ignore[attr-defined]
        worker.dead_letters.letting_go = True
        if not worker.stopping:
            await super().wait_empty()
            return
        # It takes no cancelling, and ends once the consumer does.
        waiting = asyncio.ensure_future(super().wait_empty())
        if not (await asyncio.wait({waiting}, timeout=worker.limits.drain_s_max))[0]:
            log.warning("what is in hand is left to the next worker")

    async def seek_to_committed(self) -> Mapping[TP, int]:
        worker: WorkerApp = self.app.worker  # type: ignore[attr-defined]
        self.done.clear()
        self.given_up.clear()
        worker.dead_letters.letting_go = False
        found = dict(await super().seek_to_committed())
        mine = {tp.partition: tp for tp in self.assignment() if tp.topic == worker.topic}
        positions = await worker.take_over(list(mine))
        if worker.stopping:
            return found
        # Each waits until the broker has answered the fetch before it, which can take a second and a half.
        first, behind = await asyncio.gather(
            self.earliest_offsets(*mine.values()), self.highwaters(*mine.values())
        )
        for number, tp in mine.items():
            known = await worker.has(number, Ends(first[tp], behind[tp]))
            # Of a refused partition nothing is worked on; its messages stay where they are.
            found[tp] = positions[number] if known else behind[tp]
            self._thread.seek(tp, found[tp])
        return found

    async def join_again(self) -> None:
        """Have the group assign this worker's partitions once more."""
        thread: Any = self._thread
        # aiokafka has no public way to ask for it; this is how it does so itself.
        coordinator = thread._ensure_consumer()._coordinator  # noqa: SLF001
        await thread.call_thread(coordinator.request_rejoin)


class _Transport(driver.Transport):
    Consumer = _Consumer
