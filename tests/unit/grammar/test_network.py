"""Networks in CIDR notation, as the API server reads them."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from stromboli.errors import InvalidInput
from stromboli.grammar import network


@pytest.mark.parametrize("text", ["10.0.0.0/8", "127.0.0.1/32", "0.0.0.0/0", "::/0", "fd00:1::/64", "FD00::/8"])
def test_a_network(text: str) -> None:
    assert network.parse(text) == ip_network(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10.0.0.0",
        "10.0.0.1/8",
        "10.0.0.0/33",
        "10.0.0.0/08",
        "10.0.0.0/255.0.0.0",
        "010.0.0.0/8",
        "10.0.0.0/8 ",
        "10.0.0.0/8\n",
        "fe80::%eth0/64",
        "::ffff:10.0.0.0/104",
        "localhost/32",
    ],
)
def test_what_is_no_network_gets_a_sentence(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"^is not a network: write its first address and its length, such as 10\."):
        network.parse(text)
