"""Drops raw readings that were kept for as long as the installation wants: whole days, archived some time before."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import psycopg

from api.metrics import Metrics
from domain.clock import AnchoredClock, from_ms
from domain.tenancy import STANDARD_RETENTION
from storage import bookkeeping, retention

log = logging.getLogger(__name__)

_TRY_AGAIN_S: Final = 5.0
"""Readings are read all the time, and a part is dropped between two requests."""

_TRUST_PACE: Final = 2
"""The trusted clock may go so many times as fast as the monotonic one: after the engine was down it catches up."""

_BEHIND_MAX: Final = timedelta(days=1)
"""So far behind the machine's clock the trusted one is worth a warning."""


@dataclass(frozen=True, slots=True)
class Bookkeeping:
    """How long what is no reading is kept. receipts: None keeps all. rows_max: dropped by one transaction."""

    receipts: timedelta | None
    submissions: timedelta
    rows_max: int


class ReadingsRetention:
    """Looks every `interval_s`, again and again, until its task is cancelled.

    conninfo: of the retention role. keep_days: readings of the standard class of retention are kept for so long at
    least; None keeps all. Those of other classes are kept for as long as their rows say by then. drop_after_s: between
    archiving days and dropping them, longer than any request takes.
    """

    def __init__(
        self,
        conninfo: str,
        clock: AnchoredClock,
        metrics: Metrics,
        keep_days: int | None,
        drop_after_s: float,
        interval_s: float,
        bookkeeping: Bookkeeping,
    ) -> None:
        self._conninfo = conninfo
        self._clock = clock
        self._metrics = metrics
        self._keep_days = keep_days
        self._drop_after = timedelta(seconds=drop_after_s)
        self._interval_s = interval_s
        self._bookkeeping = bookkeeping
        self._waits_for: str | None = None
        self._trouble: str | None = None
        self._trusted: tuple[datetime, int] | None = None
        self._is_behind = False

    async def run(self) -> None:
        while True:
            wait_s = self._interval_s
            try:
                if await self.look():
                    wait_s = 0
                self._trouble = None
            except psycopg.errors.LockNotAvailable:
                self._say("requests hold what is locked for it")
                wait_s = min(_TRY_AGAIN_S, wait_s)
            except psycopg.Error as error:
                if str(error) != self._trouble:
                    self._trouble = str(error)
                    log.warning("old readings can't be archived or dropped now: %s", error)
            await asyncio.sleep(wait_s)

    async def look(self, before_commit: Callable[[], None] = lambda: None) -> bool:
        """Archive what is due, else drop the oldest part that is, and a slice of what goes with it; whether to go on.

        Nothing is while a jump of the clock is unconfirmed, since ages can't be told. A clock that was ahead when the
        process started is not believed either: see `_trusted_now`. before_commit is called where there is something.
        Raises psycopg.Error.
        """
        now = from_ms(self._clock.now_ms())
        done = False
        if self._clock.jumped_by_ms is None:
            kept = await asyncio.to_thread(self._kept)
            now = await asyncio.to_thread(self._trusted_now, now, warns=bool(kept))
            if kept:
                done = await asyncio.to_thread(self._step, now, kept, before_commit)
            done = await asyncio.to_thread(self._drop_bookkeeping, now) or done
        classes = await asyncio.to_thread(retention.classes, self._conninfo)
        self._metrics.set_readings_kept_since(
            {
                one.name: 0.0 if one.archived_before is None else one.archived_before.timestamp()
                for one in classes
            }
        )
        return done

    def _kept(self) -> dict[int, tuple[str, timedelta]]:
        """The name of each class of retention whose readings are not kept for good, and for how long they are."""
        found = {}
        for one in retention.classes(self._conninfo):
            days = self._keep_days if one.name == STANDARD_RETENTION else one.keep_days
            if days is not None:
                found[one.class_no] = one.name, timedelta(days=days)
        return found

    def _trusted_now(self, now: datetime, *, warns: bool) -> datetime:
        """Now, but no later than what the installation knew before and twice the time that went by since.

        It is kept in the database, so that neither a restart nor the number of processes makes it faster. Whoever
        confirms the clock moves it on at once.
        """
        kept = retention.clock_trusted_until(self._conninfo)
        monotonic_ms = self._clock.monotonic_ms()
        if self._trusted is None or kept > self._farthest(self._trusted, monotonic_ms):
            self._trusted = kept, monotonic_ms
        trusted = min(now, self._farthest(self._trusted, monotonic_ms))
        if trusted > kept:
            retention.trust_clock(self._conninfo, trusted)
        is_behind = now - trusted > _BEHIND_MAX
        if is_behind and not self._is_behind and warns:
            log.warning(
                "the clock says %s, and is trusted until %s: readings are archived and dropped by the latter, which"
                " catches up; if the clock is right, `bpm clock confirm` is faster",
                now.isoformat(),
                trusted.isoformat(),
            )
        self._is_behind = is_behind
        return trusted

    @staticmethod
    def _farthest(trusted: tuple[datetime, int], monotonic_ms: int) -> datetime:
        return trusted[0] + timedelta(milliseconds=_TRUST_PACE * (monotonic_ms - trusted[1]))

    def _step(
        self, now: datetime, kept: Mapping[int, tuple[str, timedelta]], before_commit: Callable[[], None]
    ) -> bool:
        for class_no, (name, keep) in kept.items():
            archived = retention.archive(self._conninfo, now - keep, now, before_commit, class_no=class_no)
            if archived is not None:
                log.info(
                    "archived the readings before %s of the retention class %s", archived.isoformat(), name
                )
                return True
        dropped = retention.drop_oldest(
            self._conninfo, now - self._drop_after, before_commit, classes=tuple(kept)
        )
        if dropped.part is not None:
            log.info("dropped %s, %d bytes", dropped.part.name, dropped.size_bytes)
            self._metrics.count_readings_dropped(dropped.size_bytes)
        self._say(dropped.waits_for)
        return dropped.part is not None

    def _drop_bookkeeping(self, now: datetime) -> bool:
        """Drop a slice of each kind that is due; whether any was full, so that there may be more."""
        kept = self._bookkeeping
        dropped = {
            "superseded readings": bookkeeping.drop_superseded(self._conninfo, kept.rows_max),
            "notes of bodies": bookkeeping.forget_submissions(
                self._conninfo, now - kept.submissions, kept.rows_max
            ),
        }
        if kept.receipts is not None:
            dropped["receipts"] = bookkeeping.drop_receipts(
                self._conninfo, now - kept.receipts, kept.rows_max
            )
        for what, rows in dropped.items():
            if rows:
                log.info("dropped %d %s", rows, what)
        return max(dropped.values()) >= kept.rows_max

    def _say(self, waits_for: str | None) -> None:
        if waits_for is not None and waits_for != self._waits_for:
            log.info("old readings are not archived or dropped yet: %s", waits_for)
        self._waits_for = waits_for
