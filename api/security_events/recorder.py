"""Counts what was refused, in memory, and writes it once a second: refusing costs no more than allowing."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import psycopg
from psycopg_pool import PoolTimeout

from api.logs import logger
from api.metrics import Metrics
from domain.clock import AnchoredClock, from_ms
from domain.security import QUIET_S_MAX, SecurityKey, SecurityKind, Thresholds, prefix_of
from domain.tenancy import Actor, TenantId
from storage import security
from storage.transactions import Pool

log: Final = logger("bpm.security")

_WRITE_S: Final = 1.0
_DROP_S: Final = 3600.0
_COUNTS_KEPT: Final = timedelta(seconds=2 * QUIET_S_MAX)


@dataclass(frozen=True, slots=True)
class RecorderLimits:
    """keys_max: told apart within a second; the rest is counted by tenant and kind. days_max: kept for so long.

    usual: from how many refusals within a minute on an event of its own says so, unless the tenant chose otherwise.
    """

    keys_max: int
    days_max: int
    usual: Thresholds


class SecurityRecorder:
    """Notes refusals; writes them while `run` runs. on_too_many: is called when a minute has had too many."""

    def __init__(
        self,
        pool: Pool,
        clock: AnchoredClock,
        metrics: Metrics,
        limits: RecorderLimits,
        on_too_many: Callable[[], Awaitable[None]],
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._metrics = metrics
        self._limits = limits
        self._counted: Counter[SecurityKey] = Counter()
        self._names: dict[TenantId, str] = {}
        self._on_too_many = on_too_many

    def note(self, kind: SecurityKind, actor: Actor | None, address: str | None, route: str) -> None:
        """Count one refusal."""
        tenant = None if actor is None else actor.tenant_id
        key = SecurityKey(tenant, kind, None if actor is None else actor.subject, prefix_of(address), route)
        if key not in self._counted and len(self._counted) >= self._limits.keys_max:
            # Tenants can't be made up, so these stay few.
            key = SecurityKey(tenant, kind, None, None, "")
        self._counted[key] += 1
        if actor is not None:
            self._names[actor.tenant_id] = actor.tenant_name

    async def run(self) -> None:
        """Write what was counted, each second, until cancelled."""
        loop = asyncio.get_running_loop()
        drop_at_s = loop.time()
        while True:
            await asyncio.sleep(_WRITE_S)
            await self.write()
            if loop.time() >= drop_at_s:
                drop_at_s = loop.time() + _DROP_S
                await self._drop()

    async def write(self) -> None:
        """Write and log what was counted. What can't be written now is written with the next."""
        if not self._counted:
            return
        counted, self._counted = self._counted, Counter()
        names, self._names = self._names, {}
        try:
            kept = await security.keep(self._pool, from_ms(self._clock.now_ms()), counted, self._limits.usual)
        except (psycopg.Error, PoolTimeout) as error:
            log.warning("security events can't be written now", error=type(error).__name__)
            self._put_back(counted)
            self._names = names | self._names
            return
        for key, times in (counted | kept.passed).items():
            self._metrics.count_security(key.kind, times)
            told = log.error if key.kind is SecurityKind.THRESHOLD_EXCEEDED else log.warning
            told(
                "security event",
                kind=str(key.kind),
                tenant=None if key.tenant_id is None else names.get(key.tenant_id),
                subject=key.subject,
                address_prefix=key.address_prefix,
                route=key.route or None,
                times=times,
            )
        if kept.too_many:
            await self._on_too_many()

    def _put_back(self, counted: Counter[SecurityKey]) -> None:
        for key, times in counted.items():
            told_apart = len(self._counted) < self._limits.keys_max or key in self._counted
            self._counted[key if told_apart else SecurityKey(key.tenant_id, key.kind, None, None, "")] += (
                times
            )

    async def _drop(self) -> None:
        if self._clock.jumped_by_ms is not None:
            return
        now = from_ms(self._clock.now_ms())
        before = now - timedelta(days=self._limits.days_max)
        try:
            await security.drop_old(self._pool, before, now - _COUNTS_KEPT)
        except (psycopg.Error, PoolTimeout) as error:
            log.warning("old security events can't be dropped now", error=type(error).__name__)
