"""Signing in on the page in development: which tenants there are, and tokens for them, to this machine alone."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address

from api.auth import development_token
from api.settings import Environment, Settings
from domain.errors import BusyError, NotFoundError
from domain.tenancy import Role
from storage.registry import Registry

_SPAN_S = 60
_LOCAL_NAMES = frozenset({"localhost", "localhost.localdomain"})


@dataclass(frozen=True, slots=True)
class Asked:
    """Where a request came from: the address that sent it, and the host that it named."""

    client: str | None
    host: str | None

    @property
    def is_local(self) -> bool:
        """Whether both are this machine.

        The name counts too: else a page of the internet whose name was bound to 127.0.0.1 would get tokens.
        """
        return _is_loopback(self.client) and (self.host in _LOCAL_NAMES or _is_loopback(self.host))


def _is_loopback(host: str | None) -> bool:
    try:
        return host is not None and ip_address(host).is_loopback
    except ValueError:
        return False


class DevelopmentSignIn:
    """Gives development tokens to the page, a limited number of them each minute."""

    def __init__(self, settings: Settings, registry: Registry, monotonic_s: Callable[[], float]) -> None:
        self._settings = settings
        self._registry = registry
        self._monotonic_s = monotonic_s
        self._given_s: deque[float] = deque()

    def offered(self, asked: Asked) -> bool:
        """Whether there is such a sign-in for who asks: in development, with our own key, on this machine."""
        settings = self._settings
        development = settings.env is Environment.DEVELOPMENT and settings.token_issuer is None
        return development and asked.is_local

    async def tenants(self) -> list[str]:
        """The names of tenants in their order, as many as are listed."""
        return await self._registry.tenant_names(self._settings.page_tenants_max)

    async def token(self, asked: Asked, tenant: str, role: Role) -> str:
        """An access token. Raises NotFoundError when this isn't offered, or for the tenant; BusyError.

        And what says why the tenant isn't served here.
        """
        if not self.offered(asked):
            raise NotFoundError("there is no such address")
        self._count()
        found = await self._registry.tenant(tenant)
        if found is None:
            raise NotFoundError("there is no such tenant", field="tenant")
        found.place.require_near(found.name)
        return development_token(self._settings, tenant, role, time.time())

    def _count(self) -> None:
        """Raises BusyError when too many tokens were asked for within a minute."""
        now_s = self._monotonic_s()
        while self._given_s and self._given_s[0] <= now_s - _SPAN_S:
            self._given_s.popleft()
        limit = self._settings.development_tokens_per_minute_max
        if len(self._given_s) >= limit:
            raise BusyError(
                "too many sign-ins within a minute",
                limit=limit,
                retry_after_s=max(1, round(self._given_s[0] + _SPAN_S - now_s)),
            )
        self._given_s.append(now_s)
