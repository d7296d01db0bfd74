"""Drops what quarantine kept for long enough, now and then."""

import asyncio
import logging

import psycopg
from psycopg_pool import PoolTimeout

from api.metrics import Metrics
from domain.clock import AnchoredClock, from_ms
from storage.quarantine import Dropped, SweepLimits, sweep
from storage.transactions import Pool

log = logging.getLogger(__name__)


class Sweeper:
    """Looks through quarantine every `interval_s`, again and again, until its task is cancelled."""

    def __init__(
        self, pool: Pool, clock: AnchoredClock, metrics: Metrics, limits: SweepLimits, interval_s: float
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._metrics = metrics
        self._limits = limits
        self._interval_s = interval_s

    async def run(self) -> None:
        while True:
            try:
                dropped = await self.look()
            except (psycopg.Error, PoolTimeout) as error:
                log.warning("quarantine can't be looked through now: %s", error)
                dropped = Dropped(0, 0)
            more = max(dropped.aged, dropped.over) == self._limits.drop_max
            await asyncio.sleep(0 if more else self._interval_s)

    async def look(self) -> Dropped:
        """What one look dropped; nothing while a jump of the clock is unconfirmed, since ages can't be told."""
        now_ms = self._clock.now_ms()
        if self._clock.jumped_by_ms is not None:
            return Dropped(0, 0)
        async with self._pool.connection() as connection:
            dropped = await sweep(connection, from_ms(now_ms), self._limits)
        self._metrics.count_dropped(dropped)
        return dropped
