"""Which addresses a stranger's name may lead to, and that the judged one is the one connected to."""

from __future__ import annotations

import asyncio
import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tools.strangers import Resolver

from ringwall.tools.addresses import Addresses, Lookups, OutsideFault, is_public

INSIDE = [
    "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "169.254.170.2", "100.64.0.1",
    "100.100.100.200", "0.0.0.0", "255.255.255.255", "224.0.0.1", "240.0.0.1", "198.18.0.1",  # noqa: S104
    "192.0.0.192",
    "192.0.2.1", "192.88.99.1", "168.63.129.16", "203.0.113.7",
    "::", "::1", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "::10.0.0.1", "::ffff:0:10.0.0.1", "64:ff9b::a00:1",
    "64:ff9b::808:808", "64:ff9b:1::a00:1", "2002:a00:1::1", "2002:808:808::1", "2001:0:808:808::1", "2001:db8::1",
    "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "fec0::1", "3fff::1", "2a00:1450::5efe:a00:1",
    "2a00:1450::200:5efe:a00:1", "100::1", "5f00::1",
]  # fmt: skip


def of(host: str, addresses: Addresses) -> list[str]:
    return [str(one) for one in asyncio.run(addresses.of(host))]


def refused(host: str, addresses: Addresses) -> str:
    with pytest.raises(OutsideFault) as fault:
        asyncio.run(addresses.of(host))
    return fault.value.code


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_that_is_not_public_is_refused_behind_a_name_and_in_the_open(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))
    assert refused("evil.example", Addresses(resolve=Resolver(evil_example=[[address]]))) == "address_refused"
    assert refused(address, Addresses(resolve=Resolver())) == "address_refused"


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "2a00:1450:4001:81a::200e"])
def test_a_public_address_is_allowed(address: str) -> None:
    assert of("good.example", Addresses(resolve=Resolver(good_example=[[address]]))) == [address]


@pytest.mark.parametrize("host", ["0177.0.0.1", "0x7f.0.0.1", "0x7f000001", "2130706433", "127.1", "127.0.1", "0",
                                  "127.0.0.01", "1.2.3.4.5", "evil.0x7f", "host.", "", "a" * 254, "ho st", "h\0st",
                                  "löcalhost", "[::1]", "fe80::1%eth0", "127.0.0.1:80"])  # fmt: skip
def test_no_other_spelling_of_an_address_reaches_a_resolver(host: str) -> None:
    resolver = Resolver()
    assert refused(host, Addresses(resolve=resolver)) == "address_refused"
    assert resolver.asked == []


def test_of_several_addresses_only_the_good_ones_are_tried() -> None:
    resolver = Resolver(mixed_example=[["10.0.0.1", "8.8.8.8", "::1", "8.8.8.8"]])
    assert of("mixed.example", Addresses(resolve=resolver)) == ["8.8.8.8"]


def test_a_network_the_operator_declared_is_allowed_and_its_neighbour_is_not() -> None:
    resolver = Resolver(a_example=[["10.1.2.3"]], b_example=[["10.2.0.1"]], c_example=[["::ffff:10.1.2.3"]])
    addresses = Addresses(private=["10.1.0.0/16"], resolve=resolver)
    assert of("a.example", addresses) == ["10.1.2.3"]
    assert refused("b.example", addresses) == "address_refused"
    assert refused("c.example", addresses) == "address_refused"  # one address has one spelling


def test_an_address_the_operator_wrote_is_allowed_but_no_name_may_lead_there() -> None:
    addresses = Addresses(
        literal=["127.0.0.1", "[::1]", "evil.example"], resolve=Resolver(evil_example=[["127.0.0.1"]])
    )
    assert of("127.0.0.1", addresses) == ["127.0.0.1"]
    assert of("::1", addresses) == ["::1"]
    assert refused("127.0.0.2", addresses) == "address_refused"
    assert refused("evil.example", addresses) == "address_refused"


def test_localhost_is_this_machine_only_where_the_operator_wrote_it() -> None:
    resolver = Resolver(localhost=[["127.0.0.1", "10.0.0.1"]])
    assert of("localhost", Addresses(literal=["localhost"], resolve=resolver)) == ["127.0.0.1"]
    assert refused("localhost", Addresses(resolve=resolver)) == "address_refused"


@pytest.mark.parametrize("answer", [[[]], [["nonsense"]]])
def test_a_name_without_an_address_cannot_be_reached(answer: list[list[str]]) -> None:
    assert refused("gone.example", Addresses(resolve=Resolver(gone_example=answer))) == "upstream_unreachable"
    assert refused("never.example", Addresses(resolve=Resolver())) == "upstream_unreachable"


def test_a_name_with_many_addresses_gets_few_tries() -> None:
    resolver = Resolver(many_example=[[f"8.8.8.{n}" for n in range(200)]])
    assert len(of("many.example", Addresses(resolve=resolver))) == 4


def test_the_machines_own_resolver_finds_this_machine() -> None:
    async def run() -> list[str]:
        return await Lookups()("localhost")

    assert set(asyncio.run(run())) & {"127.0.0.1", "::1"}


@settings(max_examples=300)
@given(st.ip_addresses())
def test_whatever_is_public_is_global_to_the_standard_library_too(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if is_public(address):
        assert address.is_global and not address.is_multicast and not address.is_loopback and not address.is_private


@settings(max_examples=300)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["::ffff:0:0", "::", "::ffff:0:0:0", "64:ff9b::", "64:ff9b:1::"]))
def test_no_ipv4_address_comes_through_inside_another(number: int, prefix: str) -> None:
    assert not is_public(ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) | number))
