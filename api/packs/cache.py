"""Packs by external id, remembered while a tenant's registry stays at one version."""

from collections.abc import Sequence

from domain.packs import KnownPack
from domain.tenancy import TenantId
from storage.registry import Registry

_PACKS_MAX = 1_000_000


class PackCache:
    """Looks packs up in the registry once a version. Unknown names are asked for again each time."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._known: dict[TenantId, tuple[int, dict[str, KnownPack]]] = {}

    async def lookup(self, tenant_id: TenantId, version: int, names: Sequence[str]) -> dict[str, KnownPack]:
        """Those of the named packs that the tenant may name, as of this version of its registry or later."""
        cached_version, known = self._known.get(tenant_id, (version, {}))
        if cached_version != version or len(known) > _PACKS_MAX:
            known = {}
        missing = [name for name in names if name not in known]
        if missing:
            known |= await self._registry.packs(tenant_id, missing)
        self._known[tenant_id] = (version, known)
        return {name: known[name] for name in names if name in known}
