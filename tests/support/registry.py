"""Real registries on loopback: Debian's docker-registry, from the package, without installing it.

One is open, one asks for a login. `registry_podman` is a Podman that knows both, and for which the open one is a mirror
of docker.io. What registries do wrong is in `fake_registry.py`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx2
import pytest

from stromboli.local import debian
from stromboli.podman import Podman
from stromboli.progress import Progress
from stromboli.registry_credentials import Login
from tests.support.images import cache_folder, taking_turns
from tests.support.podman import IsolatedPodman

LOGIN = Login("reader", "open sesame")
NOBODY = "127.0.0.1:1"  # where no registry listens
HUB_FOLDER = "hub"  # of the open registry, which mirrors docker.io from there
UNTIL_LISTENS = 15.0  # seconds; it takes about 0.1
UNTIL_ENDED = 10.0

_PACKAGE = "docker-registry"
# The bcrypt hash of LOGIN's password, with the lowest cost: docker-registry accepts no other kind.
_HTPASSWD = f"{LOGIN.user}:$2a$05$Kx1nYwqLk3aFzq7D9b0c4ejZPHxo3LqOXCAAET4e.cbseXfcQlDfa\n"
_LISTENING = re.compile(r"listening on (127\.0\.0\.1:[0-9]+)")
_REGISTRIES_CONF = """\
unqualified-search-registries = ["{open}", "{nobody}"]
[[registry]]
prefix = "docker.io"
location = "docker.io"
[[registry.mirror]]
location = "{open}/{folder}"
insecure = true
"""


class Registry:
    """A context manager: one registry on `address`, with its images in a folder of its own that is removed at the end.

    With a `login` it serves nothing without it. Without an address it takes a free one. `stop` and `start` are for a
    registry that is away for a while.
    """

    def __init__(self, program: Path, login: Login | None = None, *, address: str = "127.0.0.1:0") -> None:
        self.login = login
        self.address = address
        self._program = program
        self._root = Path(tempfile.mkdtemp(prefix="stromboli-registry-"))
        self._log = self._root / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self._root)

    def start(self) -> None:
        """Start it and wait until it listens."""
        configuration = self._root / "config.yml"
        configuration.write_text(json.dumps(self._configuration()))  # JSON is YAML
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [self._program, "serve", configuration],
                env={**os.environ, "OTEL_TRACES_EXPORTER": "none"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.address = self._await_address(self._process)

    def stop(self) -> None:
        """End it; its images are kept. No-op if it is not running."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(UNTIL_ENDED)
            self._process = None

    def push(self, podman: IsolatedPodman, image: str, name: str) -> str:
        """Push an image of that Podman as `name` (`team/tool:1`). Returns its reference."""
        reference = f"{self.address}/{name}"
        creds = ["--creds", f"{self.login.user}:{self.login.password}"] if self.login else []
        podman.run("push", "--quiet", "--tls-verify=false", *creds, image, reference)
        return reference

    def digest(self, repository: str, tag: str) -> str:
        """The digest that a tag has in an open registry."""
        with httpx2.Client(base_url=f"http://{self.address}/v2/", trust_env=False) as client:
            accept = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
            answer = client.head(f"{repository}/manifests/{tag}", headers={"Accept": accept})
        return str(answer.raise_for_status().headers["Docker-Content-Digest"])

    def _configuration(self) -> dict[str, object]:
        configuration: dict[str, object] = {
            "version": "0.1",
            "storage": {"filesystem": {"rootdirectory": str(self._root / "data")}, "delete": {"enabled": True}},
            "http": {"addr": self.address},
        }
        if self.login is not None:
            (self._root / "htpasswd").write_text(_HTPASSWD)
            configuration["auth"] = {"htpasswd": {"realm": "test", "path": str(self._root / "htpasswd")}}
        return configuration

    def _await_address(self, process: subprocess.Popen[bytes]) -> str:
        """It says in its log which port it has."""
        limit = time.monotonic() + UNTIL_LISTENS
        while not (found := _LISTENING.search(said := self._log.read_text(errors="replace"))):
            assert process.poll() is None, f"the registry ended with {process.returncode}: {said}"
            assert time.monotonic() < limit, f"the registry does not listen after {UNTIL_LISTENS:.0f} s: {said}"
            time.sleep(0.02)
        return found[1]


def program() -> Path:
    """docker-registry's binary; the first time it is fetched into the cache of the tests' images."""
    cache = cache_folder(os.environ)
    kept = cache / "programs" / _PACKAGE
    with taking_turns(os.environ):
        if not kept.exists():
            kept.parent.mkdir(exist_ok=True)
            progress = Progress(sys.__stderr__, terminal=False)
            (package,) = debian.fetch((_PACKAGE,), cache, progress, os.environ, closure=False)
            with tempfile.TemporaryDirectory(dir=kept.parent) as unpacked:
                subprocess.run(["dpkg-deb", "--extract", package, unpacked], check=True, capture_output=True)
                Path(unpacked, "usr/bin", _PACKAGE).rename(kept)
    return kept


@pytest.fixture(scope="session")
def registry_program() -> Path:
    """docker-registry's binary."""
    return program()


@pytest.fixture(scope="session")
def open_registry(registry_program: Path) -> Iterator[Registry]:
    """A registry that serves everybody."""
    with Registry(registry_program) as registry:
        yield registry


@pytest.fixture(scope="session")
def closed_registry(registry_program: Path) -> Iterator[Registry]:
    """A registry that serves LOGIN alone."""
    with Registry(registry_program, LOGIN) as registry:
        yield registry


@pytest.fixture(scope="session")
def registry_podman(
    open_registry: Registry, closed_registry: Registry, registry_address: str
) -> Iterator[IsolatedPodman]:
    """A Podman of its own, with `team/tool:1` in the open registry, `secret/tool:1` in the closed one, and the hub's
    `library/python:3` in the open one as its mirror. It has none of them itself. `registry_address` is known to it too.
    """
    conf = _REGISTRIES_CONF.format(open=open_registry.address, nobody=NOBODY, folder=HUB_FOLDER)
    insecure = [open_registry.address, closed_registry.address, registry_address]
    with IsolatedPodman(registries=conf, insecure=insecure) as podman:
        image = podman.import_busybox()
        for registry, name in (
            (open_registry, "team/tool:1"),
            (open_registry, f"{HUB_FOLDER}/library/python:3"),
            (closed_registry, "secret/tool:1"),
        ):
            registry.push(podman, image, name)
        podman.run("rmi", "--all", "--force")
        yield podman


@pytest.fixture
async def registries_client(registry_podman: IsolatedPodman) -> AsyncIterator[Podman]:
    """A client of `registry_podman`."""
    async with Podman(registry_podman.socket) as client:
        yield client
