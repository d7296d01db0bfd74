"""From what a credential says to who acts: roles that its tenant made, and the sites of regions."""

from collections.abc import Callable

from api.auth import Claims
from domain.tenancy import Actor, Role, TenantId
from storage.registry import Registry, Rights, Tenant

_BUILT_IN = frozenset(Role)


class RightsCache:
    """Makes actors of claims. What a tenant says of its roles and regions may be `kept_s` old."""

    def __init__(self, registry: Registry, kept_s: float, monotonic_s: Callable[[], float]) -> None:
        self._registry = registry
        self._kept_s = kept_s
        self._monotonic_s = monotonic_s
        self._kept: dict[TenantId, tuple[float, Rights]] = {}

    async def actor_of(self, tenant: Tenant, claims: Claims) -> Actor:
        """The caller. A role that isn't there grants nothing, so that one that is deleted takes nothing else along."""
        named = claims.roles - _BUILT_IN
        own = await self._rights(tenant.tenant_id) if named or claims.regions is not None else None
        known = named & own.roles.keys() if own is not None else frozenset()
        sites = claims.sites
        if claims.regions is not None and own is not None:
            sites = (sites or frozenset()).union(*(own.regions.get(name, ()) for name in claims.regions))
        return Actor(
            claims.subject,
            tenant.tenant_id,
            tenant.name,
            roles=frozenset(Role(name) for name in claims.roles & _BUILT_IN),
            sites=sites,
            device_pack=claims.device_pack,
            custom_roles=frozenset(own.roles[name] for name in known) if own is not None else frozenset(),
            unknown_roles=named - known,
            grant=claims.grant,
        )

    def forget(self, tenant_id: TenantId) -> None:
        """Ask anew, after a change in this process."""
        self._kept.pop(tenant_id, None)

    async def _rights(self, tenant_id: TenantId) -> Rights:
        kept = self._kept.get(tenant_id)
        if kept is not None and self._monotonic_s() - kept[0] < self._kept_s:
            return kept[1]
        asked_s = self._monotonic_s()
        found = await self._registry.rights(tenant_id)
        self._kept[tenant_id] = asked_s, found
        return found
