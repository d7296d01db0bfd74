"""Security events: what was refused, and how often of late."""

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Final

from domain.tenancy import TenantId

_PREFIX_BITS: Final = {4: 24, 6: 48}


class SecurityKind(StrEnum):
    """What happened."""

    BAD_CREDENTIAL = "bad_credential"
    DENIED = "denied"
    NOT_FOUND = "not_found"
    RATE_LIMITED = "rate_limited"
    THRESHOLD_EXCEEDED = "threshold_exceeded"


KIND_OF_STATUS: Final = {
    401: SecurityKind.BAD_CREDENTIAL,
    403: SecurityKind.DENIED,
    404: SecurityKind.NOT_FOUND,
    429: SecurityKind.RATE_LIMITED,
}
"""The statuses of answers that are noted."""


@dataclass(frozen=True, slots=True)
class SecurityKey:
    """What is counted together. tenant_id and subject are None while nobody has shown who they are."""

    tenant_id: TenantId | None
    kind: SecurityKind
    subject: str | None
    address_prefix: str | None
    route: str


@lru_cache(maxsize=4096)
def prefix_of(address: str | None) -> str | None:
    """The network of an address, as large as one site or customer usually has; None for what is no address.

    >>> prefix_of("203.0.113.9"), prefix_of("2001:db8:1:2::3"), prefix_of("socket")
    ('203.0.113.0/24', '2001:db8:1::/48', None)
    """
    try:
        bits = _PREFIX_BITS[ip_address(address or "").version]
        return str(ip_network(f"{address}/{bits}", strict=False))
    except ValueError:
        return None
