"""Stores old readings and quarter-hours by column, where TimescaleDB keeps them."""

import asyncio
import logging
from datetime import timedelta

import psycopg

from api.settings import Settings
from domain.clock import AnchoredClock, from_ms
from storage.hypertables import RetentionClass, Settled, settle

log = logging.getLogger(__name__)


class Settler:
    """Looks for chunks that are due every `settle_wait_s`, until its task is cancelled."""

    def __init__(self, conninfo: str, clock: AnchoredClock, settings: Settings) -> None:
        self._conninfo = conninfo
        self._clock = clock
        self._classes = (
            RetentionClass("readings", timedelta(days=settings.readings_compress_after_days)),
            RetentionClass("quarters", timedelta(days=settings.quarters_compress_after_days)),
        )
        self._keep = timedelta(days=settings.readings_keep_days)
        self._wait_s = settings.settle_wait_s

    async def run(self) -> None:
        """Ends at once where there are no hypertables."""
        while (done := await self.look()) is not None:  # noqa: ASYNC110 - nothing tells when a day is old enough
            await asyncio.sleep(self._wait_s if done.compressed is None else 0)

    async def look(self) -> Settled | None:
        """What was done: nothing while a jump of the clock is unconfirmed, since ages can't be told."""
        now = from_ms(self._clock.now_ms())
        if self._clock.jumped_by_ms is not None:
            return Settled(None, 0)
        try:
            done = await asyncio.to_thread(settle, self._conninfo, self._classes, self._keep, now)
        except psycopg.Error as error:
            log.warning("old readings can't be compressed now: %s", error)
            return Settled(None, 0)
        if done is not None and done.compressed is not None:
            log.info("compressed %s", done.compressed)
        if done is not None and done.dropped:
            log.info("dropped %d days of readings, which are archived", done.dropped)
        return done
