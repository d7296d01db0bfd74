"""Which addresses a webhook may reach: those of the internet, and networks that the operator allows."""

import ipaddress
from collections.abc import Sequence
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_TRANSLATED: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""NAT64: the last four bytes are the IPv4 address that is reached."""

_REFUSED: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        "192.88.99.0/24",
        "::/96",
        "64:ff9b:1::/48",
        "2001::/23",
        "2002::/16",
        "3fff::/20",
        "5f00::/16",
        "fec0::/10",
    )
)
"""Relays, tunnels and other ways round, which Python's registers, as they differ by version, may call global."""


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Networks from their CIDR texts. Raises ValueError."""
    return tuple(ipaddress.ip_network(text.strip()) for text in texts)


def refusal(text: str, allowed: Sequence[Network] = ()) -> str | None:
    """Why an address isn't reached, or None when it may be.

    An IPv6 address that stands for an IPv4 one is judged as that.

    >>> refusal("10.0.0.1"), refusal("93.184.215.14")
    ('10.0.0.1 is not an address of the internet', None)
    >>> refusal("::ffff:10.0.0.1", networks(["10.0.0.0/8"])) is None
    True
    """
    try:
        address = _reached(ipaddress.ip_address(text))
    except ValueError:
        return "the name resolves to something that is no address"
    if _is_in(address, allowed) or _is_of_the_internet(address):
        return None
    return f"{address} is not an address of the internet"


def _reached(address: Address) -> Address:
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _TRANSLATED:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def _is_in(address: Address, among: Sequence[Network]) -> bool:
    return any(address in network for network in among if network.version == address.version)


def _is_of_the_internet(address: Address) -> bool:
    special = (
        address.is_multicast
        or address.is_reserved
        or address.is_unspecified
        or address.is_loopback
        or address.is_link_local
    )
    return address.is_global and not special and not _is_in(address, _REFUSED)
