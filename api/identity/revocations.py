"""Which credentials have ended before their time: known to every process within seconds, asked without waiting."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from api.auth import NOT_VALID, Claims
from api.errors import DATABASE_ERRORS
from api.identity.keys import KeyRing
from api.timer import Timer
from domain.errors import SettingsRefusedError, UnauthenticatedError, UnavailableError
from domain.tenancy import PLATFORM, TenantId
from storage.connections import connect_async
from storage.epochs import CHANNEL, epochs, holder_of_grant, holder_of_session, holder_of_subject
from storage.transactions import Pool

log = logging.getLogger(__name__)

_AGAIN_AFTER_S: Final = 0.1
"""Of many notifications at once, one look."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The epoch below which a holder's credentials have ended, and when it was raised, for those without an epoch."""

    epoch: int
    raised_at_s: float


@dataclass(frozen=True, slots=True)
class RevocationLimits:
    """poll_s: time between looks when no notification comes. age_s_max: what is known may be so old.

    leeway_s: by which an issuer's clock may be ahead. retry_after_s: is told when what is known is too old.
    """

    poll_s: float
    age_s_max: float
    leeway_s: int
    retry_after_s: int


class Revocations:
    """Remembers all epochs that still matter. A lost notification only delays, by `poll_s`.

    timer: by which it looks, and what is known grows old.
    """

    def __init__(
        self,
        conninfo: str,
        pool: Pool,
        ring: KeyRing,
        limits: RevocationLimits,
        timer: Timer,
    ) -> None:
        self._conninfo = conninfo
        self._pool = pool
        self._ring = ring
        self._limits = limits
        self._timer = timer
        self._ended: dict[tuple[TenantId, str], Ended] = {}
        self._read_at_s: float | None = None
        self._looking = asyncio.Lock()
        self.on_ended: Callable[[set[TenantId]], None] = lambda _: None
        """Is called with the tenants of which credentials have ended just now."""

    @property
    def trouble(self) -> str | None:
        """Why no credential can be believed now, or None."""
        read_at_s = self._read_at_s
        if read_at_s is None or self._timer.now_s() - read_at_s > self._limits.age_s_max:
            return "which credentials have ended can't be looked up now"
        return None

    def require_valid(self, tenant_id: TenantId, claims: Claims) -> None:
        """tenant_id: PLATFORM for a token of the platform.

        Raises UnauthenticatedError for a credential that was ended, UnavailableError while that can't be known.
        """
        trouble = self.trouble
        if trouble is not None:
            raise UnavailableError(trouble, retry_after_s=self._limits.retry_after_s)
        if not self._ended:
            return
        if claims.grant is not None:
            if (tenant_id, holder_of_grant(claims.grant)) in self._ended:
                raise UnauthenticatedError(NOT_VALID)
            # Its epoch is one of the platform; what the tenant has ended is told by the time.
            ended_here = self._ended.get((tenant_id, holder_of_subject(claims.subject)))
            if ended_here is not None and self._is_before(None, claims.issued_at_s, ended_here):
                raise UnauthenticatedError(NOT_VALID)
        # Who acts in a tenant by a grant is signed in on the platform.
        home = tenant_id if claims.grant is None else PLATFORM
        if claims.session is not None and (home, holder_of_session(claims.session)) in self._ended:
            raise UnauthenticatedError(NOT_VALID)
        ended = self._ended.get((home, holder_of_subject(claims.subject)))
        if ended is not None and self._is_before(claims.epoch, claims.issued_at_s, ended):
            raise UnauthenticatedError(NOT_VALID)

    def _is_before(self, epoch: int | None, issued_at_s: int, ended: Ended) -> bool:
        if epoch is None:
            return issued_at_s <= ended.raised_at_s + self._limits.leeway_s
        return epoch < ended.epoch

    async def look(self) -> None:
        """Read what has ended by now."""
        async with self._looking:
            began_s = self._timer.now_s()
            found = {
                (TenantId(row["tenant_id"]), str(row["holder"])): Ended(row["epoch"], row["raised_at_s"])
                for row in await epochs(self._pool)
            }
            new = {
                tenant_id
                for (tenant_id, holder), ended in found.items()
                if self._ended.get((tenant_id, holder)) != ended
            }
            self._ended, self._read_at_s = found, began_s
        if new:
            self.on_ended(new)

    async def look_now(self) -> None:
        """Read what this process has just ended, rather than wait for the notification, which comes in any case."""
        try:
            await self.look()
        except DATABASE_ERRORS as error:
            log.warning("which credentials have ended can't be read now: %s", type(error).__name__)

    async def run(self) -> None:
        """Look at each notification, and every `poll_s` in any case."""
        while True:
            try:
                async with await connect_async(self._conninfo, autocommit=True) as connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    while True:
                        await self._look_at_all()
                        await self._until_due(connection)
            except (*DATABASE_ERRORS, OSError) as error:
                log.warning("which credentials have ended can't be read now: %s", type(error).__name__)
            except Exception:
                log.exception("which credentials have ended could not be read; it is tried again")
            await asyncio.sleep(min(self._limits.poll_s, 1.0))

    async def _until_due(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Wait for a notification, or for the time at which it is looked in any case."""
        tasks = (
            asyncio.ensure_future(_notified(connection)),
            asyncio.ensure_future(self._timer.sleep(self._limits.poll_s)),
        )
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()

    async def _look_at_all(self) -> None:
        await self.look()
        try:
            await asyncio.to_thread(self._ring.read)
        except SettingsRefusedError as error:
            log.error("the signing keys can't be read again: %s", error.detail)  # noqa: TRY400 - no trace is needed


async def _notified(connection: psycopg.AsyncConnection[Any]) -> None:
    async for _ in connection.notifies(stop_after=1):
        await asyncio.sleep(_AGAIN_AFTER_S)
