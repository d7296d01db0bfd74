"""API keys as credentials: looked up by their id, known by their digest, remembered for a while."""

import hmac
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from api.auth import Claims
from domain import api_keys
from domain.errors import UnauthenticatedError
from storage.service_accounts import FoundKey, find_key, note_use, session_of
from storage.transactions import Pool

_KEPT_MAX: Final = 10_000
_NEVER_S: Final = 1 << 40
"""When a key without an expiry ends, in seconds since 1970."""


class KeyVerifier:
    """Makes claims of keys. What is known of a key may be `kept_s` old: so long a revoked one is still taken.

    used_s: how often the use of a key is noted.
    """

    def __init__(
        self,
        pool: Pool,
        kept_s: float,
        used_s: float,
        monotonic_s: Callable[[], float],
        now_s: Callable[[], float],
    ) -> None:
        self._pool = pool
        self._kept_s = kept_s
        self._used = timedelta(seconds=used_s)
        self._monotonic_s = monotonic_s
        self._now_s = now_s
        self._kept: dict[str, tuple[float, FoundKey | None]] = {}

    async def verify(self, text: str) -> Claims:
        """What a key says. Raises UnauthenticatedError."""
        given = api_keys.read(text)
        if given is None:
            raise UnauthenticatedError("this is no API key: a character of it is wrong or missing")
        found = await self._found(given.key_id)
        if found is None or not hmac.compare_digest(found.digest, given.digest):
            raise UnauthenticatedError("the API key is not valid")
        return self._claims(given.key_id, found)

    def knows(self, text: str) -> bool:
        """Whether the key was verified here of late and hasn't expired; it may have been revoked since."""
        given = api_keys.read(text)
        kept = None if given is None else self._kept.get(given.key_id)
        if given is None or kept is None or kept[1] is None:
            return False
        expires_at = kept[1].expires_at
        if expires_at is not None and expires_at.timestamp() <= self._now_s():
            return False
        return hmac.compare_digest(kept[1].digest, given.digest)

    async def claims_of(self, key_id: str) -> Claims:
        """What a key that was verified before says now. Raises UnauthenticatedError when it can't be used any more."""
        found = await self._found(key_id)
        if found is None:
            raise UnauthenticatedError("the API key is not valid any more")
        return self._claims(key_id, found)

    def forget(self, key_id: str | None = None) -> None:
        """Ask anew for a key, or for all, after a change in this process."""
        if key_id is None:
            self._kept.clear()
        else:
            self._kept.pop(key_id, None)

    def _claims(self, key_id: str, found: FoundKey) -> Claims:
        ends_s = _NEVER_S if found.expires_at is None else int(found.expires_at.timestamp())
        if ends_s <= self._now_s():
            raise UnauthenticatedError("the API key has expired")
        return Claims(
            subject=found.subject,
            tenant_name=found.tenant,
            roles=found.roles,
            sites=found.sites,
            device_pack=found.pack,
            expires_at_s=ends_s,
            # Epochs are kept as long as tokens live, which is shorter: they end what a key has opened, and what is
            # remembered of it, but not the key.
            issued_at_s=int(self._now_s()),
            session=session_of(key_id),
            key_id=key_id,
        )

    async def _found(self, key_id: str) -> FoundKey | None:
        kept = self._kept.get(key_id)
        asked_s = self._monotonic_s()
        if kept is not None and asked_s - kept[0] < self._kept_s:
            return kept[1]
        found = await find_key(self._pool, key_id)
        if len(self._kept) >= _KEPT_MAX:
            self._kept.clear()
        self._kept[key_id] = asked_s, found
        if found is not None:
            now = datetime.fromtimestamp(self._now_s(), UTC)
            if found.last_used_at is None or found.last_used_at <= now - self._used:
                await note_use(self._pool, found, key_id, now, now - self._used)
        return found
