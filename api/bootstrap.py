"""The one place where the concrete parts are made and joined."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from api.access_grants.looks import Looks
from api.answer_cache import AnswerCache
from api.audit.retention import AuditRetention
from api.database_access import DatabaseAccess, open_pools
from api.delivering.outside import make_outside
from api.disk import DiskGuard, mark_of
from api.engine import Engine
from api.failpoints import failpoint
from api.identity.parts import make_identity
from api.key_aliases.cache import AliasCache
from api.limits import owner_limits
from api.live.hub import Hub, HubLimits
from api.live.seats import Seats
from api.metrics import Metrics
from api.packs.cache import PackCache
from api.page.sign_in import DevelopmentSignIn
from api.platform.parts import Platform
from api.quarantine.sweeping import Sweeper
from api.rates import Leases, OwnLeases, Rate, RateKind, RateLimiter
from api.retention import Bookkeeping, ReadingsRetention
from api.rights import RightsCache
from api.runner import Runner
from api.security_events.alarms import SecurityAlarms
from api.security_events.recorder import RecorderLimits, SecurityRecorder
from api.service_accounts.keys import KeyVerifier
from api.settings import Settings
from api.settling import Settler
from api.strangers import Strangers
from api.timer import MonotonicTimer, Timer, monotonic_ms, wall_ms
from api.topic import make_topic_runner
from api.usage.meter import Meter
from domain.clock import MILLISECONDS_PER_SECOND, AnchoredClock
from domain.security import WATCHED, Thresholds
from domain.tenancy import PARTITION_ZERO
from storage.counting import CountingLimits, CountingStore
from storage.database import INGEST_ROLE, RETENTION_ROLE
from storage.layout import layout
from storage.partition import PartitionStore
from storage.quarantine import SweepLimits
from storage.registry import Registry
from storage.security import RateStore
from storage.security_alerts import SecurityDesk
from storage.transactions import Pool, Transactions
from streams.counter import Counter
from streams.embedded import EmbeddedRunner
from streams.limits import RunnerLimits
from streams.pipeline import PipelineLimits
from streams.ports import Stage


def make_engine(settings: Settings, access: DatabaseAccess, timer: Timer | None = None) -> Engine:
    """An engine on a prepared database; it doesn't run yet. Raises SettingsRefusedError.

    timer: by which credentials that have ended are looked for; the machine's unless one is given.
    """
    timer = timer or MonotonicTimer()
    clock = AnchoredClock(wall_ms, monotonic_ms, settings.clock_jump_s_max * MILLISECONDS_PER_SECOND)
    requests, directory = open_pools(settings, access)
    reached = failpoint(settings)
    ingest = access.as_role(INGEST_ROLE, settings)
    runner: Runner
    counter: Counter | None
    partitions = 1
    if settings.kafka:
        # The workers count what they commit.
        spread = layout(ingest)
        runner, counter = make_topic_runner(settings, ingest, directory, clock, spread), None
        partitions = spread.partitions
    else:
        runner = _runner(settings, access, clock, reached)
        counter = make_counter(settings, access, reached)
    registry = Registry(directory)
    seats = Seats(
        settings.live_connections_max,
        settings.live_tenant_connections_max,
        settings.live_waiting_connections_max,
        settings.live_network_waiting_connections_max,
    )
    disk = DiskGuard(settings.data_dir.absolute(), mark_of(settings), settings.retry_after_s)
    metrics = Metrics(
        runner.queued_readings,
        lambda: counter is not None and counter.trouble is not None,
        lambda: seats.taken_by_all,
        disk,
    )
    hub = _hub(settings, access, directory)
    identity = make_identity(settings, ingest, directory, clock, timer)
    transactions = Transactions(requests)
    usual = _usual_thresholds(settings)
    desk = SecurityDesk(ingest, partitions, usual)
    alarms = SecurityAlarms(directory, desk, clock, usual, settings.retry_after_s)
    outside = make_outside(settings, access.as_role(INGEST_ROLE, settings), clock, metrics, reached)
    return Engine(
        settings=settings,
        clock=clock,
        timer=timer,
        identity=identity,
        registry=registry,
        rights=RightsCache(registry, settings.tenant_cache_s, timer.now_s),
        keys=KeyVerifier(
            directory, settings.api_key_cache_s, settings.api_key_used_s, timer.now_s, time.time
        ),
        packs=PackCache(registry),
        answers=AnswerCache(settings.answers_kept_bytes_max),
        aliases=AliasCache(registry),
        transactions=transactions,
        runner=runner,
        counter=counter,
        metrics=metrics,
        sweeper=_sweeper(settings, directory, clock, metrics),
        hub=hub,
        seats=seats,
        outside=outside,
        sign_in=DevelopmentSignIn(settings, registry, time.monotonic),
        disk=disk,
        settler=Settler(ingest, clock, settings.columns_after_days, settings.columns_look_s),
        audit_retention=_audit_retention(settings, access, clock),
        security=SecurityRecorder(
            directory,
            clock,
            metrics,
            RecorderLimits(settings.security_keys_max, settings.security_days_max, usual),
            alarms.look,
        ),
        security_alarms=alarms,
        readings_retention=_readings_retention(settings, access, clock, metrics),
        rates=_limiter(settings, RateStore(directory), metrics),
        strangers=Strangers(
            _rate(settings, settings.stranger_requests_per_s_max), time.monotonic, metrics.count_refused
        ),
        meter=Meter(directory, lambda: datetime.now(UTC), settings.usage_flush_s, settings.usage_known_s),
        platform=Platform(ingest, _limiter(settings, OwnLeases(time.monotonic), metrics)),
        looks=Looks(transactions, time.monotonic),
        directory=directory,
        _pools=(requests, directory, outside.pool),
        _tenants={},
    )


def _sweeper(settings: Settings, directory: Pool, clock: AnchoredClock, metrics: Metrics) -> Sweeper:
    limits = SweepLimits(
        settings.quarantine_days_max, settings.quarantine_items_max, settings.quarantine_sweep_items_max
    )
    return Sweeper(directory, clock, metrics, limits, settings.quarantine_sweep_s)


def _audit_retention(settings: Settings, access: DatabaseAccess, clock: AnchoredClock) -> AuditRetention:
    return AuditRetention(
        access.as_role(RETENTION_ROLE, settings),
        clock,
        settings.audit_days_min,
        settings.audit_look_entries_max,
        settings.audit_look_s,
    )


def _readings_retention(
    settings: Settings, access: DatabaseAccess, clock: AnchoredClock, metrics: Metrics
) -> ReadingsRetention:
    return ReadingsRetention(
        access.as_role(RETENTION_ROLE, settings),
        clock,
        metrics,
        settings.readings_keep_days,
        settings.readings_drop_after_s,
        settings.readings_look_s,
        Bookkeeping(
            None if settings.receipts_keep_days is None else timedelta(days=settings.receipts_keep_days),
            timedelta(days=settings.submissions_keep_days),
            settings.bookkeeping_rows_max,
        ),
    )


def _usual_thresholds(settings: Settings) -> Thresholds:
    return Thresholds(
        {kind: getattr(settings, f"security_{kind}_per_minute_max") for kind in WATCHED},
        settings.security_quiet_s,
    )


def _limiter(settings: Settings, leases: Leases, metrics: Metrics) -> RateLimiter:
    per_s: dict[RateKind, float] = {kind: getattr(settings, f"{kind}_per_s_max") for kind in RateKind}
    rates = {kind: _rate(settings, rate) for kind, rate in per_s.items()}
    return RateLimiter(leases, rates, settings.rate_lease_s, time.monotonic, metrics.count_refused)


def _rate(settings: Settings, per_s: float) -> Rate:
    return Rate(per_s, max(1.0, per_s * settings.rate_burst_s))


def _runner(
    settings: Settings, access: DatabaseAccess, clock: AnchoredClock, reached: Callable[[Stage], None]
) -> EmbeddedRunner:
    return EmbeddedRunner(
        PartitionStore(access.as_role(INGEST_ROLE, settings), PARTITION_ZERO),
        RunnerLimits(
            owner=owner_limits(settings),
            queue_readings_max=settings.queue_readings_max,
            queue_bytes_max=settings.queue_bytes_max,
            bulk_readings_min=settings.bulk_readings_min,
            group_readings_max=settings.group_readings_max,
            recover_s_max=settings.recover_s_max,
            bulk_slice_readings=settings.bulk_slice_readings,
            stop_s_max=settings.stop_s_max,
        ),
        PipelineLimits(settings.late_after_s, settings.receipt_items_max),
        clock,
        time.monotonic,
        reached,
    )


def make_counter(settings: Settings, access: DatabaseAccess, reached: Callable[[Stage], None]) -> Counter:
    """What counts the quarter-hours of all partitions, in one process at a time."""
    return Counter(
        CountingStore(
            access.as_role(INGEST_ROLE, settings),
            PARTITION_ZERO,
            CountingLimits(settings.count_notes_max, settings.count_packs_max),
        ),
        wait_s=settings.count_wait_s,
        stop_s_max=settings.stop_s_max,
        reached=reached,
    )


def _hub(settings: Settings, access: DatabaseAccess, directory: Pool) -> Hub:
    return Hub(
        access.as_role(INGEST_ROLE, settings),
        directory,
        HubLimits(
            poll_s=settings.live_poll_s,
            wait_s_max=settings.database_wait_s_max,
            feed_events_max=settings.live_feed_events_max,
            store_reads_max=settings.live_store_reads_max,
        ),
        time.time,
    )
