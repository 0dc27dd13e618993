"""Which Podman an installation lives on. Starting a service of our own needs Podman and is not tried here."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stromboli.errors import LocalFailure
from stromboli.local.home import Home
from stromboli.local.podman_service import PodmanService, answers

Serve = Callable[[Path], Path]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.ensure()
    return home


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A function that makes something answer Podman's ping on a socket."""
    listeners: list[socket.socket] = []

    def start(path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        listeners.append(listener)
        threading.Thread(target=_answer, args=(listener,), daemon=True).start()
        return path

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _answer(listener: socket.socket) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:  # the fixture has closed it
            return
        with client:
            client.recv(1024)
            client.sendall(b"HTTP/1.0 200 OK\r\n\r\nOK")


@pytest.fixture(autouse=True)
def ordinary_user(monkeypatch: pytest.MonkeyPatch, home: Home) -> None:
    """Whose standard socket lies in XDG_RUNTIME_DIR, and not in the machine's /run. The home was made before."""
    uid = os.getuid()
    monkeypatch.setattr("stromboli.environment.os.getuid", lambda: uid or 1000)


def service(home: Home, tmp_path: Path, **environ: str) -> PodmanService:
    return PodmanService(home, {"XDG_RUNTIME_DIR": str(tmp_path / "run"), **environ})


def test_where_none_answers_it_is_our_own(home: Home, tmp_path: Path) -> None:
    found = service(home, tmp_path)
    assert found.own
    assert found.socket == home.podman_socket


def test_the_users_standard_socket_if_it_answers(home: Home, tmp_path: Path, serve: Serve) -> None:
    standard = serve(tmp_path / "run/podman/podman.sock")
    found = service(home, tmp_path)
    assert found.socket == standard
    assert not found.own


def test_a_socket_that_nobody_listens_on_is_no_podman(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "run/podman/podman.sock"
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    assert service(home, tmp_path).own


def test_container_host_goes_before_the_standard_socket(home: Home, tmp_path: Path, serve: Serve) -> None:
    serve(tmp_path / "run/podman/podman.sock")
    given = serve(tmp_path / "other.sock")
    found = service(home, tmp_path, CONTAINER_HOST=f"unix://{given}")
    assert found.socket == given
    assert found.command.environ["CONTAINER_HOST"] == f"unix://{given}"


def test_container_host_that_is_no_unix_socket(home: Home, tmp_path: Path) -> None:
    with pytest.raises(LocalFailure, match="not a Unix socket"):
        _ = service(home, tmp_path, CONTAINER_HOST="tcp://10.0.0.1:2375").socket


def test_what_it_began_with_it_stays_with(home: Home, tmp_path: Path, serve: Serve) -> None:
    first = serve(tmp_path / "first.sock")
    assert not service(home, tmp_path, CONTAINER_HOST=f"unix://{first}").up()
    second = serve(tmp_path / "second.sock")
    assert service(home, tmp_path, CONTAINER_HOST=f"unix://{second}").socket == first
    assert service(home, tmp_path).socket == first


def test_someone_elses_podman_that_is_down_is_not_replaced(home: Home, tmp_path: Path) -> None:
    with pytest.raises(LocalFailure, match=r"(?s)does not answer on .*gone\.sock.*systemctl start podman\.socket"):
        service(home, tmp_path, CONTAINER_HOST=f"unix://{tmp_path}/gone.sock").up()


def test_only_a_service_that_speaks_answers(tmp_path: Path, serve: Serve) -> None:
    assert answers(serve(tmp_path / "a.sock"))
    assert not answers(tmp_path / "absent.sock")
