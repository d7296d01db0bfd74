"""What the engine counts of itself, for Prometheus."""

import math
from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from api.disk import DiskGuard
from domain.channels import ChannelKind
from domain.receipts import Receipt
from domain.security import SecurityKind
from storage.quarantine import Dropped

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counters of one engine."""

    def __init__(
        self,
        queued_readings: Callable[[], int],
        counting_fails: Callable[[], bool],
        live_connections: Callable[[], int],
        disk: DiskGuard,
    ) -> None:
        self._registry = CollectorRegistry()
        self._readings = Counter(
            "bpm_readings_total", "Readings answered, by outcome", ["outcome"], registry=self._registry
        )
        self._requests = Histogram(
            "bpm_request_seconds", "Time to answer, by route and status", ["method", "route", "status"],
            registry=self._registry,
        )  # fmt: skip
        self._attempts = Counter(
            "bpm_delivery_attempts_total",
            "Attempts to deliver alerts, by kind of channel and by what became of them: delivered, failed, dead",
            ["kind", "result"],
            registry=self._registry,
        )
        self._refused = Counter(
            "bpm_refused_total",
            "Requests and connections that were refused or cut, by the setting that limits them",
            ["limit"],
            registry=self._registry,
        )
        self._security = Counter(
            "bpm_security_events_total",
            "Accesses that were refused, by what happened",
            ["kind"],
            registry=self._registry,
        )
        self._oldest_due = Gauge(
            "bpm_delivery_oldest_due_seconds",
            "For how long the delivery that waits longest has been due; 0 when none waits",
            registry=self._registry,
        )
        self._dropped = Counter(
            "bpm_quarantine_dropped_total",
            "Items dropped from quarantine, by age or because a tenant had too many",
            ["why"],
            registry=self._registry,
        )
        self._kept_since = Gauge(
            "bpm_readings_kept_since_seconds",
            "Since when raw readings of a class of retention are kept, in Unix time; 0 while all are",
            ["retention_class"],
            registry=self._registry,
        )
        self._parts_dropped = Counter(
            "bpm_readings_parts_dropped_total",
            "Days of raw readings that this process dropped",
            registry=self._registry,
        )
        self._bytes_dropped = Counter(
            "bpm_readings_dropped_bytes_total",
            "Bytes of raw readings, with their indexes, that this process dropped",
            registry=self._registry,
        )
        Gauge(
            "bpm_queued_readings", "Readings that wait to be committed", registry=self._registry
        ).set_function(queued_readings)
        Gauge(
            "bpm_live_connections", "Sockets and event streams that are subscribed", registry=self._registry
        ).set_function(live_connections)
        Gauge(
            "bpm_counting_fails", "1 while quarter-hours can't be counted, else 0", registry=self._registry
        ).set_function(lambda: float(counting_fails()))
        self._follow_disk(disk)

    def _follow_disk(self, disk: DiskGuard) -> None:
        def days() -> float:
            found = disk.days_until_full
            return math.inf if found is None else found

        Gauge(
            "bpm_disk_free_bytes", "Free bytes on the data directory's disk", registry=self._registry
        ).set_function(lambda: float(disk.free_bytes))
        Gauge(
            "bpm_disk_low_bytes",
            "With fewer free bytes than this no readings are taken in; 0 when that is off",
            registry=self._registry,
        ).set_function(lambda: float(disk.low_bytes))
        Gauge(
            "bpm_disk_days_until_full",
            "Days until the data directory's disk is down to bpm_disk_low_bytes, by the last hours; +Inf when it"
            " isn't filling up, or that can't be told yet",
            registry=self._registry,
        ).set_function(days)

    def count(self, receipt: Receipt) -> None:
        """Count a receipt that was given."""
        for outcome in ("accepted", "duplicate", "quarantined", "late", "conflicting"):
            self._readings.labels(outcome).inc(getattr(receipt, outcome))

    def count_dropped(self, dropped: Dropped) -> None:
        """Count what a look through quarantine dropped."""
        self._dropped.labels("age").inc(dropped.aged)
        self._dropped.labels("too_many").inc(dropped.over)

    def set_readings_kept_since(self, unix_s: Mapping[str, float]) -> None:
        """Say since when raw readings are kept, by class of retention; 0 while all are."""
        self._kept_since.clear()
        for name, since_s in unix_s.items():
            self._kept_since.labels(name).set(since_s)

    def count_readings_dropped(self, size_bytes: int) -> None:
        """Count a part of readings that was dropped."""
        self._parts_dropped.inc()
        self._bytes_dropped.inc(size_bytes)

    def count_security(self, kind: SecurityKind, times: int) -> None:
        """Count what was refused alike."""
        self._security.labels(str(kind)).inc(times)

    def count_refused(self, limit: str) -> None:
        """Count what was refused or cut at a limit, by the name of its setting."""
        self._refused.labels(limit).inc()

    def count_attempt(self, kind: ChannelKind, result: str) -> None:
        """Count an attempt to deliver."""
        self._attempts.labels(str(kind), result).inc()

    def set_oldest_due(self, seconds: float) -> None:
        """Say for how long the delivery that waits longest has been due."""
        self._oldest_due.set(seconds)

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(method, route, str(status)).observe(seconds)

    def text(self) -> bytes:
        """All figures in Prometheus' text format."""
        return generate_latest(self._registry)
