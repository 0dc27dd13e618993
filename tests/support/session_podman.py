"""Fixtures: the Podman that all tests of a session share in a process, and a client of it."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from stromboli.podman.transport import Podman
from tests.support import stores
from tests.support.podman import IsolatedPodman


@pytest.fixture(scope="session")
def registry_address() -> str:
    """A free address for a test's own registry, configured to be used without TLS."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture(scope="session")
def isolated_podman(registry_address: str) -> Iterator[IsolatedPodman]:
    """The session's own Podman, its service running. It has the large images, if they were ever built."""
    made = IsolatedPodman(insecure=[registry_address])
    stores.begin(made.root / "graph")
    with made as podman:
        yield podman


@pytest.fixture(scope="session")
def podman_env(isolated_podman: IsolatedPodman) -> dict[str, str]:
    """The environment in which the `podman` command sees the session's Podman."""
    return isolated_podman.env


@pytest.fixture(scope="session")
def podman_socket(isolated_podman: IsolatedPodman) -> Path:
    """The socket of the session's Podman."""
    return isolated_podman.socket


@pytest.fixture(scope="session")
def busybox_only_image(isolated_podman: IsolatedPodman) -> str:
    """An image with only a static busybox."""
    return isolated_podman.import_busybox()


@pytest.fixture
async def podman(podman_socket: Path) -> AsyncIterator[Podman]:
    """A client of the session's Podman; one per test, since it is bound to the test's event loop."""
    async with Podman(podman_socket) as client:
        yield client
