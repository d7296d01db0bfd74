"""What a worker says of its partitions: in the store, for whoever asks there, and to Prometheus."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

import psycopg
from prometheus_client import CollectorRegistry, Counter, Gauge, Info

from domain.clock import MILLISECONDS_PER_SECOND, AnchoredClock
from domain.errors import BpmError
from storage.reports import Report, Reports
from streams.faust_app import WorkerApp
from streams.partition_worker import PartitionWorker
from streams.under_way import UnderWay

log = logging.getLogger(__name__)

_REPORT_S: Final = 1.0
_WRITE_S_MAX: Final = 5.0
"""A write that takes longer is told, again and again."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How far a partition is, as its report and its metrics say."""

    behind: int
    behind_s: float
    watermark_delay_s: float | None
    refused: int
    lost: bool


class WorkerReports:
    """Says every second how far the partitions of a worker are, each by itself: one that hangs holds no other up.

    Of one that hangs the metrics go on, and what was last written of it grows old. name: the worker's. refused: dead
    letters of each partition.
    """

    def __init__(
        self,
        name: str,
        reports: Reports,
        clock: AnchoredClock,
        metrics: "WorkerMetrics",
        refused: Mapping[int, int],
    ) -> None:
        self._name = name
        self._reports = reports
        self._clock = clock
        self._metrics = metrics
        self._refused = refused
        self._made: dict[int, Report] = {}
        self._said_s: dict[int, float] = {}
        self._writing_since_s: float | None = None

    async def run(self, workers: WorkerApp) -> None:
        """Say it again and again, until the task is cancelled."""
        under_way = UnderWay()
        try:
            while True:
                await asyncio.sleep(_REPORT_S)
                try:
                    self._say(workers.owned(), under_way)
                except Exception:
                    # A worker that says nothing any more would look as if it were gone.
                    log.exception("what this worker has to say could not be made")
        finally:
            under_way.cancel()

    def _say(self, owned: Sequence[PartitionWorker], under_way: UnderWay) -> None:
        now_s = time.monotonic()
        numbers = {one.partition_no for one in owned}
        self._said_s = {number: self._said_s.get(number, now_s) for number in numbers}
        self._metrics.show(
            {one.partition_no: (self._pace(one), now_s - self._said_s[one.partition_no]) for one in owned}
        )
        for one in owned:
            under_way.begin(one.partition_no, partial(self._make, one))
        self._made = {number: report for number, report in self._made.items() if number in numbers}
        if self._writing_since_s is not None and now_s - self._writing_since_s > _WRITE_S_MAX:
            log.error("what this worker has to say is not written: the database has not answered for a while")
            self._writing_since_s = now_s
        if self._made:
            under_way.begin("write", self._write)

    async def _make(self, worker: PartitionWorker) -> None:
        try:
            report = await worker.in_thread(self._report, worker)
        except Exception:
            log.exception("partition %d: what is to be said of it could not be made", worker.partition_no)
        else:
            if report is not None:
                self._made[worker.partition_no] = report

    def _report(self, worker: PartitionWorker) -> Report | None:
        """In the owner's thread; None while there is nothing to be said."""
        if worker.lost or not worker.owner.is_loaded:
            return None
        pace = self._pace(worker)
        return Report(
            partition_no=worker.partition_no,
            worker=self._name,
            reported_at_ms=self._clock.now_ms(),
            log_end=worker.log_end,
            behind=pace.behind,
            behind_s=pace.behind_s,
            refused=pace.refused,
            picture=worker.owner.live.picture.exported(),
            watermark_delay_s=pace.watermark_delay_s,
            trouble=worker.refused,
        )

    def _pace(self, worker: PartitionWorker) -> Pace:
        """In any thread."""
        now_ms = self._clock.now_ms()
        behind = max(0, worker.log_end - worker.store.position)

        def age_s(moment_ms: int | None) -> float | None:
            return None if moment_ms is None else (now_ms - moment_ms) / MILLISECONDS_PER_SECOND

        return Pace(
            behind=behind,
            behind_s=max(0.0, age_s(worker.arrived_ms) or 0.0) if behind else 0.0,
            watermark_delay_s=age_s(worker.newest_ms),
            refused=self._refused.get(worker.partition_no, 0),
            lost=worker.refused is not None,
        )

    async def _write(self) -> None:
        reports, self._made = [self._made[number] for number in sorted(self._made)], {}
        self._writing_since_s = began_s = time.monotonic()
        try:
            await asyncio.to_thread(self._reports.write, reports)
        except (BpmError, psycopg.Error) as error:
            log.warning("what this worker has to say can't be written now: %s", type(error).__name__)
        except Exception:
            log.exception("what this worker has to say could not be written")
        else:
            self._said_s |= {one.partition_no: began_s for one in reports}
        finally:
            self._writing_since_s = None


Waiting: TypeAlias = Callable[[], Iterable[tuple[str, int, float]]]
"""Topic and partition of each that waits for a dead letter, and for how many seconds."""


class WorkerMetrics:
    """What Prometheus is told of a worker's partitions."""

    def __init__(self, topic: str, group: str, waiting: Waiting) -> None:
        self.registry = CollectorRegistry()
        self._waiting = waiting
        installation = Info("bpm_worker", "Whose partitions the worker shares", registry=self.registry)
        installation.info({"topic": topic, "group": group})
        self._by_partition = {
            name: Gauge(f"bpm_partition_{name}", what, ["partition"], registry=self.registry)
            for name, what in (
                ("behind_messages", "Messages not committed yet"),
                ("behind_seconds", "Since the last batch arrived that is committed, while others wait"),
                ("watermark_delay_seconds", "Age of the newest reading that is committed"),
                ("dead_letters", "Messages put aside since the worker started"),
                ("position_lost", "1 while it isn't worked on, because the topic doesn't have its position"),
                ("report_age_seconds", "Since the worker wrote what the partition and its packs are like"),
            )
        }
        self._waiting_s = Gauge(
            "bpm_dead_letter_waiting_seconds",
            "Since a message can't be made a dead letter, for which its partition waits",
            ["topic", "partition"],
            registry=self.registry,
        )
        self.singles = Counter(
            "bpm_singles",
            "Single readings of the topic, by what became of them",
            ["outcome"],
            registry=self.registry,
        )

    def show(self, paces: Mapping[int, tuple[Pace, float]]) -> None:
        """Show what the partitions of this worker are like now, and how old what was written of each is, in s."""
        _show_only(
            self._waiting_s, {(topic, str(number)): waiting_s for topic, number, waiting_s in self._waiting()}
        )
        shown: dict[str, dict[tuple[str, ...], float]] = {name: {} for name in self._by_partition}
        for number, (pace, report_age_s) in paces.items():
            values = {
                "behind_messages": pace.behind,
                "behind_seconds": pace.behind_s,
                "watermark_delay_seconds": pace.watermark_delay_s,
                "dead_letters": pace.refused,
                "position_lost": int(pace.lost),
                "report_age_seconds": report_age_s,
            }
            for name, value in values.items():
                if value is not None:
                    shown[name][str(number),] = value
        for name, gauge in self._by_partition.items():
            _show_only(gauge, shown[name])


def _show_only(gauge: Gauge, values: Mapping[tuple[str, ...], float]) -> None:
    """Show these values by their labels, and no others; whoever asks meanwhile misses none that stay."""
    for one in (one for metric in gauge.collect() for one in metric.samples):
        if (found := tuple(one.labels.values())) not in values:
            gauge.remove(*found)
    for found, value in values.items():
        gauge.labels(*found).set(value)
