"""What is found in images as they are published, and in images that lie, by a mounted root and by an opener's calls."""

from __future__ import annotations

import asyncio
import errno
import os
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stromboli.errors import NoSpace
from stromboli.inspection.container import ContainerOpener, MountedOpener
from stromboli.inspection.contents import image_contents
from stromboli.inspection.contents.commands import COMMANDS
from stromboli.inspection.opener import Opener
from stromboli.inspection.root import MountedRoot
from stromboli.plan.contents import LONGEST_VERSION, TOOLS, Contents, Tool
from tests.support.contents import DEBIAN, PUBLISHED, Case, dpkg, fill, tools
from tests.support.opener import DirectoryOpener, Image
from tests.unit.inspection.contents.lies import LIES

LIMIT = 20.0  # seconds


def mounted(root: Path) -> Opener:
    """An opener that has no Podman to ask."""
    nobody: Any = SimpleNamespace(archive=None)
    return MountedOpener(nobody, "container", MountedRoot(root))


async def contents_of(opener: Opener, *env: str) -> Contents:
    return await asyncio.wait_for(image_contents(opener, env), LIMIT)


@pytest.mark.parametrize("opener", [mounted, DirectoryOpener])
@pytest.mark.parametrize("case", [*PUBLISHED, *LIES], ids=lambda case: case.name)
async def test_what_is_found(case: Case, opener: type[DirectoryOpener], tmp_path: Path) -> None:
    image = Image(tmp_path / "root")
    fill(image, case)
    found = await contents_of(opener(image.root), *case.env)
    assert set(found.tools) == tools(case.tools)
    assert [tool.name for tool in found.tools] == sorted((tool.name for tool in found.tools), key=TOOLS.index)
    assert found.os == case.os


def test_there_are_enough_of_them() -> None:
    assert len(PUBLISHED) >= 40
    names = {tool.name for case in PUBLISHED for tool in tools(case.tools)}
    assert set(TOOLS) - names == set()


async def test_a_database_of_100_mb_takes_little_memory(tmp_path: Path) -> None:
    image = Image(tmp_path)
    DEBIAN(image)
    status = b"Package: git\nStatus: install ok installed\nVersion: 1:2.39.2-1.1\n\n"
    filler = b"Package: lib\nStatus: install ok installed\nDescription: " + b"x" * 5000 + b"\nVersion: 1\n\n"
    image.file("/var/lib/dpkg/status", status + filler * 20_000 + status.replace(b"git", b"jq"), 0o644)
    tracemalloc.start()
    try:
        found = await contents_of(mounted(tmp_path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert set(found.tools) == tools("git 2.39.2"), "jq is beyond what is read"
    assert peak < 10 * 1024 * 1024


@pytest.mark.parametrize("path", ["/var/lib/rpm/Packages", "/var/lib/rpm/rpmdb.sqlite", "/lib/apk/db/installed"])
async def test_a_database_with_holes(path: str, tmp_path: Path) -> None:
    image = Image(tmp_path)
    image.file(path, b"")
    os.truncate(tmp_path / path.lstrip("/"), 10 << 40)
    assert await contents_of(mounted(tmp_path)) == Contents()


async def test_folders_of_very_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that has too many names is asked for single ones instead."""
    monkeypatch.setattr("stromboli.inspection.root._MOST_NAMES", 50)
    image = Image(tmp_path)
    image.file("/usr/local/bin/bun").file("/var/lib/dpkg/status.d/base", b"Package: git\nVersion: 1\n")
    for n in range(60):
        image.file(f"/usr/local/bin/{n}").file(f"/var/lib/dpkg/status.d/{n}").file(f"/usr/lib/jvm/{n}/bin/java")
    image.file("/usr/lib/jvm/default-java/bin/java")
    found = await contents_of(mounted(tmp_path))
    assert set(found.tools) == tools("java, bun")


async def test_a_path_of_folders_that_all_have_everything(tmp_path: Path) -> None:
    """And nothing of it is executable: each look at a name may take 30 ms over the archive API."""
    image = Image(tmp_path)
    for folder in range(16):
        for name in COMMANDS:
            image.file(f"/{folder}/{name}", mode=0o644)
    opener = DirectoryOpener(tmp_path)
    assert await contents_of(opener, "PATH=" + ":".join(f"/{folder}" for folder in range(16))) == Contents()
    assert 50 < sum(path.rpartition("/")[2] in COMMANDS for path in opener.stats) < 120


async def test_a_folder_of_large_files_is_not_read(tmp_path: Path) -> None:
    image = Image(tmp_path)
    for n in range(3):
        image.file(f"/var/lib/dpkg/status.d/{n}", b"Package: git\nVersion: 1\n\n" + b"x" * 400_000, 0o644)
    assert await contents_of(mounted(tmp_path)) == Contents()
    os.unlink(tmp_path / "var/lib/dpkg/status.d/0")
    assert set((await contents_of(mounted(tmp_path))).tools) == tools("git 1")


def test_what_a_mounted_root_opens(tmp_path: Path) -> None:
    root = MountedRoot(tmp_path)
    Image(tmp_path).file("/go/VERSION", b"go1.22.4\n").link("/go/same", "VERSION").link(
        "/out", "../../../../etc/passwd"
    )
    for path in ("/go/VERSION", "/go/same", "/go/../go/VERSION"):
        descriptor = root.open(path)
        assert descriptor is not None
        os.close(descriptor)
    for path in ("/go", "/absent", "/out", "/go/VERSION/x"):
        assert root.open(path) is None
    assert root.names("/go") == frozenset({"VERSION", "same"})
    assert root.names("/go/VERSION") == root.names("/absent") == frozenset()
    assert root.files("/go", 4, 100) == {"VERSION": b"go1."}, (
        "a link is not followed: over the archive API, it is a link"
    )
    assert root.files("/absent", 4, 100) == {}


async def test_versions_are_short(tmp_path: Path) -> None:
    image = Image(tmp_path)
    dpkg(f"git 1.{'9' * 500}", "jq 1.7-1")(image)
    found = await contents_of(mounted(tmp_path), f"PATH={'/x:' * 3000}")
    assert found == Contents(None, (Tool("git"), Tool("jq", "1.7")))
    assert all(len(tool.version) <= LONGEST_VERSION for tool in found.tools)


async def test_a_full_disk_of_the_operators_is_said_so() -> None:
    class Full:
        async def download_file(self, *_: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    podman: Any = SimpleNamespace(archive=Full())
    with pytest.raises(NoSpace, match=r"/etc/os-release of an image could not be copied .* No space left on device"):
        await contents_of(ContainerOpener(podman, "container"))
