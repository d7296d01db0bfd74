"""What serves requests: everything it needs, and who is asking."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from api.access_grants.looks import Looks
from api.answer_cache import AnswerCache
from api.audit.retention import AuditRetention
from api.auth import NOT_VALID, Claims
from api.delivering.outside import Outside
from api.disk import DiskGuard
from api.identity.parts import Identity
from api.key_aliases.cache import AliasCache
from api.limits import body_limits, time_limits
from api.live.hub import Hub
from api.live.seats import Seats
from api.live.watch import CredentialWatch, WatchLimits
from api.metrics import Metrics
from api.packs.cache import PackCache
from api.page.sign_in import DevelopmentSignIn
from api.platform.parts import Platform
from api.quarantine.sweeping import Sweeper
from api.rates import RateLimiter
from api.retention import ReadingsRetention
from api.rights import RightsCache
from api.runner import Runner
from api.security_events.alarms import SecurityAlarms
from api.security_events.recorder import SecurityRecorder
from api.service_accounts.keys import KeyVerifier
from api.settings import Settings
from api.settling import Settler
from api.strangers import Strangers
from api.timer import Timer
from api.usage.meter import Meter
from domain import api_keys
from domain.clock import MILLISECONDS_PER_SECOND, AnchoredClock
from domain.errors import ForbiddenError, UnauthenticatedError
from domain.operators import Operator
from domain.tenancy import PLATFORM, Actor, Role
from ingest.columns import BodyLimits
from ingest.validate import TimeLimits
from storage.registry import Registry, Tenant
from storage.transactions import Pool, Transactions
from streams.counter import Counter

_OF_PLATFORM = (
    "the token is that of an operator of the installation, who sees no tenant: where one has given access, ask"
    " POST /v1/platform/grants/{id}/token for a token of that tenant"
)
_WATCH_S_MIN = 1.0

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
        self._require_meant(tenant, claims)
        self.identity.revocations.require_valid(tenant.tenant_id, claims)
        return await self.rights.actor_of(tenant, claims)

    def _require_meant(self, tenant: Tenant, claims: Claims) -> None:
        """Raises UnauthenticatedError for a token from before the tenant was made: of one that had the same name.

        API keys go with their tenant. Of a tenant that was made by a clock that was ahead nothing is known.
        """
        if claims.key_id is not None or tenant.made_at_s > self.clock.now_ms() / MILLISECONDS_PER_SECOND:
            return
        if claims.issued_at_s + self.settings.token_leeway_s < int(tenant.made_at_s):
            raise UnauthenticatedError(NOT_VALID)

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


def _token_of(authorization: str | None) -> str:
    return (authorization or "").partition(" ")[2].strip()
