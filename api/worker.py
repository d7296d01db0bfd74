"""A worker process: partitions of the topic, their counter, and what it says of itself."""

import asyncio
import logging
import socket
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import faust
import psycopg
from aiokafka import AIOKafkaProducer
from mode import Service
from prometheus_client import CollectorRegistry, Counter, Gauge, Info, start_http_server

from api import logs
from api.alert_topic import AlertPublisher
from api.bootstrap import failpoint, make_counter, monotonic_ms, owner_limits, wall_ms
from api.database_access import DatabaseAccess
from api.settings import Settings
from api.singles import SinglesJudge
from api.topic import bootstrap_of, group_of, log_of
from domain.clock import MILLISECONDS_PER_SECOND, AnchoredClock
from domain.errors import BpmError
from storage.database import INGEST_ROLE
from storage.layout import Layout
from storage.partition import PartitionStore
from storage.reports import Report, Reports
from streams.cutting import CutLimits
from streams.faust_app import WorkerApp, WorkerLimits
from streams.partition_worker import PartitionWorker
from streams.pipeline import PipelineLimits
from streams.singles import Single, Singles
from streams.topic_admin import identity_of, require_log
from streams.topics import ALERTS, DEAD_LETTERS, READINGS, SINGLES, Header, version_header

log = logging.getLogger(__name__)

_CONNECT_TIMEOUT_S = 10
_REPORT_S = 1.0
_REASON_BYTES_MAX = 500


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
        self._name = f"{socket.gethostname()}:{id(self):x}"
        self._reports = Reports(self._ingest)
        self._refused: dict[int, int] = {}
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        log_ = log_of(layout, settings)
        require_log(bootstrap_of(settings), log_)
        self._topic = log_.partition("/")[0]
        self._singles_topic = SINGLES.under(settings.kafka_prefix).name
        self._dead_letters = DEAD_LETTERS.under(settings.kafka_prefix).name
        self._metrics = WorkerMetrics(self._topic, group_of(settings))
        self._folder = tempfile.TemporaryDirectory(prefix="bpm-worker-")
        self._counter = make_counter(settings, access, self._reached)
        self._judge = SinglesJudge(settings, access, self._clock)
        self._singles = Singles(
            identity_of(bootstrap_of(settings), self._singles_topic),
            layout.partitions,
            CutLimits(settings.message_readings_max, settings.message_raw_bytes_max),
            self._judge,
            self._send,
            partial(self._put_aside, self._singles_topic),
        )
        self._alerts = AlertPublisher(
            self._ingest,
            ALERTS.under(settings.kafka_prefix),
            settings.dispatch_events_max,
            settings.dispatch_poll_s,
            self._started_producer,
        )
        self.workers = WorkerApp(
            bootstrap_of(settings),
            self._topic,
            self._singles_topic,
            group_of(settings),
            Path(self._folder.name),
            WorkerLimits(
                settings.group_messages_max,
                settings.singles_max,
                settings.singles_wait_s,
                settings.worker_session_s,
                settings.stop_s_max,
            ),
            self._make_partition,
            partial(self._put_aside, self._topic),
            self._send_on,
        )

    def _make_partition(self, number: int) -> PartitionWorker:
        settings = self._settings
        store = PartitionStore(self._ingest, number, _CONNECT_TIMEOUT_S, log=self._layout.topic)
        return PartitionWorker(
            number,
            store,
            owner_limits(settings),
            PipelineLimits(settings.late_after_s, settings.receipt_items_max),
            self._clock,
            time.monotonic,
            self._reached,
        )

    async def _started_producer(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    bootstrap_servers=bootstrap_of(self._settings),
                    acks="all",
                    enable_idempotence=True,
                    max_request_size=DEAD_LETTERS.message_bytes_max,
                )
                try:
                    await producer.start()
                except BaseException:
                    await producer.stop()
                    raise
                self._producer = producer
            return self._producer

    async def _send(self, number: int, message: bytes) -> None:
        """Send a message into a partition of readings; returns when it is durable there."""
        producer = await self._started_producer()
        await producer.send_and_wait(
            self._topic, message, partition=number, headers=[version_header(READINGS)]
        )

    async def _send_on(self, number: int, singles: Sequence[Single]) -> None:
        await self._singles.take_in(number, singles)
        self._metrics.singles.labels("taken").inc(len(singles))

    async def _put_aside(
        self, topic: str, number: int, position: int, message: bytes, error: Exception
    ) -> None:
        """Make a message a dead letter: it is in the topic of those before the position moves over it."""
        producer = await self._started_producer()
        code = error.code if isinstance(error, BpmError) else type(error).__name__
        await producer.send_and_wait(
            self._dead_letters,
            message,
            headers=[
                version_header(DEAD_LETTERS),
                (Header.SOURCE.value, f"{topic}:{number}:{position}".encode()),
                (Header.REASON.value, code.encode()),
            ],
        )
        if topic == self._singles_topic:
            self._metrics.singles.labels("dead_letter").inc()
        else:
            self._refused[number] = self._refused.get(number, 0) + 1
        log.error("%s, partition %d: message %d is a dead letter: %s", topic, number, position, error)

    def run(self) -> int:
        """Work until told to stop. 0 when it was, 1 when it had to give up."""
        logs.configure()
        worker = faust.Worker(self.workers.app, _Beside(self), redirect_stdouts=False, override_logging=False)
        if self._settings.worker_metrics_port:
            start_http_server(
                self._settings.worker_metrics_port, self._settings.host, registry=self._metrics.registry
            )
        try:
            worker.execute_from_commandline()
        except SystemExit as ended:
            return ended.code if isinstance(ended.code, int) else 1
        finally:
            self._folder.cleanup()
        return 0

    async def report_for_ever(self) -> None:
        """Say every second how far the partitions are."""
        while True:
            await asyncio.sleep(_REPORT_S)
            try:
                reports = [
                    await worker.in_thread(self._report, worker)
                    for number, worker in sorted(self.workers.partitions.items())
                    if number in self.workers.assigned and not worker.lost and worker.owner.is_loaded
                ]
                self._metrics.show(reports)
                await asyncio.to_thread(self._reports.write, reports)
            except (BpmError, psycopg.Error) as error:
                log.warning("what this worker has to say can't be written now: %s", type(error).__name__)
            except Exception:
                # A worker that says nothing any more would look as if it were gone.
                log.exception("what this worker has to say could not be made")

    def _report(self, worker: PartitionWorker) -> Report:
        now_ms = self._clock.now_ms()
        behind = max(0, worker.log_end - worker.store.position)

        def age_s(moment_ms: int | None) -> float | None:
            return None if moment_ms is None else (now_ms - moment_ms) / MILLISECONDS_PER_SECOND

        return Report(
            partition_no=worker.partition_no,
            worker=self._name,
            reported_at_ms=now_ms,
            log_end=worker.log_end,
            behind=behind,
            behind_s=max(0.0, age_s(worker.arrived_ms) or 0.0) if behind else 0.0,
            refused=self._refused.get(worker.partition_no, 0),
            picture=worker.owner.live.picture.exported(),
            watermark_delay_s=age_s(worker.newest_ms),
        )

    async def begin(self) -> None:
        """Beside the application."""
        self._counter.start()
        await self._judge.open()
        self._beside = [
            asyncio.create_task(self.report_for_ever()),
            asyncio.create_task(self._alerts.run()),
        ]

    async def end(self) -> None:
        """After the application."""
        for task in self._beside:
            task.cancel()
        await asyncio.gather(*self._beside, return_exceptions=True)
        await self.workers.stop()
        await asyncio.to_thread(self._counter.stop)
        if self._producer is not None:
            await self._producer.stop()
        await self._judge.close()


