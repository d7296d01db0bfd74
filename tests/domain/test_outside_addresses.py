"""Which addresses webhooks may reach, one by one."""

import ipaddress

import pytest

from domain.outside_addresses import networks, refusal

REFUSED = (
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
    "169.254.169.254", "169.254.1.1", "100.64.0.1", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1",
    "203.0.113.9", "192.88.99.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::7f00:1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::a00:1", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1",
    "2001:2::1", "2002:7f00:1::", "2002:808:808::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1",
    "fe80::1%eth0", "fec0::1", "ff02::1",
)  # fmt: skip
REACHED = ("8.8.8.8", "93.184.215.14", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8")


@pytest.mark.parametrize("address", REFUSED)
def test_address_that_is_not_of_the_internet_is_refused(address: str) -> None:
    assert refusal(address) is not None


@pytest.mark.parametrize("address", REACHED)
def test_address_of_the_internet_is_reached(address: str) -> None:
    assert refusal(address) is None


@pytest.mark.parametrize("text", ["", "localhost", "127.1", "0x7f.0.0.1", "2130706433", "1.2.3.4/32", "::1 "])
def test_what_is_no_address_is_refused(text: str) -> None:
    assert refusal(text) is not None


def test_allowed_network_is_reached_and_nothing_beside_it() -> None:
    allowed = networks(["10.1.2.0/24", "fd00:1::/64"])
    assert [refusal(one, allowed) is None for one in ("10.1.2.3", "::ffff:10.1.2.3", "fd00:1::5")] == [
        True
    ] * 3
    assert [refusal(one, allowed) is None for one in ("10.1.3.3", "fd00:2::5", "127.0.0.1")] == [False] * 3


def test_every_private_network_of_the_registers_is_refused() -> None:
    constants = vars(ipaddress)["_IPv4Constants"]
    for network in constants._private_networks:
        assert refusal(str(network[0])) is not None
        assert refusal(str(network[-1])) is not None
