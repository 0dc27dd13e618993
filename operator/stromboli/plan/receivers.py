"""Which addresses notifications may go to. Pure.

An address has to be public: one that anybody on the internet may have. So nobody who may create runs can reach through
the operator what is reachable only from its node: the node itself, its network, the cluster, a cloud's metadata. Others
need an entry in `notify.allowedNetworks` of every policy that has such a list.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from stromboli.grammar.network import Network

Address = IPv4Address | IPv6Address
# The prefix of NAT64, behind which the last 32 bits are the IPv4 address that is called (RFC 6052).
_NAT64 = IPv6Network("64:ff9b::/96")
# All of IPv6 that is assigned to anybody on the internet is in it (IANA, "IPv6 Global Unicast Address Assignments").
_UNICAST = IPv6Network("2000::/3")
# What ipaddress takes for global, in some version of Python at least, and what is not.
_SPECIAL = (
    IPv4Network("168.63.129.16/32"),  # a cloud's own services for its machines, such as their metadata
    IPv4Network("192.0.0.0/24"),  # IETF protocol assignments
    IPv4Network("192.88.99.0/24"),  # relays of 6to4
    IPv6Network("2001::/23"),  # IETF protocol assignments; among them Teredo, which leads to IPv4 addresses
    IPv6Network("2002::/16"),  # 6to4, which leads to IPv4 addresses
    IPv6Network("3fff::/20"),  # documentation
)


@dataclass(frozen=True, slots=True)
class NetworkList:
    """The networks in `notify.allowedNetworks` of a policy."""

    owner: str
    networks: tuple[Network, ...]

    def has(self, address: Address) -> bool:
        return any(address in network for network in self.networks)


def literal(host: str) -> Address | None:
    """The address that a host is; None if it is a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def refusal(address: Address, lists: Sequence[NetworkList], *, own: bool = False) -> str | None:
    """Why no notification may go to an address, as a clause; None if it may. `own` says that it is one of the node's
    own, behind which there may be what a firewall keeps from everybody else.
    """
    called = _called(address)
    kind = _kind(called) or ("an address of the node itself" if own else None)
    if kind is None or _is_allowed(address, lists) or _is_allowed(called, lists):
        return None
    lacking = next((one.owner for one in lists if not (one.has(address) or one.has(called))), None)
    said = f"{lacking} does not have it" if lacking else "no policy has it"
    return f"{called} is {kind}, and {said} in notify.allowedNetworks"


def _called(address: Address) -> Address:
    """The address that is called: an IPv4 address may be written as an IPv6 address."""
    if isinstance(address, IPv4Address):
        return address
    plain = IPv6Address(int(address))  # without a zone
    if plain.ipv4_mapped is not None:
        return plain.ipv4_mapped
    return IPv4Address(int(plain) & 0xFFFFFFFF) if plain in _NAT64 else plain


def _is_allowed(address: Address, lists: Sequence[NetworkList]) -> bool:
    return bool(lists) and all(one.has(address) for one in lists)


def _kind(address: Address) -> str | None:
    """What an address is that is not public; None for a public one."""
    if address.is_loopback:
        return "a loopback address"
    if address.is_link_local:
        return "a link-local address"
    if address.is_multicast:
        return "a multicast address"
    if address.is_unspecified:
        return "the unspecified address"
    if address.is_private:
        return "a private address"
    return None if _is_public(address) else "no public address"


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address not in _UNICAST:
        return False
    return address.is_global and not any(address in special for special in _SPECIAL)
