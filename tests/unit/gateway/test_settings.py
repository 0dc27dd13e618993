"""The gateway's settings."""

from __future__ import annotations

import pytest

from stromboli.errors import InvalidSettings
from stromboli.gateway import settings
from stromboli.gateway.settings import Settings


def test_without_any() -> None:
    assert settings.load({}) == Settings("127.0.0.1", 8443, "stromboli-system")


def test_what_is_stated() -> None:
    found = settings.load({"STROMBOLI_GATEWAY_ADDRESS": "[fd00::7]:8443", "STROMBOLI_NAMESPACE": "own"})
    assert found == Settings("fd00::7", 8443, "own")


def test_what_is_no_address() -> None:
    with pytest.raises(InvalidSettings, match=r"STROMBOLI_GATEWAY_ADDRESS: 'localhost' is not HOST:PORT"):
        settings.load({"STROMBOLI_GATEWAY_ADDRESS": "localhost"})
