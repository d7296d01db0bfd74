"""Raises an alert where a tenant's credentials are refused too often, and clears it when it has been quiet."""

import asyncio
from typing import Final

import psycopg
from psycopg_pool import PoolTimeout

from api.logs import logger
from domain.alerts import ClearByHand
from domain.clock import AnchoredClock
from domain.errors import UnavailableError
from domain.security import Thresholds
from storage.security_alerts import SecurityDesk, tenants_due
from storage.transactions import Pool

log: Final = logger("bpm.security")

_LOOK_S: Final = 5.0


class SecurityAlarms:
    """Looks every few seconds while `run` runs, and when it is told of too many refusals. Any process may."""

    def __init__(
        self, pool: Pool, desk: SecurityDesk, clock: AnchoredClock, usual: Thresholds, retry_after_s: int
    ) -> None:
        self._pool = pool
        self._desk = desk
        self._clock = clock
        self.usual = usual
        self._retry_after_s = retry_after_s

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Raise and clear what is due. What can't be written now is written at a later look."""
        if self._clock.jumped_by_ms is not None:
            return
        now_ms = self._clock.now_ms()
        try:
            for tenant in await tenants_due(self._pool, self.usual, now_ms):
                await asyncio.to_thread(self._desk.settle, tenant, now_ms)
        except (psycopg.Error, PoolTimeout) as error:
            log.warning("alerts of refusals can't be written now", error=type(error).__name__)

    async def clear(self, asked: ClearByHand) -> None:
        """Clear an open alert. Raises NotFoundError when it isn't open, UnavailableError."""
        try:
            await asyncio.to_thread(self._desk.clear, asked, self._clock.now_ms())
        except psycopg.Error as error:
            raise UnavailableError("the store can't be asked", retry_after_s=self._retry_after_s) from error
