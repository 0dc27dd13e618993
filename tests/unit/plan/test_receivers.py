"""Which addresses a notification may go to: public ones, and what every policy with a list has in it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stromboli.plan.policy import Rules
from stromboli.plan.receivers import Address, NetworkList, literal, refusal
from tests.support.builders import effective, policy

# IANA's registries of special-purpose addresses, with all of multicast and of class E: (first address, bits).
SPECIAL_4 = [
    (0x00000000, 8),
    (0x0A000000, 8),
    (0x64400000, 10),
    (0x7F000000, 8),
    (0xA9FE0000, 16),
    (0xAC100000, 12),
    (0xC0000000, 24),
    (0xC0000200, 24),
    (0xC0586300, 24),
    (0xC0A80000, 16),
    (0xC6120000, 15),
    (0xC6336400, 24),
    (0xCB007100, 24),
    (0xE0000000, 4),
    (0xF0000000, 4),
    (0xA83F8110, 32),  # a cloud's, which is in no registry
]
SPECIAL_6 = ["2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"]
NAT64 = 0x0064FF9B << 96

numbers_4 = st.integers(0, 2**32 - 1) | st.sampled_from(SPECIAL_4).flatmap(
    lambda one: st.integers(one[0] - 1, one[0] + 2 ** (32 - one[1])).map(lambda n: n % 2**32)
)
forms_of_4 = st.sampled_from([0xFFFF << 32, NAT64, 0, 0xFFFF << 48, NAT64 | 1 << 80, 0xFE80 << 112, 0x5EFE << 32])
numbers_6 = (
    st.integers(0, 2**128 - 1)
    | st.integers(0x2000 << 112, (0x4000 << 112) - 1)
    | st.tuples(forms_of_4, numbers_4).map(lambda pair: pair[0] | pair[1])
    | numbers_4.map(lambda n: (0x2002 << 112) | n << 80)
)
addresses = numbers_4.map(IPv4Address) | numbers_6.map(IPv6Address)


def is_public_4(number: int) -> bool:
    return not any(number >> (32 - bits) == first >> (32 - bits) for first, bits in SPECIAL_4)


def is_public(address: Address) -> bool:
    """As the registries say, by numbers alone."""
    number = int(address)
    if isinstance(address, IPv4Address):
        return is_public_4(number)
    if number >> 32 in (0xFFFF, NAT64 >> 32):
        return is_public_4(number & 0xFFFFFFFF)
    return number >> 125 == 1 and not any(IPv6Address(number) in IPv6Network(one) for one in SPECIAL_6)


def allowing(*networks: str, owner: str = "AgentPolicy a") -> NetworkList:
    return NetworkList(owner, tuple(map(ip_network, networks)))


@given(addresses)
@example(IPv4Address("169.254.169.254"))
@example(IPv6Address("::ffff:169.254.169.254"))
@example(IPv6Address("64:ff9b::a9fe:a9fe"))
@example(IPv6Address("fd00:ec2::254"))
def test_an_address_that_no_policy_allows_is_a_public_one(address: Address) -> None:
    assert (refusal(address, ()) is None) == is_public(address)


@given(addresses, st.lists(st.lists(st.tuples(addresses, st.integers(0, 128)), max_size=3), max_size=3))
def test_lists_allow_what_is_in_each_of_them_and_nothing_else(
    address: Address, stated: list[list[tuple[Address, int]]]
) -> None:
    lists = [
        NetworkList(
            f"policy {n}",
            tuple(
                ip_network((int(one) >> (one.max_prefixlen - bits) << (one.max_prefixlen - bits), bits))
                if isinstance(one, IPv6Address)
                else ip_network(f"{one}/{min(bits, 32)}", strict=False)
                for one, bits in networks
            ),
        )
        for n, networks in enumerate(stated)
    ]
    inside = bool(lists) and all(
        any(form in network for form in forms(address) for network in one.networks) for one in lists
    )
    said = refusal(address, lists)
    if said is None:
        assert is_public(address) or inside
    else:
        assert not is_public(address)
        assert said.startswith(f"{forms(address)[-1]} is ")


def forms(address: Address) -> list[Address]:
    """The address, and the IPv4 address that it stands for."""
    number = int(address)
    embedded = isinstance(address, IPv6Address) and number >> 32 in (0xFFFF, NAT64 >> 32)
    return [address, IPv4Address(number & 0xFFFFFFFF)] if embedded else [address]


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("127.0.0.1", "127.0.0.1 is a loopback address"),
        ("::1", "::1 is a loopback address"),
        ("::ffff:127.0.0.1", "127.0.0.1 is a loopback address"),
        ("64:ff9b::7f00:1", "127.0.0.1 is a loopback address"),
        ("::127.0.0.1", "::7f00:1 is "),
        ("2002:7f00:1::", "2002:7f00:1:: is "),
        ("64:ff9b:1::7f00:1", "64:ff9b:1::7f00:1 is "),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:0:4136:e378:8000:63bf:3fff:fdd2 is "),
        ("169.254.169.254", "169.254.169.254 is a link-local address"),
        ("fe80::1%eth0", "fe80::1 is a link-local address"),
        ("10.0.0.1", "10.0.0.1 is a private address"),
        ("192.168.1.1", "192.168.1.1 is a private address"),
        ("fc00::1", "fc00::1 is a private address"),
        ("fec0::1", "fec0::1 is "),
        ("100.64.0.1", "100.64.0.1 is no public address"),
        ("168.63.129.16", "168.63.129.16 is no public address"),
        ("224.0.0.1", "224.0.0.1 is a multicast address"),
        ("ff0e::1", "ff0e::1 is a multicast address"),
        ("0.0.0.0", "0.0.0.0 is the unspecified address"),
        ("::", ":: is the unspecified address"),
        ("255.255.255.255", "255.255.255.255 is a private address"),
    ],
)
def test_what_is_not_public_is_named(address: str, kind: str) -> None:
    said = refusal(ip_address(address), ())
    assert said is not None
    assert said.startswith(kind)
    assert said.endswith(", and no policy has it in notify.allowedNetworks")


@pytest.mark.parametrize("address", ["1.1.1.1", "192.0.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"])
def test_public_addresses_need_nobody(address: str) -> None:
    assert refusal(ip_address(address), ()) is None
    assert refusal(ip_address(address), (allowing("10.0.0.0/8"), allowing())) is None


def test_each_list_has_to_have_it_and_the_one_that_has_not_is_named() -> None:
    all_of_it, some = allowing("10.0.0.0/8"), allowing("10.1.0.0/16", owner="AgentPolicy b")
    assert refusal(ip_address("10.1.2.3"), (all_of_it, some)) is None
    assert refusal(ip_address("10.2.0.0"), (all_of_it, some)) == (
        "10.2.0.0 is a private address, and AgentPolicy b does not have it in notify.allowedNetworks"
    )


def test_an_ipv4_address_in_an_ipv6_one_is_allowed_as_what_it_is() -> None:
    loopback = allowing("127.0.0.0/8")
    assert refusal(ip_address("::ffff:127.0.0.1"), (loopback,)) is None
    assert refusal(ip_address("::1"), (loopback,)) is not None
    assert refusal(ip_address("127.0.0.1"), (allowing("::/0"),)) is not None


def test_an_address_of_the_node_itself_is_none_of_the_public_ones() -> None:
    public = ip_address("1.1.1.1")
    assert refusal(public, (), own=False) is None
    assert refusal(public, (), own=True) == (
        "1.1.1.1 is an address of the node itself, and no policy has it in notify.allowedNetworks"
    )
    assert refusal(public, (allowing("1.1.1.0/24"),), own=True) is None
    assert refusal(ip_address("127.0.0.1"), (allowing("127.0.0.0/8"),), own=True) is None


def test_policies_state_networks_and_one_that_states_none_has_no_say() -> None:
    def networks(*found: Rules) -> tuple[NetworkList, ...]:
        return effective(*found).networks

    listed = policy("b", notify={"allowedNetworks": ["127.0.0.0/8", "fd00::/8"]})
    assert networks(policy("a"), policy("c", notify={})) == ()
    assert networks(policy("a"), listed) == (allowing("127.0.0.0/8", "fd00::/8", owner="AgentPolicy b"),)
    assert networks(policy("c", notify={"allowedNetworks": []}), listed)[1] == allowing(owner="AgentPolicy c")
    assert refusal(ip_address("127.0.0.1"), networks(policy("c", notify={"allowedNetworks": []}), listed)) is not None


def test_a_host_that_is_an_address() -> None:
    assert literal("10.0.0.1") == ip_address("10.0.0.1")
    assert literal("::1") == ip_address("::1")
    assert literal("localhost") is None
    assert literal("0x7f.1") is None
