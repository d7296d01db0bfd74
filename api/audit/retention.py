"""Drops audit entries that were kept for as long as the installation wants, now and then."""

import asyncio
import logging
from datetime import timedelta

import psycopg

from domain.clock import AnchoredClock, from_ms
from storage import audit

log = logging.getLogger(__name__)


class AuditRetention:
    """Looks every `interval_s`, again and again, until its task is cancelled.

    conninfo: of the retention role. days_min: entries are kept for so long at least; None keeps them for good.
    """

    def __init__(
        self, conninfo: str, clock: AnchoredClock, days_min: int | None, entries_max: int, interval_s: float
    ) -> None:
        self._conninfo = conninfo
        self._clock = clock
        self._days_min = days_min
        self._entries_max = entries_max
        self._interval_s = interval_s

    async def run(self) -> None:
        while self._days_min is not None:
            try:
                dropped = await self.look()
            except psycopg.Error as error:
                log.warning("old audit entries can't be dropped now: %s", error)
                dropped = 0
            await asyncio.sleep(0 if dropped == self._entries_max else self._interval_s)

    async def look(self) -> int:
        """How many entries one look dropped; none while a jump of the clock is unconfirmed."""
        now_ms = self._clock.now_ms()
        if self._days_min is None or self._clock.jumped_by_ms is not None:
            return 0
        keep = timedelta(days=self._days_min)
        return await audit.drop(self._conninfo, from_ms(now_ms), keep, self._entries_max)
