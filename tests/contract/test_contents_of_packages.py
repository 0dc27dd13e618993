"""What is found in real images on the real Podman: roots of Debian's packages, with the database of one of two kinds.

The tests' own images (`tests/support/images.py`) have no package database: there, programs alone tell.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from stromboli.inspection.container import ContainerOpener, MountedOpener
from stromboli.inspection.contents import image_contents
from stromboli.inspection.root import MountedRoot
from stromboli.local import debian
from stromboli.local.images import PodmanCommand
from stromboli.local.rootfs import Root
from stromboli.plan.contents import Contents, Tool
from stromboli.podman import Podman
from stromboli.progress import Progress
from tests.support import images

OS_RELEASE = b'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\nID=debian\n'


@dataclass(frozen=True)
class Packages:
    """An image of packages, without their dependencies. `tools` are those that they bring, by package."""

    name: str
    tools: dict[str, str]
    others: tuple[str, ...] = ("libc6", "coreutils")
    distroless: bool = False


OF_PACKAGES = [
    Packages("slim", {"bash": "bash", "perl-base": "perl"}, ("libc6", "coreutils", "gcc-12-base", "dash")),
    Packages("tools", {name: name for name in ("git", "jq", "curl", "wget", "make", "bash")}),
    Packages("python", {"python3-minimal": "python", "python3-pip": "pip"}, ("libc6", "python3.11-minimal")),
    Packages("node", {"nodejs": "node", "npm": "npm"}),
    Packages("scripts", {"ruby3.1": "ruby", "php8.2-cli": "php"}, ("ruby", "php-common", "libc6")),
    Packages("clients", {"postgresql-client-15": "psql", "redis-tools": "redis-cli", "mariadb-client-core": "mysql"}),
    Packages("compilers", {"gcc": "gcc", "cmake": "cmake", "golang-go": "go"}),
    Packages("distroless", {"python3.11-minimal": "python"}, ("libc6", "base-files", "netbase"), distroless=True),
]
# Image of tests/support/images.py → OS and tools; without a version where nothing in the image tells.
WITHOUT_DATABASE = {
    "glibc": ("debian", {"python", "bash", "pip"}),
    "musl": ("alpine", set()),
    "sneaky": ("sneaky", set()),
    "static": (None, set()),
    "scratchpad": ("debian", {"bash"}),
    "no-shell": (None, set()),
    "instant-cli": (None, set()),
}


def write(root: Root, debs: Sequence[Path], *, distroless: bool) -> None:
    """A root of packages, with what dpkg, or distroless' build, would have recorded of them."""
    root.merged_usr()
    root.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
    root.file("etc/os-release", OS_RELEASE)
    controls = {
        deb: subprocess.run(["dpkg-deb", "-f", str(deb)], capture_output=True, check=True).stdout for deb in debs
    }
    if distroless:
        for deb, control in controls.items():
            root.file(f"var/lib/dpkg/status.d/{deb.name.partition('_')[0]}", control)
    else:
        paragraphs = (control.replace(b"\n", b"\nStatus: install ok installed\n", 1) for control in controls.values())
        root.file("var/lib/dpkg/status", b"".join(each + b"\n" for each in paragraphs))
    root.packages(debs, debian.wanted)


def upstream(deb: Path) -> str:
    """The part of a package's version that is its program's."""
    found = subprocess.run(["dpkg-deb", "-f", str(deb), "Version"], capture_output=True, check=True, text=True).stdout
    version = found.strip().rpartition(":")[2]
    version = version.rpartition("-")[0] or version
    return version.rpartition("+really")[2].partition("+dfsg")[0].partition("~")[0]


async def both_ways(podman: Podman, image: str) -> Contents:
    """What is found by the mounted root, which must be what is found by the archive API."""
    info = await podman.images.inspect(image)
    assert info is not None
    body = {"image": image, "entrypoint": ["/never"], "netns": {"nsmode": "none"}, "user": "0:0"}
    container = await podman.containers.create(body)
    try:
        root = MountedRoot(Path(await podman.containers.mount(container)))
        assert root.visible
        found = await image_contents(MountedOpener(podman, container, root), info.env)
        assert await image_contents(ContainerOpener(podman, container), info.env) == found
    finally:
        await podman.containers.remove(container)
    return found


@pytest.mark.parametrize("packages", OF_PACKAGES, ids=lambda packages: packages.name)
async def test_packages(podman: Podman, podman_env: dict[str, str], packages: Packages) -> None:
    cache = images.cache_folder(podman_env)
    with images.taking_turns(podman_env):
        progress = Progress(sys.__stderr__, terminal=False)
        names = (*packages.tools, *packages.others)
        debs = debian.fetch(names, cache, progress, podman_env, closure=False)
    reference = f"localhost/stromboli-test/packages-{packages.name}:1"
    fill: Callable[[Root], None] = lambda root: write(root, debs, distroless=packages.distroless)  # noqa: E731
    PodmanCommand(podman_env).build(reference, fill)
    found = await both_ways(podman, reference)
    by_name = {deb.name.partition("_")[0]: deb for deb in debs}
    assert set(found.tools) == {Tool(tool, upstream(by_name[package])) for package, tool in packages.tools.items()}
    assert found.os is not None
    assert (found.os.id, found.os.version) == ("debian", "12")


@pytest.mark.parametrize("name", WITHOUT_DATABASE)
async def test_programs(podman: Podman, podman_env: dict[str, str], name: str) -> None:
    system, tools = WITHOUT_DATABASE[name]
    found = await both_ways(podman, images.build(name, podman_env))
    assert (found.os.id if found.os is not None else None) == system
    assert {tool.name for tool in found.tools} == tools


async def test_a_program_says_the_same_of_itself(podman: Podman, podman_env: dict[str, str]) -> None:
    image = images.build("glibc", podman_env)
    found = await both_ways(podman, image)
    version = next(tool.version for tool in found.tools if tool.name == "python")
    said = await asyncio.to_thread(_run, podman_env, image, "python3", "--version")
    assert said.startswith(f"Python {version}.")


def _run(environ: dict[str, str], image: str, *command: str) -> str:
    arguments = ["podman", "run", "--rm", "--network=none", image, *command]
    return subprocess.run(arguments, env=environ, capture_output=True, text=True, check=True, timeout=60).stdout
