"""Fixtures: the same tests run against the fake Podman and the real one; tests for the real one only use `podman`."""

from __future__ import annotations

import asyncio
import io
import os
import tarfile
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from stromboli.podman import Podman
from tests.support.fake_podman import FakePodman
from tests.support.images import (
    cli_image,
    glibc_image,
    glibc_no_coreutils_image,
    glibc_no_shell_image,
    instant_cli_image,
    musl_image,
    nonroot_image,
    numeric_user_image,
    scratchpad_image,
    sneaky_image,
    static_image,
)
from tests.support.podman import BUSYBOX, IsolatedPodman
from tests.support.registry import (
    closed_registry,
    open_registry,
    registries_client,
    registry_podman,
    registry_program,
)
from tests.support.session_podman import (
    busybox_only_image,
    isolated_podman,
    podman,
    podman_env,
    podman_socket,
    registry_address,
)
from tests.support.supervised import box, static_busybox

# Fixtures defined in other modules, for the tests in this folder.
__all__ = [
    "box",
    "busybox_only_image",
    "cli_image",
    "closed_registry",
    "glibc_image",
    "glibc_no_coreutils_image",
    "glibc_no_shell_image",
    "instant_cli_image",
    "isolated_podman",
    "musl_image",
    "nonroot_image",
    "numeric_user_image",
    "open_registry",
    "podman",
    "podman_env",
    "podman_socket",
    "registries_client",
    "registry_address",
    "registry_podman",
    "registry_program",
    "scratchpad_image",
    "sneaky_image",
    "static_busybox",
    "static_image",
]

LIMIT = 60.0  # seconds
FILES_IMAGE = "localhost/stromboli-test/files:1"
LINKS = {
    "relative": "lib/real",
    "absolute": "/lib/real",
    "chained": "absolute",
    "dangling": "/nowhere",
    "circle": "elcric",
    "elcric": "circle",
    "folder": "/lib",
    "root": "/",
    "escaping": "../../../../../../etc/passwd",
    "etc/escaping": "../../../../../../etc/passwd",
    # exists on the test's host, but not in the image
    "outside": "../../../../../../etc/hosts",
    "outside-folder": "../../../../../../etc",
}


@dataclass(frozen=True, slots=True)
class Bed:
    """One Podman under test. `image` has busybox, `files` the tree of links; `mark` are this test's labels."""

    podman: Podman
    image: str
    files: str
    mark: dict[str, str]
    real: bool
    fake: FakePodman | None = None

    def name(self) -> str:
        return f"contract-{uuid.uuid4().hex[:12]}"

    def body(self, *command: str, **fields: object) -> dict[str, object]:
        """A create body that works on both Podmans."""
        return {
            "image": self.image,
            "name": self.name(),
            "command": list(command),
            "labels": self.mark,
            "netns": {"nsmode": "none"},
            "log_configuration": {"driver": "none"},
        } | fields

    async def run(self, *command: str, **fields: object) -> str:
        """Create and start a container. Returns its ID."""
        container = await self.podman.containers.create(self.body(*command, **fields))
        await self.podman.containers.start(container)
        return container

    async def ended(self, *command: str, **fields: object) -> str:
        """Run a container until it ends by itself. Returns its ID."""
        container = await self.run(*command, **fields)
        async with asyncio.timeout(LIMIT):
            await self.podman.containers.wait(container)
        return container

    async def clear(self) -> None:
        """Remove everything that has this test's labels."""
        for container in await self.podman.containers.list(self.mark):
            await self.podman.containers.remove(container.id)
        for volume in await self.podman.volumes.list(self.mark):
            await self.podman.volumes.remove(volume.name)
        for network in await self.podman.networks.list(self.mark):
            await self.podman.networks.remove(network.name)
        for image in await self.podman.copies.images(self.mark):
            await self.podman.copies.remove(image.id, force=True)


@pytest.fixture(scope="module")
def claude(isolated_podman: IsolatedPodman, cli_image: str) -> Iterator[Path]:
    """The real CLI, for a process of this machine."""
    yield Path(isolated_podman.run("image", "mount", cli_image)) / "bin/claude"
    isolated_podman.run("image", "unmount", cli_image)


@pytest.fixture(scope="session")
def files_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of files and links, used as an image's root."""
    root = tmp_path_factory.mktemp("files")
    for folder in ("etc", "lib", "bin"):
        (root / folder).mkdir()
    (root / "lib/real").write_bytes(b"hello")
    (root / "lib/big").write_bytes(bytes(range(256)) * 4096 * 3)
    (root / "lib/empty").touch()
    (root / "etc/passwd").write_bytes(b"inside")
    (root / "bin/tool").write_bytes(b"#!")
    (root / "bin/tool").chmod(0o755)
    os.mkfifo(root / "fifo")
    for link, target in LINKS.items():
        (root / link).symlink_to(target)
    return root


@pytest.fixture(scope="session")
def files_image(isolated_podman: IsolatedPodman, files_root: Path) -> str:
    """The tree of files and links as an image in the real Podman, with a configuration to read back."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(files_root, ".")
        tar.add(BUSYBOX, "bin/busybox")
    changes = ['ENTRYPOINT ["/bin/busybox","sh"]', "USER 1000:1000", "ENV A=b", "WORKDIR /lib"]
    options = [part for change in changes for part in ("--change", change)]
    isolated_podman.run("import", "--quiet", *options, "-", FILES_IMAGE, stdin=archive.getvalue())
    return FILES_IMAGE


@pytest.fixture
async def real(podman: Podman, busybox_only_image: str, files_image: str) -> AsyncIterator[Bed]:
    """The real Podman."""
    bed = Bed(podman, busybox_only_image, files_image, {"contract": uuid.uuid4().hex}, real=True)
    yield bed
    await bed.clear()


@pytest.fixture
async def fake(tmp_path: Path, files_root: Path) -> AsyncIterator[FakePodman]:
    """The fake Podman, with the same images as the real one."""
    async with FakePodman(tmp_path / "fake.sock") as served:
        served.add_image("localhost/stromboli-test/busybox:1", root=files_root)
        config = {"Entrypoint": ["/bin/busybox", "sh"], "User": "1000:1000", "Env": ["A=b"], "WorkingDir": "/lib"}
        served.add_image(FILES_IMAGE, root=files_root, **config)
        yield served


@pytest.fixture
async def faked(fake: FakePodman) -> AsyncIterator[Bed]:
    """A client of the fake Podman."""
    async with Podman(fake.socket, processes=fake.processes) as client:
        image, mark = "localhost/stromboli-test/busybox:1", {"contract": "fake"}
        yield Bed(client, image, FILES_IMAGE, mark, real=False, fake=fake)


@pytest.fixture(params=["faked", "real"])
def bed(request: pytest.FixtureRequest) -> Bed:
    """Each Podman in turn. Not async: an async fixture cannot request another async fixture dynamically."""
    found: Bed = request.getfixturevalue(request.param)
    return found
