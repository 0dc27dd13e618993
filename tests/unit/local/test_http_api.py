"""Where the HTTP API of an installation is: what the user has set, or the usual port, or one of its own."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stromboli.controlplane import ports
from stromboli.errors import InvalidSettings, LocalFailure
from stromboli.local import http_api
from stromboli.local.home import Home
from stromboli.local.http_api import HttpApi
from tests.support.gateways import free_port

HERE = "127.0.0.1"


@pytest.fixture(autouse=True)
def usual(monkeypatch: pytest.MonkeyPatch) -> int:
    """The usual port is one that nothing on the machine has."""
    monkeypatch.setattr(http_api, "PORT", free_port())
    return http_api.PORT


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.ensure()
    return home


@contextmanager
def taken(port: int) -> Iterator[None]:
    with socket.create_server((HERE, port)):
        yield


def started(home: Home, address: str | None = None) -> tuple[str, int]:
    """Where a gateway that is not running would listen; it is then told so."""
    api = of(home, address)
    found = api.address(running=False)
    api.record(found)
    return found


def of(home: Home, address: Any = None) -> HttpApi:
    return HttpApi(home, {} if address is None else {"address": address})


def test_the_usual_port(home: Home, usual: int) -> None:
    assert started(home) == (HERE, usual)
    with taken(usual):
        assert of(home).address(running=True) == (HERE, usual), "it is the gateway that has it"
    assert of(home).url() == f"http://127.0.0.1:{usual}"
    assert of(home).line() == f"HTTP API: http://127.0.0.1:{usual}"


def test_while_another_process_has_the_usual_port_it_is_one_of_its_own_and_says_so(home: Home, usual: int) -> None:
    with taken(usual):
        host, port = started(home)
        assert (host, port) != (HERE, usual)
        with taken(port):
            assert of(home).address(running=True) == (HERE, port)
        assert started(home) == (HERE, port), "the same each time"
    assert of(home).line() == (
        f"HTTP API: http://127.0.0.1:{port}, since another process has port {usual};"
        " STROMBOLI_SERVER_ADDRESS=127.0.0.1:PORT chooses one"
    )
    with taken(port):
        assert of(home).address(running=True) == (HERE, port), "who uses it now is not cut off"
    assert started(home) == (HERE, usual), "the next time, it is free again"


def test_what_the_user_has_set(home: Home, usual: int) -> None:
    port = free_port()
    assert started(home, f"{HERE}:{port}") == (HERE, port)
    assert "since" not in of(home, f"{HERE}:{port}").line()
    with taken(port):
        assert of(home, f"{HERE}:{port}").address(running=True) == (HERE, port)
    assert of(home).address(running=True) == (HERE, usual), "it is set no longer"


def test_what_the_user_has_set_and_another_process_has(home: Home, usual: int) -> None:
    port = free_port()
    said = f"STROMBOLI_SERVER_ADDRESS: another process has 127.0.0.1:{port}, where the HTTP API should be"
    with taken(port):
        for running in (False, True):
            with pytest.raises(LocalFailure, match=said) as refused:
                of(home, f"{HERE}:{port}").address(running=running)
    assert "STROMBOLI_SERVER_ADDRESS=127.0.0.1:0 for any free port" in refused.value.hint


def test_any_free_port_is_the_same_each_time(home: Home) -> None:
    _, port = started(home, f"{HERE}:0")
    assert port != 0
    assert started(home, f"{HERE}:0") == (HERE, port)
    with taken(port):
        assert of(home, f"{HERE}:0").address(running=True) == (HERE, port)
        assert of(home, f"{HERE}:0").address(running=False) != (HERE, port), "another process has it now"


@pytest.mark.parametrize(
    ("host", "url"), [("", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("[::]", "[::1]"), ("localhost", "localhost")]
)
def test_where_programs_of_this_machine_find_it(host: str, url: str, home: Home) -> None:
    api, port = of(home, f"{host}:8080"), 8080
    api.record((host.strip("[]"), port))
    assert api.url() == f"http://{url}:{port}"
    said = "and on every other address of this machine, where calls need a token"
    assert (said in api.line()) is (host != "localhost")


def test_every_address_is_not_free_if_one_is_taken(home: Home) -> None:
    port = free_port()
    with taken(port):
        assert not ports.free(port, "")
        with pytest.raises(LocalFailure, match=f"another process has :{port}"):
            of(home, f":{port}").address(running=False)
    assert ports.free(port, "")


def test_it_is_asked_again_until_it_is_well(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str | None] = ["no operator is ready", "no operator is ready", None, "never asked"]
    monkeypatch.setattr(HttpApi, "trouble", lambda self: found.pop(0))
    assert of(home).await_well() is None
    assert found == ["never asked"]
    monkeypatch.setattr(HttpApi, "trouble", lambda self: "no operator is ready")
    monkeypatch.setattr(http_api, "_WELL_SECONDS", 0.2)
    assert of(home).await_well() == "no operator is ready"


def test_what_is_no_address(home: Home) -> None:
    with pytest.raises(InvalidSettings, match="STROMBOLI_SERVER_ADDRESS: '8080' is neither"):
        of(home, 8080).address(running=False)
