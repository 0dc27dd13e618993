"""The gateway's settings."""

from __future__ import annotations

import pytest

from stromboli.errors import InvalidSettings
from stromboli.gateway import settings
from stromboli.gateway.settings import Settings


def test_without_any() -> None:
    assert settings.load({}) == Settings("127.0.0.1", 8443, "stromboli-system")


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [("10.0.0.7:443", "10.0.0.7", 443), ("[fd00::7]:8443", "fd00::7", 8443), ("fd00::7:8443", "fd00::7", 8443)],
)
def test_an_address(address: str, host: str, port: int) -> None:
    found = settings.load({"STROMBOLI_GATEWAY_ADDRESS": address, "STROMBOLI_NAMESPACE": "own"})
    assert found == Settings(host, port, "own")


@pytest.mark.parametrize("address", ["localhost", ":8443", "host:", "host:x", "host:70000", "host:²"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(InvalidSettings, match=r"STROMBOLI_GATEWAY_ADDRESS: .* is not HOST:PORT"):
        settings.load({"STROMBOLI_GATEWAY_ADDRESS": address})
