"""Tenants, what they used, who acts for them, and the cells that they live in."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings


class Tenants(BaseSettings):
    """A tenant's life, its roles, accounts, devices and keys."""

    tenant_grace_days: float = Field(
        30.0, ge=0, description="a deleted tenant can be taken back for so long; then it may be erased"
    )
    erase_rows_max: int = Field(
        10_000,
        gt=0,
        description="rows of a table that `bpm tenant erase` deletes in one transaction; few of them give way to others"
        " sooner, many are done earlier",
    )
    access_grant_hours_max: float = Field(
        72.0, gt=0, description="so long a tenant may let operators of the installation act in it at once"
    )
    access_grants_max: int = Field(100, gt=0, description="open access grants of a tenant; then 409")
    usage_flush_s: float = Field(
        5.0,
        gt=0,
        description="time between additions of counted requests to what tenants used; a process that is killed loses"
        " those of so long",
    )
    usage_known_s: float = Field(
        2.0,
        ge=0,
        description="what a tenant with quotas has used may be this old, and be passed by what comes within",
    )
    tenant_cache_s: float = Field(
        5.0,
        ge=0,
        le=30,
        description="a tenant's settings may be this old; live streams look so often whether their credential may do"
        " what it might",
    )

    roles_max: int = Field(100, ge=0, description="roles that a tenant may make; then 409")

    service_accounts_max: int = Field(1000, ge=0, description="service accounts of a tenant; then 409")
    devices_max: int = Field(100_000, ge=0, description="devices of a tenant; then 409")
    api_keys_max: int = Field(
        10, gt=0, description="keys in use of a service account or a device; then 409, until one is revoked"
    )
    account_grace_days: float = Field(
        30.0,
        ge=0,
        description="how long a deleted service account or device can be restored; then it is gone",
    )
    api_key_cache_s: float = Field(
        20.0,
        ge=0,
        le=30,
        description="what is known of an API key may be this old; a live stream is ended within twice that",
    )
    api_key_used_s: float = Field(300.0, gt=0, description="how often the use of an API key is noted")


class Cells(BaseSettings):
    """Other cells, to which tenants can be moved."""

    cells_file: Path | None = Field(
        None,
        description="other cells, to which `bpm tenant move` can move tenants, as TOML: url and database_url of each",
    )
