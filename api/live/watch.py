"""The credentials of open streams, judged again while the streams last: by one task for all of them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from api.auth import Claims
from api.errors import DATABASE_ERRORS
from api.logs import logger
from api.timer import Timer
from domain.errors import (
    BpmError,
    CredentialChangedError,
    ForbiddenError,
    TenantElsewhereError,
    UnauthenticatedError,
    UnavailableError,
)
from domain.tenancy import PLATFORM, Actor, TenantId

log: Final = logger("bpm.live")

_AT_ONCE: Final = 64
"""Streams that are judged before others get their turn."""

_ENDS: Final = (UnauthenticatedError, ForbiddenError, TenantElsewhereError)


@dataclass(slots=True, eq=False)
class Standing:
    """What one stream goes by: a credential, and what it may do, as it was at the beginning.

    judged_s: when that was last found to be so still. error: why the stream ends; `ended` is set with it.
    """

    claims: Claims
    actor: Actor
    judged_s: float
    require_valid: Callable[[TenantId, Claims], None]
    error: BpmError | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def check(self) -> None:
        """Without waiting. Raises what ends the stream, and UnavailableError while what has ended can't be known."""
        if self.error is not None:
            raise self.error
        self.require_valid(self.actor.tenant_id, self.claims)

    def end(self, error: BpmError) -> None:
        """Let the stream end."""
        self.error = error
        self.ended.set()


@dataclass(frozen=True, slots=True)
class WatchLimits:
    """look_s: time between looks. age_s_max: so long a stream goes on while its credential can't be judged."""

    look_s: float
    age_s_max: float


class CredentialWatch:
    """Ends streams whose credential has ended, or may do other things than at their beginning.

    actor_of: judges a credential as it is now. require_valid: what has ended, asked without waiting. wake: lets the
    streams of some tenants look at how they stand.
    """

    def __init__(
        self,
        actor_of: Callable[[Claims], Awaitable[Actor]],
        require_valid: Callable[[TenantId, Claims], None],
        wake: Callable[[set[TenantId]], None],
        limits: WatchLimits,
        timer: Timer,
    ) -> None:
        self._actor_of = actor_of
        self._require_valid = require_valid
        self._wake = wake
        self._limits = limits
        self._timer = timer
        self._open: set[Standing] = set()

    @contextmanager
    def watching(self, claims: Claims, actor: Actor) -> Iterator[Standing]:
        """How a stream stands, for as long as the context lasts. claims, actor: as they were judged just now."""
        standing = Standing(claims, actor, self._timer.now_s(), self._require_valid)
        self._open.add(standing)
        try:
            yield standing
        finally:
            self._open.discard(standing)

    async def run(self) -> None:
        """Look every `look_s`, until cancelled."""
        while True:
            await self._timer.sleep(self._limits.look_s)
            try:
                await self.look()
            except Exception:
                log.exception("credentials of live streams could not be judged; it is tried again")

    async def look(self) -> None:
        """Judge the credentials of all open streams."""
        try:
            for number, standing in enumerate(list(self._open), start=1):
                if standing.error is None:
                    await self._judge(standing)
                if number % _AT_ONCE == 0:
                    await asyncio.sleep(0)
        except DATABASE_ERRORS as error:
            # The others would wait as long each.
            log.warning("credentials of live streams can't be judged now", error=type(error).__name__)
        self._end_aged()
        self._wake({standing.actor.tenant_id for standing in self._open if standing.error is not None})

    def recheck(self, tenants: set[TenantId]) -> None:
        """Look at once at those of some tenants: some credentials of theirs have ended just now.

        PLATFORM among them: at those of operators of the installation, in whichever tenant they are.
        """
        concerned = [
            standing
            for standing in self._open
            if standing.actor.tenant_id in tenants
            or (PLATFORM in tenants and standing.claims.grant is not None)
        ]
        for standing in concerned:
            if standing.error is None:
                try:
                    standing.check()
                except UnauthenticatedError as error:
                    standing.end(error)
                except UnavailableError:
                    pass
        self._wake(tenants | {standing.actor.tenant_id for standing in concerned})

    async def _judge(self, standing: Standing) -> None:
        began_s = self._timer.now_s()
        try:
            standing.check()
            actor = await self._actor_of(standing.claims)
        except _ENDS as error:
            standing.end(error)
        except UnavailableError as error:
            log.info("a live stream's credential can't be judged now", reason=error.detail)
        else:
            standing.judged_s = began_s
            if actor != standing.actor:
                standing.end(CredentialChangedError("what the credential may do has changed: connect again"))

    def _end_aged(self) -> None:
        """End those that could not be judged for too long."""
        before_s = self._timer.now_s() - self._limits.age_s_max
        for standing in self._open:
            if standing.error is None and standing.judged_s < before_s:
                standing.end(UnavailableError("whether the credential still holds can't be looked up now"))
