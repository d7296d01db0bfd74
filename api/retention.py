"""Drops raw readings that were kept for as long as the installation wants: whole days, archived some time before."""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import psycopg

from api.metrics import Metrics
from domain.clock import AnchoredClock, from_ms
from storage import retention

log = logging.getLogger(__name__)

_TRY_AGAIN_S: Final = 5.0
"""Readings are read all the time, and a part is dropped between two requests."""


class ReadingsRetention:
    """Looks every `interval_s`, again and again, until its task is cancelled.

    conninfo: of the retention role. keep_days: readings are kept for so long at least; None keeps all. drop_after_s:
    between archiving days and dropping them, longer than any request takes.
    """

    def __init__(
        self,
        conninfo: str,
        clock: AnchoredClock,
        metrics: Metrics,
        keep_days: int | None,
        drop_after_s: float,
        interval_s: float,
    ) -> None:
        self._conninfo = conninfo
        self._clock = clock
        self._metrics = metrics
        self._keep = None if keep_days is None else timedelta(days=keep_days)
        self._drop_after = timedelta(seconds=drop_after_s)
        self._interval_s = interval_s
        self._waits_for: str | None = None

    async def run(self) -> None:
        while True:
            wait_s = self._interval_s
            try:
                if await self.look():
                    wait_s = 0
            except psycopg.errors.LockNotAvailable:
                self._say("requests hold what is locked for it")
                wait_s = min(_TRY_AGAIN_S, wait_s)
            except psycopg.Error as error:
                log.warning("old readings can't be archived or dropped now: %s", error)
            await asyncio.sleep(wait_s)

    async def look(self, before_commit: Callable[[], None] = lambda: None) -> bool:
        """Archive what is due, else drop the oldest part that is; whether anything was done.

        Nothing is while a jump of the clock is unconfirmed, since ages can't be told. before_commit is called where
        there is something. Raises psycopg.Error.
        """
        now = from_ms(self._clock.now_ms())
        if self._keep is None or self._clock.jumped_by_ms is not None:
            done = False
        else:
            done = await asyncio.to_thread(self._step, now, now - self._keep, before_commit)
        kept_since = await asyncio.to_thread(retention.archived_before, self._conninfo)
        self._metrics.set_readings_kept_since(0.0 if kept_since is None else kept_since.timestamp())
        return done

    def _step(self, now: datetime, kept_since: datetime, before_commit: Callable[[], None]) -> bool:
        archived = retention.archive(self._conninfo, kept_since, now, before_commit)
        if archived is not None:
            log.info("archived the readings before %s", archived.isoformat())
            return True
        dropped = retention.drop_oldest(self._conninfo, now - self._drop_after, before_commit)
        if dropped.part is not None:
            log.info("dropped %s, %d bytes", dropped.part.name, dropped.size_bytes)
            self._metrics.count_readings_dropped(dropped.size_bytes)
        self._say(dropped.waits_for)
        return dropped.part is not None

    def _say(self, waits_for: str | None) -> None:
        if waits_for is not None and waits_for != self._waits_for:
            log.info("old readings are not archived or dropped yet: %s", waits_for)
        self._waits_for = waits_for
