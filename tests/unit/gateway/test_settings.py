"""The gateway's settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from stromboli.errors import InvalidSettings
from stromboli.gateway import settings
from stromboli.gateway.settings import Settings
from stromboli.httpsettings import HttpSettings, Server


def test_without_any() -> None:
    assert settings.load({}) == Settings("127.0.0.1", 8443, "stromboli-system", HttpSettings())


def test_what_is_stated() -> None:
    found = settings.load({"STROMBOLI_GATEWAY_ADDRESS": "[fd00::7]:8443", "STROMBOLI_NAMESPACE": "own"})
    assert found == Settings("fd00::7", 8443, "own", HttpSettings())


def test_what_is_no_address() -> None:
    with pytest.raises(InvalidSettings, match=r"STROMBOLI_GATEWAY_ADDRESS: 'localhost' is not HOST:PORT"):
        settings.load({"STROMBOLI_GATEWAY_ADDRESS": "localhost"})


def test_the_http_api_is_on_with_an_address_in_the_environment_or_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "stromboli.yaml"
    file.write_text('server: {address: ":9090"}\nauth: {enabled: true}\n')
    assert settings.load({}).http.server.address is None
    assert settings.load({}, file).http.server.address == ("", 9090)
    assert settings.load({"STROMBOLI_SERVER_ADDRESS": ":8080"}, file).http.server == Server.model_validate(
        {"address": ":8080"}
    )
    assert [warning.partition(":")[0] for warning in settings.load({}, file).http.warnings] == ["auth"]
