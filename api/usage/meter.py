"""Counts requests in memory, and knows what tenants with quotas have used today."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime

import psycopg
from psycopg_pool import PoolTimeout

from domain.tenancy import TenantId
from domain.usage import Quotas, UsedToday, require_within
from storage import usage
from storage.transactions import Pool

log = logging.getLogger(__name__)


class Meter:
    """One for a process. A process that is killed loses the requests of its last `flush_s`, and no reading.

    What a tenant used is asked of the database at most every `known_s`, and for tenants with quotas alone: quotas are
    passed by what comes within.
    """

    def __init__(self, pool: Pool, now: Callable[[], datetime], flush_s: float, known_s: float) -> None:
        self._pool = pool
        self._now = now
        self._flush_s = flush_s
        self._known_s = known_s
        self._requests: Counter[tuple[TenantId, date]] = Counter()
        self._known: dict[TenantId, tuple[float, date, UsedToday]] = {}

    async def count(self, tenant_id: TenantId, quotas: Quotas, *, sends_readings: bool) -> None:
        """Count a request. Raises QuotaExceededError for one that passes a quota, and counts nothing then."""
        now = self._now()
        if quotas.of_days:
            used = await self._used(tenant_id, now.date())
            waiting = self._requests[tenant_id, now.date()]
            require_within(
                quotas, replace(used, requests=used.requests + waiting), now, sends_readings=sends_readings
            )
        self._requests[tenant_id, now.date()] += 1

    async def _used(self, tenant_id: TenantId, day: date) -> UsedToday:
        known = self._known.get(tenant_id)
        if known is not None and known[1] == day and time.monotonic() - known[0] < self._known_s:
            return known[2]
        found = await usage.today(self._pool, tenant_id, day)
        self._known[tenant_id] = (time.monotonic(), day, found)
        return found

    async def run(self) -> None:
        """Add what was counted to the database every `flush_s`, until the task is cancelled; then once more."""
        try:
            while True:
                await asyncio.sleep(self._flush_s)
                await self.flush()
        finally:
            await self.flush()

    async def flush(self) -> None:
        """Add what was counted; it is kept while the database is away."""
        counted, self._requests = self._requests, Counter()
        if not counted:
            return
        # What is added is known anew, so that it isn't counted both here and there.
        for tenant_id, _ in counted:
            self._known.pop(tenant_id, None)
        try:
            await usage.add_requests(self._pool, counted)
        except (psycopg.Error, PoolTimeout) as error:
            log.warning("requests can't be added to what tenants used now: %s", error)
            self._requests.update(counted)
