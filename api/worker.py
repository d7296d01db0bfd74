"""A worker process: partitions of the topic, their counter, and what it says of itself."""

import asyncio
import gc
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence

import faust
from mode import Service
from prometheus_client import start_http_server

from api import logs
from api.alert_topic import AlertPublisher
from api.bootstrap import make_counter
from api.database_access import DatabaseAccess
from api.failpoints import failpoint
from api.limits import owner_limits
from api.settings import Settings
from api.singles import SinglesJudge
from api.timer import monotonic_ms, wall_ms
from api.topic import bootstrap_of, group_of, log_of
from api.worker_reports import WorkerMetrics, WorkerReports
from domain.clock import MILLISECONDS_PER_SECOND, AnchoredClock
from domain.errors import KafkaRefusedError
from storage.database import INGEST_ROLE
from storage.layout import Layout, layout
from storage.partition import PartitionStore
from storage.reports import Reports
from streams.cutting import CutLimits
from streams.dead_letters import DeadLetterWriter, Message
from streams.faust_app import WorkerApp, WorkerLimits
from streams.fetched import Record
from streams.partition_worker import PartitionWorker
from streams.pipeline import PipelineLimits
from streams.producing import Producer
from streams.reach import first_answering
from streams.singles import Singles
from streams.topic_admin import identity_of, made_anew, require_log
from streams.topics import ALERTS, DEAD_LETTERS, READINGS, SINGLES, version_header

log = logging.getLogger(__name__)

_CANCEL_S_MAX = 1.0
_LOOK_S = 10.0


