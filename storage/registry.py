"""Tenants and packs as ingest sees them: across row-level security, always with the tenant named."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import DictRow, dict_row

from domain.cells import HERE, Place, Placement
from domain.errors import ArchivedError, ConflictError, NotFoundError
from domain.key_aliases import KeyAlias, KeyAliases, usable_aliases
from domain.packs import ALWAYS_MS, FOREVER_MS, GENERAL_LIMITS, KnownPack, Limits, Tenure, model_limits
from domain.tenancy import CustomRole, PackNumber, TenantId, TenantState
from domain.usage import NO_QUOTAS, Quotas
from storage.connections import connect
from storage.database import query
from storage.transactions import Pool


@dataclass(frozen=True, slots=True)
class Tenant:
    """made_at_s: when it was made; one of the same name may have been there before, and was erased."""

    tenant_id: TenantId
    name: str
    place: Place = HERE
    quotas: Quotas = NO_QUOTAS
    made_at_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Rights:
    """What credentials of a tenant may name: its own roles, and its regions with the names of their sites."""

    roles: Mapping[str, CustomRole]
    regions: Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class RegistryVersion:
    """State of a tenant's registry, whether unknown packs may register themselves, and where archived days end.

    place: where the tenant is.
    """

    version: int
    register_unknown_packs: bool
    archived_before_ms: int
    place: Place = HERE


class Registry:
    """Reads tenants and packs with the ingest role."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def tenant(self, name: str) -> Tenant | None:
        rows = await self._rows("registry.tenant", {"name": name})
        return _tenant(rows[0]) if rows else None

    async def not_served(self, tenants: Sequence[TenantId]) -> list[Tenant]:
        """Those of the tenants that have moved to another cell, are suspended, or are being deleted."""
        return [_tenant(row) for row in await self._rows("registry.not_served", {"tenants": list(tenants)})]

    async def tenant_names(self, limit: int) -> list[str]:
        """The names of tenants in their order, at most so many."""
        return [row["name"] for row in await self._rows("registry.tenant_names", {"limit": limit})]

    async def version(self, tenant_id: TenantId) -> RegistryVersion:
        parameters = {"tenant_id": tenant_id, "always_ms": ALWAYS_MS}
        (row,) = await self._rows("registry.version", parameters)
        return RegistryVersion(
            row["registry_version"], row["register_unknown_packs"], row["archived_before_ms"], _place(row)
        )

    async def rights(self, tenant_id: TenantId) -> Rights:
        """The tenant's own roles, and its sites by region."""
        rows = await self._rows("registry.rights", {"tenant_id": tenant_id})
        roles = {row["name"]: CustomRole(row["name"], frozenset(row["holds"])) for row in rows if row["role"]}
        regions = {row["name"]: frozenset(row["holds"]) for row in rows if not row["role"]}
        return Rights(roles, regions)

    async def import_exists(self, tenant_id: TenantId, import_id: UUID, only_subject: str | None) -> bool:
        """Whether there is such an import, begun by this subject; None means by anybody in the tenant."""
        key = {"tenant_id": tenant_id, "id": import_id, "only_subject": only_subject}
        return bool(await self._rows("registry.import_exists", key))

    async def key_aliases(self, tenant_id: TenantId) -> KeyAliases:
        """The tenant's other names of keys."""
        rows = await self._rows("key_aliases.list", {"tenant_id": tenant_id})
        return usable_aliases(KeyAlias(**row) for row in rows)

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
            name: KnownPack(
                PackNumber(own[0]["pack_id"]), own[0]["mark"], tuple(_tenure(row, limits) for row in own)
            )
            for name, own in found.items()
        }

    async def _rows(self, name: str, parameters: dict[str, Any]) -> list[DictRow]:
        async with self._pool.connection() as connection:
            return await (await connection.execute(query(name), parameters)).fetchall()


def _tenant(row: DictRow) -> Tenant:
    quotas = Quotas(*(row[field.name] for field in fields(Quotas)))
    made_at_s = row["created_at"].timestamp()
    return Tenant(TenantId(row["tenant_id"]), row["name"], _place(row), quotas, made_at_s)


def _place(row: DictRow) -> Place:
    return Place(Placement(row["placement"]), row["cell"], row["cell_url"], TenantState(row["state"]))


def _tenure(row: DictRow, known: dict[str, Limits]) -> Tenure:
    given = row["limits"] or {}
    limits = known.setdefault(
        str(given),
        model_limits({name: (bound.get("minimum"), bound.get("maximum")) for name, bound in given.items()})
        if given
        else GENERAL_LIMITS,
    )
    return Tenure(
        TenantId(row["tenant_id"]), row["from_ms"], row["to_ms"], row["site"], limits, row["tenure_no"]
    )


def hand_over(conninfo: str, pack: str, giver: str, taker: str, taken_as: str, starts: datetime) -> None:
    """Let another tenant hold a pack from `starts` on, under an external id of its own.

    Raises NotFoundError (tenant or pack), ConflictError when the giver doesn't hold the pack then, when
    readings from `starts` on are stored, or when the taker's external id is taken. Raises ArchivedError when readings
    from `starts` on were stored and aren't kept any more.
    """
    with connect(conninfo, row_factory=dict_row) as connection:

        def rows(name: str, parameters: dict[str, Any]) -> list[DictRow]:
            cursor = connection.execute(
                query(f"registry.{name}"), {"pack": pack, "starts": starts} | parameters
            )
            return cursor.fetchall() if cursor.description else []

        tenants = {row["name"]: row["tenant_id"] for row in rows("lock_tenants", {"names": [giver, taker]})}
        for name in (giver, taker):
            if name not in tenants:
                raise NotFoundError(f"there is no tenant {name}", field="tenant")
        held = rows("held", {"tenant_id": tenants[giver]})
        if not held:
            raise NotFoundError(f"{giver} holds no pack {pack}", field="pack")
        number = {"pack_id": held[0]["pack_id"]}
        (latest,) = rows("reading_since", number)
        if latest["ts"] is not None:
            raise ConflictError(
                "readings from that time on are stored for the giver",
                field="from",
                limit=latest["ts"].isoformat(),
            )
        for archived in rows("archived_since", number | {"tenant_id": tenants[giver]}):
            raise ArchivedError(
                "the pack has windows in archived days, which stay the giver's",
                field="from",
                limit=archived["archived_before"].isoformat(),
            )
        ended = connection.execute(
            query("registry.end_tenure"), {"tenant_id": tenants[giver], "starts": starts} | number
        )
        if ended.rowcount != 1:
            raise ConflictError("the giver's tenure begins later", field="from", limit=held[0]["held_from"])
        try:
            rows("adopt", {"tenant_id": tenants[taker], "pack": taken_as} | number)
        except psycopg.errors.UniqueViolation as error:
            raise ConflictError("the taker has a pack of this external id", field="pack") from error
        rows("begin_tenure", {"tenant_id": tenants[taker]} | number)
        rows("note_hand_over", {"tenants": list(tenants.values())} | number)


def confirm_clock(conninfo: str) -> None:
    """Tell the engine that the wall clock is right as it is now."""
    with connect(conninfo) as connection:
        connection.execute(query("registry.confirm_clock"))
