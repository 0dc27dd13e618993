"""A network in CIDR notation, such as 10.20.0.0/16 or fd00:1::/64. Pure."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network

from stromboli.errors import InvalidInput

Network = IPv4Network | IPv6Network
MEANT = "is not a network: write its first address and its length, such as 10.20.0.0/16, 10.1.2.3/32 or fd00:1::/64"


def parse(text: str) -> Network:
    """The network. Raises InvalidInput, as where the address is not the network's first one."""
    try:
        if not re.fullmatch(r"[0-9A-Fa-f:.]+/(0|[1-9][0-9]{0,2})", text):  # neither a netmask nor a zone
            raise ValueError
        found = ip_network(text)
        if isinstance(found, IPv6Network) and found.network_address.ipv4_mapped is not None:
            raise ValueError  # as the API server does: such addresses count as the IPv4 addresses that they are
        return found
    except ValueError as e:
        raise InvalidInput(MEANT) from e
