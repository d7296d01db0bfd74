"""The one place where the concrete parts are made and joined."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from api.access_grants.looks import Looks
from api.answer_cache import AnswerCache
from api.audit.retention import AuditRetention
from api.auth import NOT_VALID, Claims
from api.database_access import DatabaseAccess
from api.delivering.outside import Outside, make_outside
from api.disk import DiskGuard, mark_of
from api.identity.parts import Identity, make_identity
from api.key_aliases.cache import AliasCache
from api.live.hub import Hub, HubLimits
from api.live.seats import Seats
from api.live.watch import CredentialWatch, WatchLimits
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
from api.settings import Environment, Settings
from api.settling import Settler
from api.strangers import Strangers
from api.timer import MonotonicTimer, Timer
from api.topic import make_topic_runner
from api.usage.meter import Meter
from domain import api_keys
from domain.clock import MILLISECONDS_PER_SECOND, AnchoredClock, to_ms
from domain.errors import ForbiddenError, SettingsRefusedError, UnauthenticatedError
from domain.operators import Operator
from domain.security import WATCHED, Thresholds
from domain.tenancy import PARTITION_ZERO, PLATFORM, Actor, Role
from ingest.columns import BodyLimits
from ingest.validate import TimeLimits
from storage.counting import CountingLimits, CountingStore
from storage.database import APP_ROLE, INGEST_ROLE, RETENTION_ROLE
from storage.layout import layout
from storage.partition import PartitionStore
from storage.quarantine import SweepLimits
from storage.registry import Registry, Tenant
from storage.security import RateStore
from storage.security_alerts import SecurityDesk
from storage.transactions import Pool, Transactions, open_pool
from streams.counter import Counter
from streams.embedded import EmbeddedRunner
from streams.limits import OwnerLimits, RunnerLimits
from streams.pipeline import PipelineLimits
from streams.ports import Stage

_OF_PLATFORM = (
    "the token is that of an operator of the installation, who sees no tenant: where one has given access, ask"
    " POST /v1/platform/grants/{id}/token for a token of that tenant"
)
_REGISTRY_CONNECTIONS_MAX = 4
_CONNECT_TIMEOUT_S = 10
_WATCH_S_MIN = 1.0


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


def monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


OF_SECRETS: Final = "/v1/auth/"
"""Below it requests bring a secret of their own, and no other credential speaks for them."""


@dataclass(slots=True, eq=False)
class Engine:
    """Everything that serves requests, joined. Opened and closed by `running`."""

    settings: Settings
    clock: AnchoredClock
    timer: Timer
    identity: Identity
    registry: Registry
    rights: RightsCache
    keys: KeyVerifier
    packs: PackCache
    answers: AnswerCache
    aliases: AliasCache
    transactions: Transactions
    runner: Runner
    counter: Counter | None
    metrics: Metrics
    sweeper: Sweeper
    hub: Hub
    watch: CredentialWatch = field(init=False)
    seats: Seats
    outside: Outside
    sign_in: DevelopmentSignIn
    disk: DiskGuard
    settler: Settler
    audit_retention: AuditRetention
    readings_retention: ReadingsRetention
    security: SecurityRecorder
    security_alarms: SecurityAlarms
    rates: RateLimiter
    strangers: Strangers
    meter: Meter
    platform: Platform
    looks: Looks
    directory: Pool
    _pools: tuple[Pool, ...]
    _tenants: dict[str, tuple[float, Tenant]]

    def __post_init__(self) -> None:
        revocations = self.identity.revocations
        look_s = min(self.settings.tenant_cache_s, self.settings.api_key_cache_s)
        limits = WatchLimits(max(look_s, _WATCH_S_MIN), self.settings.revocation_s_max)
        self.watch = CredentialWatch(
            self._actor_now, revocations.require_valid, self.hub.recheck, limits, self.timer
        )
        revocations.on_ended = self.watch.recheck

    async def actor_of(self, authorization: str | None) -> Actor:
        """The caller behind an Authorization header. Raises UnauthenticatedError."""
        return await self.actor_of_claims(await self.claims_of(authorization))

    async def claims_of(self, authorization: str | None) -> Claims:
        """What the token or API key of an Authorization header says. Raises UnauthenticatedError."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise UnauthenticatedError("send Authorization: Bearer with an access token or an API key")
        token = token.strip()
        if token.startswith(api_keys.PREFIX):
            return await self.keys.verify(token)
        return self.identity.verifier.verify(token)

    def require_welcome(self, path: str, authorization: str | None, address: str | None) -> None:
        """Raises RateLimitedError where too many came from an address that weren't valid.

        Whose credential looks good without asking the database goes on, unless it was refused of late, or the path
        takes another secret.
        """
        if not self.strangers.came_too_often(address):
            return
        token = _token_of(authorization)
        looks_good = (
            self.keys.knows if token.startswith(api_keys.PREFIX) else self.identity.verifier.looks_good
        )
        if path.startswith(OF_SECRETS) or self.strangers.was_refused(token) or not looks_good(token):
            raise self.strangers.refusal()

    def note_stranger(self, path: str, authorization: str | None, address: str | None) -> None:
        """Count a request that was answered 401."""
        refused = "" if path.startswith(OF_SECRETS) else _token_of(authorization)
        self.strangers.note(address, refused)

    async def claims_now(self, claims: Claims) -> Claims:
        """What an API key says now, or what a token said. Raises UnauthenticatedError for a key that has ended."""
        return claims if claims.key_id is None else await self.keys.claims_of(claims.key_id)

    async def actor_of_claims(self, claims: Claims) -> Actor:
        """The caller that a verified token names.

        Raises UnauthenticatedError, ForbiddenError for an operator of the installation, and what `Place.require_near`
        does.
        """
        if claims.tenant_name is None:
            self.identity.revocations.require_valid(PLATFORM, claims)
            raise ForbiddenError(_OF_PLATFORM)
        tenant = await self._tenant(claims.tenant_name)
        tenant.place.require_near(tenant.name)
        if claims.grant is not None and self.clock.now_ms() >= claims.expires_at_s * MILLISECONDS_PER_SECOND:
            raise UnauthenticatedError(NOT_VALID)
        self.identity.revocations.require_valid(tenant.tenant_id, claims)
        return await self.rights.actor_of(tenant, claims)

    def operator_of_claims(self, claims: Claims) -> Operator:
        """The operator of the installation that a verified token of no tenant names. Raises UnauthenticatedError."""
        self.identity.revocations.require_valid(PLATFORM, claims)
        return Operator(claims.subject, frozenset(role for role in Role if role in claims.roles))

    async def _actor_now(self, claims: Claims) -> Actor:
        return await self.actor_of_claims(await self.claims_now(claims))

    async def actor_with(
        self,
        actor: Actor,
        roles: Iterable[str],
        sites: Iterable[str] | None = None,
        regions: Iterable[str] | None = None,
    ) -> Actor:
        """One of the same tenant who holds other roles within other limits."""
        claims = Claims(
            subject=actor.subject,
            tenant_name=actor.tenant_name,
            roles=frozenset(roles),
            sites=None if sites is None else frozenset(sites),
            device_pack=None,
            expires_at_s=0,
            issued_at_s=0,
            regions=None if regions is None else frozenset(regions),
        )
        return await self.rights.actor_of(await self._tenant(actor.tenant_name), claims)

    @property
    def loading(self) -> str | None:
        """What must be loaded before readings and credentials can be judged, or None."""
        return self.runner.trouble or self.identity.revocations.trouble

    async def require_settled(self, tenant_name: str) -> None:
        """Raises UnavailableError while the tenant is on its way to another cell."""
        tenant = await self._tenant(tenant_name)
        tenant.place.require_settled(tenant.name, self.settings.retry_after_s)

    async def meter_request(self, actor: Actor, *, sends_readings: bool) -> None:
        """Count a request of the actor's tenant. Raises QuotaExceededError when a quota is used up."""
        tenant = await self._tenant(actor.tenant_name)
        await self.meter.count(tenant.tenant_id, tenant.quotas, sends_readings=sends_readings)

    async def require_near(self, tenant_name: str) -> None:
        """Raises what says why the tenant isn't served here (any more)."""
        tenant = await self._tenant(tenant_name)
        tenant.place.require_near(tenant.name)

    def forget_tenant(self, name: str) -> None:
        """Ask anew, after a change in this process."""
        self._tenants.pop(name, None)

    async def _tenant(self, name: str) -> Tenant:
        cached = self._tenants.get(name)
        if cached is not None and self.timer.now_s() - cached[0] < self.settings.tenant_cache_s:
            return cached[1]
        found = await self.registry.tenant(name)
        if found is None:
            self._tenants.pop(name, None)
            raise UnauthenticatedError(NOT_VALID)
        self._tenants[name] = (self.timer.now_s(), found)
        return found

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Open the pools and let the writer work; on the way out, commit what is queued and close."""
        for pool in self._pools:
            await pool.open(wait=False)
        await self.runner.start()
        if self.counter is not None:
            self.counter.start()
        self.hub.start()
        self.outside.start()
        running = (
            self.sweeper.run(),
            self.disk.run(),
            self.settler.run(),
            self.audit_retention.run(),
            self.readings_retention.run(),
            self.security.run(),
            self.security_alarms.run(),
            self.meter.run(),
            self.watch.run(),
            *self.identity.tasks(),
        )
        tasks = [asyncio.create_task(task) for task in running]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.hub.stop()
            await self.outside.stop()
            self.identity.passwords.stop()
            if self.counter is not None:
                await asyncio.to_thread(self.counter.stop)
            await self.runner.stop()
            for pool in self._pools:
                await pool.close()

    @property
    def body_limits_json(self) -> BodyLimits:
        return body_limits(self.settings, self.settings.json_readings_max)

    @property
    def body_limits_arrow(self) -> BodyLimits:
        return body_limits(self.settings, self.settings.arrow_readings_max)

    @property
    def time_limits(self) -> TimeLimits:
        return time_limits(self.settings)


def open_pools(settings: Settings, access: DatabaseAccess) -> tuple[Pool, Pool]:
    """Pools that are not open yet: of the role for requests, and of the one that looks up whose they are."""
    requests = open_pool(
        access.as_role(APP_ROLE, settings),
        connections_max=settings.database_connections_max,
        wait_s_max=settings.database_wait_s_max,
    )
    directory = open_pool(
        access.as_role(INGEST_ROLE, settings),
        connections_max=_REGISTRY_CONNECTIONS_MAX,
        wait_s_max=settings.database_wait_s_max,
    )
    return requests, directory


def _token_of(authorization: str | None) -> str:
    return (authorization or "").partition(" ")[2].strip()


def body_limits(settings: Settings, readings_max: int) -> BodyLimits:
    """What a body may hold at most."""
    return BodyLimits(readings_max, settings.ignored_keys_max, settings.pack_name_characters_max)


def time_limits(settings: Settings) -> TimeLimits:
    """Which times readings may have."""
    earliest = datetime(settings.import_from_year, 1, 1, tzinfo=UTC)
    return TimeLimits(settings.future_s_max, settings.late_s_max, to_ms(earliest))


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
        PartitionStore(access.as_role(INGEST_ROLE, settings), PARTITION_ZERO, _CONNECT_TIMEOUT_S),
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


def owner_limits(settings: Settings) -> OwnerLimits:
    """The limits of a partition's owner."""
    return OwnerLimits(
        close_after_s=settings.close_after_s,
        correction_slice_readings=settings.correction_slice_readings,
        silent_after_s=settings.silent_after_s,
        skew_s_max=settings.live_skew_s_max,
        save_state_s=settings.save_state_s,
        retry_after_s=settings.retry_after_s,
    )


def make_counter(settings: Settings, access: DatabaseAccess, reached: Callable[[Stage], None]) -> Counter:
    """What counts the quarter-hours of all partitions, in one process at a time."""
    return Counter(
        CountingStore(
            access.as_role(INGEST_ROLE, settings),
            PARTITION_ZERO,
            CountingLimits(settings.count_notes_max, settings.count_packs_max),
            _CONNECT_TIMEOUT_S,
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


def failpoint(settings: Settings) -> Callable[[Stage], None]:
    """What ends the process at a named stage, for fault tests; nothing by default.

    Raises SettingsRefusedError in production, or when the setting can't be read.
    """
    if settings.failpoint is None:
        return lambda _: None
    if settings.env is not Environment.DEVELOPMENT:
        raise SettingsRefusedError("failpoints are refused in production", field="BPM_FAILPOINT")
    name, _, count = settings.failpoint.partition(":")
    if name not in set(Stage) or not count.isdigit():
        raise SettingsRefusedError(f"expected STAGE:N, with one of {', '.join(Stage)}", field="BPM_FAILPOINT")
    wanted, left = Stage(name), [int(count)]

    def reached(stage: Stage) -> None:
        if stage is wanted:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return reached
