"""Our own issuer: access tokens, signed by the newest key that all processes know."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import jwt

from api.auth import ALGORITHM, TOKEN_TYPE
from api.identity.keys import KeyRing
from domain.clock import MILLISECONDS_PER_SECOND


@dataclass(frozen=True, slots=True)
class Bearer:
    """Whom an access token is for.

    epoch: of the subject, read together with what the token grants. session: of its refresh token; None without one.
    name: shown to people, of which nothing follows. ends_at_s: the token ends then at the latest.
    tenant: None for an operator of the installation. grant: the id of that by which one acts in the tenant.
    """

    tenant: str | None
    subject: str
    roles: Sequence[str]
    sites: Sequence[str] | None
    epoch: int
    session: str | None = None
    name: str | None = None
    ends_at_s: int | None = None
    grant: UUID | None = None


@dataclass(frozen=True, slots=True)
class Issuer:
    """Signs access tokens of this installation."""

    ring: KeyRing
    name: str
    audience: str
    life_s: int
    now_s: Callable[[], float]

    def issue(self, bearer: Bearer) -> tuple[str, int]:
        """An access token, and the seconds that it lives."""
        now_s = int(self.now_s())
        expires_at_s = now_s + self.life_s
        if bearer.ends_at_s is not None:
            expires_at_s = min(expires_at_s, bearer.ends_at_s)
        payload: dict[str, Any] = {
            "iss": self.name,
            "aud": self.audience,
            "sub": bearer.subject,
            "jti": str(uuid.uuid4()),
            "iat": now_s,
            "exp": expires_at_s,
            "roles": list(bearer.roles),
            "epoch": bearer.epoch,
        }
        given = {
            "tenant": bearer.tenant,
            "platform": True if bearer.tenant is None else None,
            "grant": None if bearer.grant is None else str(bearer.grant),
            "sites": None if bearer.sites is None else list(bearer.sites),
            "sid": bearer.session,
            "name": bearer.name,
        }
        payload |= {name: value for name, value in given.items() if value is not None}
        key = self.ring.signing(now_s * MILLISECONDS_PER_SECOND)
        headers = {"kid": key.key_id, "typ": TOKEN_TYPE}
        return jwt.encode(payload, key.key, ALGORITHM, headers), expires_at_s - now_s
