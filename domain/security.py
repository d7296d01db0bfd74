"""Security events: what was refused, how often within a minute, and from how often on that is an alert."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Final

from domain.clock import MILLISECONDS_PER_SECOND
from domain.tenancy import TenantId

_PREFIX_BITS: Final = {4: 24, 6: 48}
_HOST_BITS: Final = {4: 32, 6: 64}


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


WATCHED: Final = {
    SecurityKind.DENIED: "Denied accesses",
    SecurityKind.NOT_FOUND: "Ids that are not there",
    SecurityKind.RATE_LIMITED: "Requests beyond the rate",
}
"""The kinds of which there may be too many, with the names of the alerts that say so."""

PER_MINUTE_MAX: Final = 1_000_000
QUIET_S_MIN: Final = 60
QUIET_S_MAX: Final = 86_400
"""Limits of what a tenant may choose."""

MINUTE_S: Final = 60


@dataclass(frozen=True, slots=True)
class Thresholds:
    """per_minute_max: from so many refusals of a kind within a minute on there are too many.

    quiet_s: when no minute had so many for so long, the alert is over.
    """

    per_minute_max: Mapping[SecurityKind, int]
    quiet_s: int

    def with_own(self, own: Mapping[str, int | None]) -> "Thresholds":
        """These, but for what a tenant has chosen, by the names under which it is kept; None is not chosen.

        >>> usual = Thresholds({SecurityKind.DENIED: 60}, 600)
        >>> usual.with_own({"denied_per_minute_max": 5, "quiet_s": None})
        Thresholds(per_minute_max={<SecurityKind.DENIED: 'denied'>: 5}, quiet_s=600)
        """
        chosen = {kind: own.get(f"{kind}_per_minute_max") for kind in self.per_minute_max}
        quiet_s = own.get("quiet_s")
        return Thresholds(
            {
                kind: usual if (mine := chosen[kind]) is None else mine
                for kind, usual in self.per_minute_max.items()
            },
            self.quiet_s if quiet_s is None else quiet_s,
        )

    def is_over(self, now_ms: int, last_minute_ms: int | None) -> bool:
        """Whether it has been quiet for long enough since the last minute with too many; None is none.

        >>> Thresholds({}, 600).is_over(659_999, 0), Thresholds({}, 600).is_over(660_000, 0)
        (False, True)
        """
        return (
            last_minute_ms is None
            or now_ms >= last_minute_ms + (MINUTE_S + self.quiet_s) * MILLISECONDS_PER_SECOND
        )


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
    return _network(address, _PREFIX_BITS)


@lru_cache(maxsize=4096)
def host_of(address: str | None) -> str | None:
    """What one host or household has of an address: all of IPv4, /64 of IPv6; None for what is no address.

    >>> host_of("203.0.113.9"), host_of("2001:db8:1:2::3"), host_of("socket")
    ('203.0.113.9/32', '2001:db8:1:2::/64', None)
    """
    return _network(address, _HOST_BITS)


def _network(address: str | None, bits: Mapping[int, int]) -> str | None:
    try:
        return str(ip_network(f"{address}/{bits[ip_address(address or '').version]}", strict=False))
    except ValueError:
        return None
