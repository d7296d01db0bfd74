"""Drops users, sessions, failed sign-ins and epochs whose time is over, now and then."""

import asyncio
import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from api.errors import DATABASE_ERRORS
from api.settings import Settings
from domain.clock import AnchoredClock, from_ms
from storage.sessions import drop_what_is_over
from storage.transactions import Pool
from storage.users import purge

log = logging.getLogger(__name__)

_PURGED_AT_ONCE: Final = 1000
_MARGIN_S: Final = 60


@dataclass(frozen=True, slots=True)
class HousekeepingLimits:
    """epochs_s: so long an access token may live, and an outside token be exchanged: so long its end is remembered.

    failures: so long failed sign-ins are remembered, of so many logins (logins_max).
    """

    epochs_s: float
    failures: timedelta
    logins_max: int

    @staticmethod
    def of(settings: Settings) -> "HousekeepingLimits":
        """Those of the settings."""
        longest_s = max(
            settings.access_token_life_s,
            settings.token_life_s_max,
            settings.development_token_life_s,
            settings.oidc_token_age_s_max,
        )
        return HousekeepingLimits(
            longest_s + 2 * settings.token_leeway_s + _MARGIN_S,
            timedelta(hours=settings.sign_in_memory_hours),
            settings.sign_in_logins_max,
        )


class Housekeeping:
    """Looks every `interval_s`, again and again, until its task is cancelled."""

    def __init__(
        self, pool: Pool, clock: AnchoredClock, limits: HousekeepingLimits, interval_s: float
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._limits = limits
        self._interval_s = interval_s

    async def run(self) -> None:
        """Look."""
        while True:
            purged = 0
            try:
                purged = await self.look()
            except DATABASE_ERRORS as error:
                log.warning("what is over of users can't be dropped now: %s", type(error).__name__)
            await asyncio.sleep(0 if purged == _PURGED_AT_ONCE else self._interval_s)

    async def look(self) -> int:
        """How many users one look has purged; nothing is dropped while a jump of the clock is unconfirmed."""
        now = from_ms(self._clock.now_ms())
        if self._clock.jumped_by_ms is not None:
            return 0
        limits = self._limits
        await drop_what_is_over(
            self._pool,
            now,
            epochs_s=limits.epochs_s,
            failures_before=now - limits.failures,
            logins_max=limits.logins_max,
        )
        return await purge(self._pool, now, _PURGED_AT_ONCE)