class _Beside(Service):
    """What runs beside the application: it begins before, and ends after it."""

    def __init__(self, process: WorkerProcess) -> None:
        super().__init__()
        self._process = process

    async def on_start(self) -> None:
        await self._process.begin()

    async def on_stop(self) -> None:
        await self._process.end()


class WorkerMetrics:
    """What Prometheus is told of a worker's partitions."""

    def __init__(self, topic: str, group: str) -> None:
        self.registry = CollectorRegistry()
        installation = Info("bpm_worker", "Whose partitions the worker shares", registry=self.registry)
        installation.info({"topic": topic, "group": group})
        self._by_partition = {
            name: Gauge(f"bpm_partition_{name}", what, ["partition"], registry=self.registry)
            for name, what in (
                ("behind_messages", "Messages not committed yet"),
                ("behind_seconds", "Since the last batch arrived that is committed, while others wait"),
                ("watermark_delay_seconds", "Age of the newest reading that is committed"),
                ("dead_letters", "Messages put aside since the worker started"),
            )
        }
        self.singles = Counter(
            "bpm_singles",
            "Single readings of the topic, by what became of them",
            ["outcome"],
            registry=self.registry,
        )

    def show(self, reports: list[Report]) -> None:
        """Show what the partitions of this worker are like now."""
        for gauge in self._by_partition.values():
            gauge.clear()
        for one in reports:
            shown = {
                "behind_messages": one.behind,
                "behind_seconds": one.behind_s,
                "watermark_delay_seconds": one.watermark_delay_s,
                "dead_letters": one.refused,
            }
            for name, value in shown.items():
                if value is not None:
                    self._by_partition[name].labels(one.partition_no).set(value)
