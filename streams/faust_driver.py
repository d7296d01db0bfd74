"""What is other in the Faust of a worker: runs of messages, positions from the store, and only what is committed."""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import faust
from aiokafka import AIOKafkaConsumer, TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.transports import SchedulingStrategyT
from faust.types.tuples import ConsumerMessage
from mode.supervisors import SupervisorStrategy
from mode.types import ServiceT

from domain.log_ends import Ends
from streams.fetched import Damaged, Fetched, Gap, Missing, Record

if TYPE_CHECKING:
    from streams.faust_app import WorkerApp, WorkerLimits

log = logging.getLogger(__name__)

Found: TypeAlias = Record | Gap | Damaged | Missing

_RECORDS_OF_A_RUN_MAX: Final = 5_000
_RUNS_WAITING_MAX: Final = 4


def make_app(worker: "WorkerApp", bootstrap: str, group: str, limits: "WorkerLimits") -> faust.App:
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
        consumer_auto_offset_reset="none",
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


class EndsWithItsPartition(SupervisorStrategy):
    """Restarts nothing: what works on a partition ends when the partition is taken away, and begins anew with it.

    Faust cancels it then, takes that for a crash, and would start another one for the partition that is gone; and with
    two at the same moment it would take the worker for broken, and end it.
    """

    async def restart_service(self, service: ServiceT) -> None:
        self.discard(service)


class _App(faust.App):
    worker: "WorkerApp"

    def _new_transport(self) -> "_Transport":
        return _Transport(self.conf.broker_consumer, self)

    def _create_directories(self) -> None:
        """None: they are for tables."""


class Run(ConsumerMessage):
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
        fetcher = self._ensure_consumer()._fetcher  # noqa: SLF001 - there is no public way
        fetcher._records = Fetched(fetcher)  # noqa: SLF001 - nothing is fetched yet

    async def on_thread_stop(self) -> None:
        """Leave the group, unless no broker answers: then the others see after a session that this worker is gone."""
        limits = cast("_App", self.app).worker.limits
        leaving = asyncio.ensure_future(super().on_thread_stop())
        if not (await asyncio.wait({leaving}, timeout=limits.drain_s_max))[0]:
            log.warning("the group isn't left: no broker answers")


class Consumer(driver.Consumer):
    """Goes on where the store says (E11): the only place where a position that is set is kept."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.done: dict[TP, int] = {}
        """Behind the last that was worked on, since the partition was assigned."""
        self.began: dict[TP, int] = {}
        """Where each partition that was assigned went on."""
        self.given_up: set[TP] = set()
        """Those that were let go of with a message that could neither be worked on nor become a dead letter."""

    def _new_consumer_thread(self) -> _Thread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:
        """A run's. record: the messages of one, as the scheduler gives them."""
        last = record[-1]
        run = Run(
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
        # Kafka may not have heard of it yet.
        done = dict(self.done)
        self.done.clear()
        self.given_up.clear()
        worker.dead_letters.letting_go = False
        found: dict[TP, Any] = dict(await super().seek_to_committed())
        found |= {tp: max(done[tp], found[tp] or 0) for tp in done.keys() & found.keys()}
        mine = [tp for tp in self.assignment() if tp.topic == worker.topic]
        positions = await worker.take_over([tp.partition for tp in mine])
        found |= {tp: positions[tp.partition] for tp in mine}
        if worker.stopping:
            # Nothing is worked on any more.
            found = {tp: position or 0 for tp, position in found.items()}
        else:
            ends = await self._ends(found)
            found = {tp: await worker.goes_on_at(tp, position, ends[tp]) for tp, position in found.items()}
        self.began = found
        thread: Any = self._thread
        await thread.call_thread(self._seek_all, found)
        return found

    async def _seek_all(self, positions: Mapping[TP, int]) -> None:
        """In the consumer's thread: no answer to a fetch from before may pause a partition behind it."""
        thread: Any = self._thread
        consumer = thread._ensure_consumer()  # noqa: SLF001 - there is no public way
        for part, position in positions.items():
            tp = TopicPartition(*part)
            consumer.seek(tp, position)
            consumer.resume(tp)

    async def _ends(self, partitions: Iterable[TP]) -> dict[TP, Ends]:
        # Each waits until the broker has answered the fetch before it, which can take a second and a half.
        first, behind = await asyncio.gather(self.earliest_offsets(*partitions), self.highwaters(*partitions))
        return {tp: Ends(first[tp], behind[tp]) for tp in first}

    async def join_again(self) -> None:
        """Have the group assign this worker's partitions once more."""
        thread: Any = self._thread
        # aiokafka has no public way to ask for it; this is how it does so itself.
        coordinator = thread._ensure_consumer()._coordinator  # noqa: SLF001
        await thread.call_thread(coordinator.request_rejoin)


class _Transport(driver.Transport):
    Consumer = Consumer
