"""Who acts, for which tenant, within which sites."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple, NewType
from uuid import UUID

TenantId = NewType("TenantId", int)
"""Internal number of a tenant; never leaves the engine."""

PLATFORM: Final = TenantId(0)
"""Stands for the installation where a tenant's number is expected; no tenant has it."""

PackNumber = NewType("PackNumber", int)
"""Dense number of a pack, global over tenants and never reused; never leaves the engine."""

TENANT_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
"""The names that tenants may have; the database checks the same."""

ROLE_NAME: Final = TENANT_NAME
"""The names that a tenant's own roles may have, beside those of `Role`; the database checks the same."""

PARTITION_ZERO: Final = 0
"""The only partition of the embedded runner."""


RETENTION_CLASS_NAME: Final = TENANT_NAME
"""The names that classes of retention may have; the database checks the same."""

STANDARD_RETENTION: Final = "standard"
"""The class of retention that is always there."""


class TenantState(StrEnum):
    """Of a tenant as a customer.

    suspended: nothing is answered or taken in, and all is kept. deleting: the same, until its grace is over. erasing:
    an erasure has begun. One that was erased isn't there any more.
    """

    ACTIVE = "active"
    SUSPENDED = "suspended"
    DELETING = "deleting"
    ERASING = "erasing"


class TenantVersions(NamedTuple):
    """Marks of a tenant's packs and tenures, and of its rules and silences: another one after each change."""

    registry: int
    rules: int


def is_of_same_tenant(registry_version: int, other: int) -> bool:
    """Whether two versions of a registry are of one tenant; a number may be another tenant's after a restore."""
    return registry_version >> 32 == other >> 32


class Role(StrEnum):
    """What a credential is for; `domain.policy` says what each may do."""

    PLATFORM_ADMIN = "platform_admin"
    TENANT_ADMIN = "tenant_admin"
    FLEET_MANAGER = "fleet_manager"
    OPERATOR = "operator"
    QUALITY = "quality"
    LOGISTICS = "logistics"
    TECHNICIAN = "technician"
    PLANNER = "planner"
    PURCHASER = "purchaser"
    APPROVER = "approver"
    AUDITOR = "auditor"
    ANALYST = "analyst"
    READ_ONLY = "read_only"
    IMPORTER = "importer"
    DEVICE = "device"


@dataclass(frozen=True, slots=True)
class CustomRole:
    """A role that a tenant made: its name, and the names of the actions that it grants."""

    name: str
    actions: frozenset[str]


@dataclass(frozen=True, slots=True)
class Actor:
    """An authenticated caller.

    `sites` is None when the credential is not limited to certain sites, else their names.
    `device_pack` is the external id of the pack whose own device this is, or None.
    `unknown_roles` are named by the credential, but are neither built in nor the tenant's; they grant nothing.
    `grant` is that by which an operator of the installation acts in the tenant for a time, or None.
    """

    subject: str
    tenant_id: TenantId
    tenant_name: str
    roles: frozenset[Role]
    sites: frozenset[str] | None = None
    device_pack: str | None = None
    custom_roles: frozenset[CustomRole] = frozenset()
    unknown_roles: frozenset[str] = frozenset()
    grant: UUID | None = None

    @property
    def role_names(self) -> list[str]:
        """All roles that the credential names, in their order."""
        return sorted({*self.roles, *(role.name for role in self.custom_roles), *self.unknown_roles})

    def sees_site(self, site: str | None) -> bool:
        """Whether the credential's site limits let it see what stands at `site`."""
        return self.sites is None or site in self.sites
