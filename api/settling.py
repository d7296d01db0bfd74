"""Puts old readings in columns, where TimescaleDB keeps them."""

import asyncio
import logging
from datetime import timedelta

import psycopg

from domain.clock import AnchoredClock, from_ms
from storage.hypertables import Settled, settle

log = logging.getLogger(__name__)


class Settler:
    """Looks for days that are due every `interval_s`, until its task is cancelled."""

    def __init__(
        self, conninfo: str, clock: AnchoredClock, columns_after_days: float, interval_s: float
    ) -> None:
        self._conninfo = conninfo
        self._clock = clock
        self._columns_after = timedelta(days=columns_after_days)
        self._interval_s = interval_s

    async def run(self) -> None:
        """Ends at once where there are no hypertables."""
        while (done := await self.look()) is not None:  # noqa: ASYNC110 - nothing tells when a day is old enough
            await asyncio.sleep(self._interval_s if done.chunk is None else 0)

    async def look(self) -> Settled | None:
        """What was done: nothing while a jump of the clock is unconfirmed, since ages can't be told."""
        before = from_ms(self._clock.now_ms()) - self._columns_after
        if self._clock.jumped_by_ms is not None:
            return Settled(None)
        try:
            done = await asyncio.to_thread(settle, self._conninfo, before)
        except psycopg.Error as error:
            log.warning("old readings can't be put in columns now: %s", error)
            return Settled(None)
        if done is not None and done.chunk is not None:
            log.info("put %s in columns", done.chunk)
        return done
