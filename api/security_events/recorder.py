"""Counts what was refused, in memory, and writes it once a second: refusing costs no more than allowing."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import psycopg
from psycopg_pool import PoolTimeout

from api.logs import logger
from api.metrics import Metrics
from domain.clock import MILLISECONDS_PER_SECOND, AnchoredClock, from_ms
from domain.security import SecurityKey, SecurityKind, prefix_of
from domain.tenancy import Actor, TenantId
from storage import security
from storage.transactions import Pool

log: Final = logger("bpm.security")

_WRITE_S: Final = 1.0
_WINDOW_MS: Final = 60 * MILLISECONDS_PER_SECOND
_DROP_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class RecorderLimits:
    """keys_max: told apart within a second; the rest is counted by tenant and kind. days_max: kept for so long.

    per_minute_max: refusals of a kind to one tenant's credentials in a minute; beyond, an event of its own says so.
    """

    keys_max: int
    days_max: int
    per_minute_max: Mapping[SecurityKind, int]


class SecurityRecorder:
    """Notes refusals; writes them while `run` runs."""

    def __init__(self, pool: Pool, clock: AnchoredClock, metrics: Metrics, limits: RecorderLimits) -> None:
        self._pool = pool
        self._clock = clock
        self._metrics = metrics
        self._limits = limits
        self._counted: Counter[SecurityKey] = Counter()
        self._names: dict[TenantId, str] = {}
        self._minute: Counter[tuple[TenantId, SecurityKind]] = Counter()
        self._minute_began_ms = 0

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
        now_ms = self._clock.now_ms()
        counted.update(self._beyond(counted, now_ms))
        try:
            await security.keep(self._pool, from_ms(now_ms), counted)
        except (psycopg.Error, PoolTimeout) as error:
            log.warning("security events can't be written now", error=type(error).__name__)
            self._put_back(counted)
            self._names = names | self._names
            return
        for key, times in counted.items():
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

    def _put_back(self, counted: Counter[SecurityKey]) -> None:
        for key, times in counted.items():
            told_apart = len(self._counted) < self._limits.keys_max or key in self._counted
            self._counted[key if told_apart else SecurityKey(key.tenant_id, key.kind, None, None, "")] += (
                times
            )

    def _beyond(self, counted: Counter[SecurityKey], now_ms: int) -> Counter[SecurityKey]:
        """An event for each tenant and kind that has passed its threshold in this minute just now."""
        if not 0 <= now_ms - self._minute_began_ms < _WINDOW_MS:
            self._minute.clear()
            self._minute_began_ms = now_ms
        passed: Counter[SecurityKey] = Counter()
        for key, times in counted.items():
            limit = self._limits.per_minute_max.get(key.kind)
            if key.tenant_id is None or limit is None:
                continue
            before = self._minute[key.tenant_id, key.kind]
            self._minute[key.tenant_id, key.kind] = before + times
            if before < limit <= before + times:
                kind = SecurityKind.THRESHOLD_EXCEEDED
                passed[SecurityKey(key.tenant_id, kind, key.subject, key.address_prefix, key.route)] += (
                    before + times
                )
        return passed

    async def _drop(self) -> None:
        if self._clock.jumped_by_ms is not None:
            return
        before = from_ms(self._clock.now_ms()) - timedelta(days=self._limits.days_max)
        try:
            await security.drop_old(self._pool, before)
        except (psycopg.Error, PoolTimeout) as error:
            log.warning("old security events can't be dropped now", error=type(error).__name__)
