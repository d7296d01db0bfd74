"""Tenants and packs as ingest sees them: across row-level security, always with the tenant named."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import DictRow

from domain.packs import ALWAYS_MS, FOREVER_MS, GENERAL_LIMITS, KnownPack, Limits, Tenure, model_limits
from domain.tenancy import PackNumber, TenantId
from storage.database import query
from storage.transactions import Pool


@dataclass(frozen=True, slots=True)
class Tenant:
    tenant_id: TenantId
    name: str


@dataclass(frozen=True, slots=True)
class RegistryVersion:
    """State of a tenant's registry, and whether unknown packs may register themselves."""

    version: int
    register_unknown_packs: bool


class Registry:
    """Reads tenants and packs with the ingest role."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def tenant(self, name: str) -> Tenant | None:
        rows = await self._rows("registry.tenant", {"name": name})
        return Tenant(TenantId(rows[0]["tenant_id"]), rows[0]["name"]) if rows else None

    async def version(self, tenant_id: TenantId) -> RegistryVersion:
        (row,) = await self._rows("registry.version", {"tenant_id": tenant_id})
        return RegistryVersion(row["registry_version"], row["register_unknown_packs"])

    async def import_exists(self, tenant_id: TenantId, import_id: UUID) -> bool:
        return bool(await self._rows("registry.import_exists", {"tenant_id": tenant_id, "id": import_id}))

    async def packs(self, tenant_id: TenantId, names: Sequence[str]) -> dict[str, KnownPack]:
        """Those of the named packs that the tenant may name."""
        rows = await self._rows(
            "registry.known",
            {
                "tenant_id": tenant_id,
                "names": list(names),
                "always_ms": ALWAYS_MS,
                "forever_ms": FOREVER_MS,
            },
        )
        found: dict[str, list[DictRow]] = {}
        for row in rows:
            found.setdefault(row["external_id"], []).append(row)
        limits: dict[str, Limits] = {}
        return {
            name: KnownPack(PackNumber(own[0]["pack_id"]), tuple(_tenure(row, limits) for row in own))
            for name, own in found.items()
        }

    async def _rows(self, name: str, parameters: dict[str, Any]) -> list[DictRow]:
        async with self._pool.connection() as connection:
            return await (await connection.execute(query(name), parameters)).fetchall()


def _tenure(row: DictRow, known: dict[str, Limits]) -> Tenure:
    given = row["limits"] or {}
    limits = known.setdefault(
        str(given),
        model_limits({name: (bound.get("minimum"), bound.get("maximum")) for name, bound in given.items()})
        if given
        else GENERAL_LIMITS,
    )
    return Tenure(TenantId(row["tenant_id"]), row["from_ms"], row["to_ms"], row["site"], limits)


def create_tenant(conninfo: str, name: str, *, register_unknown_packs: bool) -> bool:
    """Whether the tenant is new; a known one is left as it is. Raises psycopg.errors.CheckViolation for the name."""
    parameters = {"name": name, "register": register_unknown_packs}
    with psycopg.connect(conninfo) as connection:
        return connection.execute(query("registry.create_tenant"), parameters).fetchone() is not None


def confirm_clock(conninfo: str) -> None:
    """Tell the engine that the wall clock is right as it is now."""
    with psycopg.connect(conninfo) as connection:
        connection.execute(query("registry.confirm_clock"))
