"""`HOST:PORT`: read and written."""

from __future__ import annotations

import pytest

from stromboli import addresses


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("10.0.0.7:443", "10.0.0.7", 443), ("[fd00::7]:8443", "fd00::7", 8443), ("node.example:0", "node.example", 0)],
)
def test_an_address(text: str, host: str, port: int) -> None:
    assert addresses.parse(text) == (host, port)
    assert addresses.to_text(host, port) == text


def test_an_ipv6_host_may_come_without_brackets() -> None:
    assert addresses.parse("fd00::7:8443") == ("fd00::7", 8443)


@pytest.mark.parametrize("text", ["localhost", ":8443", "host:", "host:x", "host:70000", "host:²", ""])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not HOST:PORT, such as 127\.0\.0\.1:8443"):
        addresses.parse(text)


@pytest.mark.parametrize(("text", "host"), [(":8080", ""), ("127.0.0.1:8080", "127.0.0.1"), ("[::]:8080", "::")])
def test_an_address_to_listen_at(text: str, host: str) -> None:
    assert addresses.parse_listening(text) == (host, 8080)


@pytest.mark.parametrize("text", ["8080", ":", ":x", ":70000", "host", ""])
def test_what_is_no_address_to_listen_at(text: str) -> None:
    with pytest.raises(ValueError, match="is neither :PORT nor HOST:PORT, such as :8080"):
        addresses.parse_listening(text)