class WorkerProcess:
    """Everything of a worker, joined; `run` ends with the exit code."""

    def __init__(self, settings: Settings, access: DatabaseAccess, layout: Layout) -> None:
        self._settings = settings
        self._layout = layout
        self._ingest = access.as_role(INGEST_ROLE, settings)
        self._clock = AnchoredClock(
            wall_ms, monotonic_ms, settings.clock_jump_s_max * MILLISECONDS_PER_SECOND
        )
        self._reached = failpoint(settings)
        self._refused: dict[int, int] = {}
        self._producer = Producer(
            bootstrap_of(settings),
            settings.stop_s_max / 4,
            enable_idempotence=True,
            max_request_size=READINGS.message_bytes_max,
        )
        log_ = log_of(layout, settings)
        require_log(bootstrap_of(settings), log_)
        self._topic = log_.partition("/")[0]
        self._singles_topic = SINGLES.under(settings.kafka_prefix).name
        self._dead_letters = DeadLetterWriter(
            bootstrap_of(settings),
            DEAD_LETTERS.under(settings.kafka_prefix).name,
            time.monotonic,
            self._count_dead_letter,
        )
        self._metrics = WorkerMetrics(self._topic, group_of(settings), self._dead_letters.waiting)
        name = f"{socket.gethostname()}:{id(self):x}"
        self._reports = WorkerReports(name, Reports(self._ingest), self._clock, self._metrics, self._refused)
        self._beside: list[asyncio.Task[None]] = []
        self._counter = make_counter(settings, access, self._reached)
        self._judge = SinglesJudge(settings, access, self._clock)
        self._topics = (log_, identity_of(bootstrap_of(settings), self._singles_topic))
        self._singles = Singles(
            self._topics[1],
            layout.partitions,
            CutLimits(settings.message_readings_max, settings.message_raw_bytes_max),
            self._judge,
            self._send,
            self._dead_letters.put,
        )
        self._alerts = AlertPublisher(
            self._ingest,
            ALERTS.under(settings.kafka_prefix),
            settings.dispatch_events_max,
            settings.dispatch_poll_s,
            settings.kafka_ack_s_max,
            self._producer,
        )
        self.workers = WorkerApp(
            asyncio.run(first_answering(bootstrap_of(settings))),
            self._topic,
            self._singles_topic,
            group_of(settings),
            WorkerLimits(
                settings.group_messages_max,
                settings.singles_max,
                settings.singles_wait_s,
                settings.worker_session_s,
                settings.stop_s_max / 4,
            ),
            self._make_partition,
            self._dead_letters,
            self._send_on,
            self._metrics.singles.labels("lost").inc,
        )

    def _make_partition(self, number: int) -> PartitionWorker:
        settings = self._settings
        store = PartitionStore(self._ingest, number, log=self._layout.topic)
        return PartitionWorker(
            number,
            store,
            owner_limits(settings),
            PipelineLimits(settings.late_after_s, settings.receipt_items_max),
            self._clock,
            time.monotonic,
            self._reached,
        )

    async def _send(self, number: int, message: bytes) -> None:
        """Send a message into a partition of readings; returns when it is durable there."""
        async with self._producer.sending() as producer:
            await producer.send_and_wait(
                self._topic, message, partition=number, headers=[version_header(READINGS)]
            )

    async def _send_on(self, number: int, records: Sequence[Record]) -> None:
        await self._singles.take_in(number, records)
        self._metrics.singles.labels("taken").inc(len(records))

    def _count_dead_letter(self, message: Message) -> None:
        if message.topic == self._singles_topic:
            self._metrics.singles.labels("dead_letter").inc()
        else:
            self._refused[message.partition] = self._refused.get(message.partition, 0) + 1

    def run(self, stop_asked: Callable[[], signal.Signals | None]) -> int:
        """Work until told to stop. 0 when it was, 1 when it had to give up.

        A stop that takes longer than `stop_s_max` ends the process, with 1. stop_asked: by which signal one was asked
        for before; from its start on, the worker listens to them itself.
        """
        logs.configure()
        worker = _Worker(self, stop_asked)
        if self._settings.worker_metrics_port:
            start_http_server(
                self._settings.worker_metrics_port, self._settings.host, registry=self._metrics.registry
            )
        # What is there by now stays, and is gone through no more with each collection of what singles leave behind.
        gc.freeze()
        try:
            worker.execute_from_commandline()
        except SystemExit as ended:
            return ended.code if isinstance(ended.code, int) else 1
        return 0

    async def _watch_topics(self) -> None:
        """End when positions don't count any more in the topics that this worker reads; the next one asks which do."""
        while True:
            await asyncio.sleep(_LOOK_S)
            for look in (self._made_anew, self._adopted):
                try:
                    why = await asyncio.to_thread(look)
                except Exception as error:  # noqa: BLE001 - whether they can be reached is seen by who uses them
                    log.info("whether the topics are the same can't be told now: %s", type(error).__name__)
                else:
                    if why is not None:
                        log.critical("the worker ends: %s", why)
                        await self.workers.app.crash(KafkaRefusedError(why))
                        return

    def _made_anew(self) -> str | None:
        return made_anew(bootstrap_of(self._settings), self._topics)

    def _adopted(self) -> str | None:
        now = layout(self._ingest).topic
        known = self._topics[0]
        return (
            None if now == known else f"readings come from the topic {now} now, and not from {known} any more"
        )

    async def begin(self) -> None:
        """Beside the application."""
        self._counter.start()
        await self._judge.open()
        self._beside = [
            asyncio.create_task(self._reports.run(self.workers)),
            asyncio.create_task(self._alerts.run()),
            asyncio.create_task(self._watch_topics()),
        ]

    async def end(self) -> None:
        """After the application."""
        for task in self._beside:
            task.cancel()
        await asyncio.gather(*self._beside, return_exceptions=True)
        await asyncio.gather(self.workers.stop(), asyncio.to_thread(self._counter.stop))
        await self._producer.stop()
        await self._dead_letters.stop()
        await self._judge.close()

    def begin_stop(self) -> None:
        """From now on a stop has its time."""
        self.workers.begin_stop()
        threading.Thread(target=self._end_in_time, name="stop", daemon=True).start()

    def _end_in_time(self) -> None:
        """End the process when its stop hangs: a thread that waits for the database can't be ended otherwise.

        The store's fences make that safe: what isn't acknowledged is worked on by the next owner.
        """
        until_s = time.monotonic() + self._settings.stop_s_max
        time.sleep(self._settings.stop_s_max / 2)
        self._cancel_statements()
        time.sleep(max(0.0, until_s - time.monotonic()))
        hang = sorted(one.partition_no for one in self.workers.busy())
        what = f"partitions {hang}, which hang" if hang else "brokers or a database that don't answer"
        log.critical(
            "the stop has taken %g s: this worker ends and gives up on %s", self._settings.stop_s_max, what
        )
        # A statement that goes on without us would keep the next owner off the partition's row.
        self._cancel_statements()
        os._exit(1)

    def _cancel_statements(self) -> None:
        cancelling = [
            threading.Thread(target=one.cancel, args=(_CANCEL_S_MAX,), daemon=True)
            for one in self.workers.busy()
        ]
        for one in cancelling:
            one.start()
        until_s = time.monotonic() + _CANCEL_S_MAX
        for one in cancelling:
            one.join(max(0.0, until_s - time.monotonic()))


class _Worker(faust.Worker):
    """Faust's, whose stop has a bound, and which says nothing beside the log."""

    def __init__(self, process: WorkerProcess, stop_asked: Callable[[], signal.Signals | None]) -> None:
        super().__init__(
            process.workers.app,
            _Beside(process),
            quiet=True,
            redirect_stdouts=False,
            override_logging=False,
        )
        self._process = process
        self._stop_asked = stop_asked
        # It writes to standard output, also where nobody sees it turn.
        self.spinner = None

    def install_signal_handlers(self) -> None:
        super().install_signal_handlers()
        if (by := self._stop_asked()) is not None:
            self._schedule_shutdown(by)

    async def on_stop(self) -> None:
        self._process.begin_stop()
        await super().on_stop()


class _Beside(Service):
    """What runs beside the application: it begins before, and ends after it."""

    def __init__(self, process: WorkerProcess) -> None:
        super().__init__()
        self._process = process

    async def on_start(self) -> None:
        await self._process.begin()

    async def on_stop(self) -> None:
        await self._process.end()
