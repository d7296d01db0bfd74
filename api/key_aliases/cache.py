"""Key aliases, remembered while a tenant's registry stays at one version."""

from domain.key_aliases import KeyAliases
from domain.tenancy import TenantId
from storage.registry import Registry


class AliasCache:
    """Reads a tenant's key aliases once a version of its registry, which every change of them raises."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._known: dict[TenantId, tuple[int, KeyAliases]] = {}

    async def of(self, tenant_id: TenantId, version: int) -> KeyAliases:
        """The aliases as of this version of the tenant's registry, or later."""
        known = self._known.get(tenant_id)
        if known is None or known[0] != version:
            known = self._known[tenant_id] = (version, await self._registry.key_aliases(tenant_id))
        return known[1]
