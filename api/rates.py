"""How many requests and readings a credential and a tenant may send: token buckets that all processes share.

A process leases slices of a bucket and spends them without asking anybody; only when a slice is spent is the database
asked, once for all requests that wait. What is leased is taken out of the bucket, so that processes together never
spend more than it held. While the database doesn't answer, each process goes by the rate alone.
"""

import asyncio
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

import psycopg
from psycopg_pool import PoolTimeout

from api.logs import logger
from domain.errors import RateLimitedError
from domain.operators import Operator
from domain.tenancy import PLATFORM, Actor, TenantId

log: Final = logger(__name__)

_BUCKETS_MAX: Final = 50_000
"""A bucket that is forgotten gives what it had leased away."""


class RateKind(StrEnum):
    """What is counted, and of whom."""

    SUBJECT_REQUESTS = "subject_requests"
    TENANT_REQUESTS = "tenant_requests"
    SUBJECT_READINGS = "subject_readings"
    TENANT_READINGS = "tenant_readings"


_REQUESTS: Final = (RateKind.SUBJECT_REQUESTS, RateKind.TENANT_REQUESTS)
_READINGS: Final = (RateKind.SUBJECT_READINGS, RateKind.TENANT_READINGS)
_OF_SUBJECT: Final = frozenset({RateKind.SUBJECT_REQUESTS, RateKind.SUBJECT_READINGS})


@dataclass(frozen=True, slots=True)
class Rate:
    """per_s: what comes into a bucket. burst: what it holds."""

    per_s: float
    burst: float

    def refilled(self, left: float, after_s: float) -> float:
        """What a bucket holds so long after it held `left`.

        >>> Rate(2, 10).refilled(3, 1.5), Rate(2, 10).refilled(9, 60)
        (6.0, 10)
        """
        return min(self.burst, left + after_s * self.per_s)

    def limited(self, detail: str, kind: str, retry_s: int) -> RateLimitedError:
        """The refusal by an empty bucket. kind: its name in the headers."""
        window_s = math.ceil(self.burst / self.per_s)
        return RateLimitedError(
            detail,
            limit=self.per_s,
            retry_after_s=retry_s,
            headers={
                "RateLimit-Policy": f'"{kind}";q={int(self.burst)};w={window_s}',
                "RateLimit": f'"{kind}";r=0;t={retry_s}',
            },
        )


class Leases(Protocol):
    """Where the buckets are."""

    async def lease(
        self, tenant_id: TenantId, kind: str, subject: str, *, wanted: float, per_s: float, burst: float
    ) -> float:
        """How much of what is wanted the bucket gave."""


class OwnLeases:
    """Buckets of this process alone, for callers who are few."""

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._held: dict[tuple[TenantId, str, str], tuple[float, float]] = {}

    async def lease(
        self, tenant_id: TenantId, kind: str, subject: str, *, wanted: float, per_s: float, burst: float
    ) -> float:
        """How much of what is wanted the bucket gave."""
        key, now_s = (tenant_id, kind, subject), self._monotonic_s()
        left, at_s = self._held.get(key, (burst, now_s))
        left = Rate(per_s, burst).refilled(left, now_s - at_s)
        granted = min(wanted, left)
        self._held[key] = left - granted, now_s
        return granted


@dataclass(slots=True)
class _Bucket:
    """left: what is leased and not spent; below zero after a body that was larger. empty_until_s: nothing comes."""

    left: float = 0.0
    empty_until_s: float = 0.0
    lease: "asyncio.Task[None] | None" = None


class RateLimiter:
    """Admits requests and readings by their rates.

    lease_s: a slice is what comes into a bucket in that time. refused: told the kind of each refusal.
    """

    def __init__(
        self,
        leases: Leases,
        rates: Mapping[RateKind, Rate],
        lease_s: float,
        monotonic_s: Callable[[], float],
        refused: Callable[[str], None],
    ) -> None:
        self._leases = leases
        self._rates = rates
        self._lease_s = lease_s
        self._monotonic_s = monotonic_s
        self._refused = refused
        self._buckets: dict[tuple[TenantId, RateKind, str], _Bucket] = {}
        self._store_fails = False

    async def take_request(self, actor: Actor) -> None:
        """Count a request. Raises RateLimitedError."""
        for kind in _REQUESTS:
            await self._take(actor.tenant_id, actor.subject, kind, 1.0, 1.0)

    async def take_platform_request(self, operator: Operator) -> None:
        """Count a request of an operator of the installation. Raises RateLimitedError."""
        await self._take(PLATFORM, operator.subject, RateKind.SUBJECT_REQUESTS, 1.0, 1.0)

    async def take_readings(self, actor: Actor, count: int) -> None:
        """Count a body's readings. Raises RateLimitedError.

        A body that is larger than what is left goes in whole, and is paid off.
        """
        for kind in _READINGS:
            await self._take(actor.tenant_id, actor.subject, kind, float(count), 0.0)

    async def _take(
        self, tenant_id: TenantId, subject: str, kind: RateKind, amount: float, least: float
    ) -> None:
        """Spend an amount once `least` is left, or more than nothing."""
        key = (tenant_id, kind, subject if kind in _OF_SUBJECT else "")
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= _BUCKETS_MAX:
                self._buckets.clear()
            bucket = self._buckets[key] = _Bucket()
        while bucket.left < least or bucket.left <= 0:
            wait_s = bucket.empty_until_s - self._monotonic_s()
            if wait_s > 0:
                raise self._limited(kind, bucket, wait_s)
            if bucket.lease is None:
                bucket.lease = asyncio.create_task(self._lease(key, bucket))
            # One that gives up doesn't take the lease from the others.
            await asyncio.shield(bucket.lease)
        bucket.left -= amount

    async def _lease(self, key: tuple[TenantId, RateKind, str], bucket: _Bucket) -> None:
        tenant, kind, subject = key
        rate = self._rates[kind]
        slice_ = min(max(1.0, rate.per_s * self._lease_s), rate.burst)
        wanted = slice_ - bucket.left
        try:
            granted = await self._leases.lease(
                tenant, kind, subject, wanted=wanted, per_s=rate.per_s, burst=rate.burst
            )
            self._store_fails = False
        except (psycopg.Error, PoolTimeout) as error:
            if not self._store_fails:
                log.warning(
                    "rates can't be shared now: each process goes by its own", error=type(error).__name__
                )
            self._store_fails = True
            granted = rate.per_s * self._lease_s
            bucket.empty_until_s = self._monotonic_s() + self._lease_s
        finally:
            bucket.lease = None
        bucket.left += granted
        if bucket.left < 1.0:
            missing_s = (1.0 - bucket.left) / rate.per_s
            bucket.empty_until_s = self._monotonic_s() + min(max(missing_s, 0.001), self._lease_s)

    def _limited(self, kind: RateKind, bucket: _Bucket, wait_s: float) -> RateLimitedError:
        rate = self._rates[kind]
        self._refused(f"{kind}_per_s_max")
        retry_s = max(1, math.ceil(max(wait_s, (1.0 - bucket.left) / rate.per_s)))
        whose = "the credential" if kind in _OF_SUBJECT else "the tenant"
        what = kind.partition("_")[2]
        return rate.limited(f"{whose} has sent more {what} than {rate.per_s:g} a second", kind, retry_s)
