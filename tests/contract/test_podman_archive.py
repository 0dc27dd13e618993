"""Files of a container that was never started: links never lead a read outside of it."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest

from stromboli.errors import NotFound, PodmanError
from tests.contract.conftest import LINKS, Bed
from tests.support.podman import IsolatedPodman

LIMIT = 30.0
LOG = {"driver": "k8s-file"}
BIG = 150 * 1024 * 1024

TO_REAL = ["/lib/real", "/relative", "/absolute", "/chained", "/folder/real", "/root/lib/real", "/../../lib/real"]
TO_NOTHING = ["/nowhere", "/nowhere/at/all", "/dangling", "/circle", "/lib/real/below", "/proc/1/environ"]
OUTSIDE = ["/outside", "/outside-folder/hosts", "/../../../../etc/hosts", "/root/etc/hosts", "/etc/hosts"]


@pytest.fixture
async def container(bed: Bed) -> str:
    return await bed.podman.containers.create(bed.body(image=bed.files))


@pytest.mark.parametrize("path", TO_REAL)
async def test_links_lead_to_a_file(bed: Bed, container: str, path: str) -> None:
    found = await bed.podman.archive.stat(container, path)
    assert found is not None
    assert (found.size, found.regular, found.directory, found.executable) == (5, True, False, False)
    assert await bed.podman.archive.read_file(container, found.path, 100) == b"hello"
    assert await bed.podman.archive.read_file(container, path, 100) == b"hello"


@pytest.mark.parametrize("path", TO_NOTHING)
async def test_links_lead_nowhere(bed: Bed, container: str, path: str) -> None:
    assert await bed.podman.archive.stat(container, path) is None
    with pytest.raises(NotFound):
        await bed.podman.archive.read_file(container, path, 100)


@pytest.mark.parametrize("path", ["/escaping", "/etc/escaping", "/outside-folder/passwd"])
async def test_an_escape_ends_at_the_container_s_root(bed: Bed, container: str, path: str) -> None:
    assert await bed.podman.archive.read_file(container, path, 100) == b"inside"


@pytest.mark.parametrize("path", OUTSIDE)
async def test_nothing_outside_is_read(bed: Bed, container: str, path: str) -> None:
    assert Path("/etc/hosts").is_file(), "the test needs a file of the host that must not be read"
    assert await bed.podman.archive.stat(container, path) is None
    with pytest.raises(NotFound):
        await bed.podman.archive.read_file(container, path, 100)


async def test_every_link_of_the_tree_is_tried() -> None:
    tried = " ".join([*TO_REAL, *TO_NOTHING, *OUTSIDE, "/escaping", "/etc/escaping"])
    assert [link for link in LINKS if f"/{link}" not in tried and link != "elcric"] == []


async def test_kinds_and_permissions(bed: Bed, container: str) -> None:
    tool = await bed.podman.archive.stat(container, "/bin/tool")
    folder = await bed.podman.archive.stat(container, "/folder")
    pipe = await bed.podman.archive.stat(container, "/fifo")
    assert tool is not None
    assert folder is not None
    assert pipe is not None
    assert (tool.regular, tool.executable, tool.mode) == (True, True, 0o755)
    assert (folder.path, folder.regular, folder.directory) == ("/lib", False, True)
    assert (pipe.regular, pipe.directory) == (False, False)


@pytest.mark.parametrize("path", ["/lib", "/folder", "/fifo"])
async def test_only_files_are_read(bed: Bed, container: str, path: str) -> None:
    with pytest.raises(PodmanError, match="not a regular file"):
        await asyncio.wait_for(bed.podman.archive.read_file(container, path, 100), LIMIT)


async def test_reading_is_bounded_and_whole(bed: Bed, container: str, files_root: Path) -> None:
    expected = (files_root / "lib/big").read_bytes()
    read = bed.podman.archive.read_file
    assert await read(container, "/lib/big", 1000) == expected[:1000]
    assert await read(container, "/lib/big", 10 << 20) == expected
    assert await read(container, "/lib/empty", 10) == b""
    downloaded = io.BytesIO()
    assert await bed.podman.archive.download_file(container, "/lib/big", downloaded) == len(expected)
    assert downloaded.getvalue() == expected


async def test_a_container_that_is_not_there_is_no_missing_file(bed: Bed) -> None:
    with pytest.raises(NotFound, match="no such container"):
        await bed.podman.archive.stat("nobody", "/lib/real")


async def test_a_large_file_does_not_pass_through_memory(
    isolated_podman: IsolatedPodman, real: Bed, tmp_path: Path
) -> None:
    container = await real.podman.containers.create(real.body())
    root = Path(isolated_podman.run("mount", container))
    with (root / "large").open("wb") as file:
        file.truncate(BIG)
    before = _peak()
    with (tmp_path / "large").open("wb") as file:
        assert await real.podman.archive.download_file(container, "/large", file) == BIG
    assert (tmp_path / "large").stat().st_size == BIG
    assert _peak() - before < 50 << 20


def _peak() -> int:
    """The peak memory of this process in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))


@pytest.mark.parametrize(
    ("path", "made"),
    [
        ("/lib", "/lib"),
        ("/new", "/new"),
        ("/new/with/more/", "/new/with/more"),
        ("/lib/below", "/lib/below"),
        ("/folder/below/it", "/lib/below/it"),
        ("/outside-folder/below", "/etc/below"),
        ("/", "/"),
        ("/new/./a/../b", "/new/b"),
    ],
)
async def test_a_folder_is_made_within_the_container(bed: Bed, container: str, path: str, made: str) -> None:
    for _ in range(2):  # the second time, it is there
        assert await bed.podman.archive.make_folder(container, path) == made
    found = await bed.podman.archive.stat(container, made)
    assert found is not None
    assert found.directory


@pytest.mark.parametrize("path", ["/lib/real", "/lib/real/below", "/relative/below"])
async def test_a_file_in_the_way_stays(bed: Bed, container: str, path: str) -> None:
    assert await bed.podman.archive.make_folder(container, path) is None


async def test_no_folder_is_made_in_what_is_not_there(bed: Bed) -> None:
    with pytest.raises(NotFound):
        await bed.podman.archive.make_folder("nobody", "/new")


async def test_a_made_folder_is_root_s_and_others_keep_their_mode(real: Bed) -> None:
    body = real.body("ls", "-lnd", "/tmp", "/tmp/new", "/tmp/new/folder", user="7:7", log_configuration=LOG)
    created = await real.podman.containers.create(body)
    assert await real.podman.archive.make_folder(created, "/tmp/new/folder") == "/tmp/new/folder"
    await real.podman.containers.start(created)
    assert await real.podman.containers.wait(created) == 0
    lines = (await real.podman.logs.tail(created, 10, 4096)).splitlines()
    assert [line.split()[0:1] + line.split()[2:4] for line in lines] == [
        ["drwxrwxrwt", "0", "0"],
        ["drwxr-xr-x", "0", "0"],
        ["drwxr-xr-x", "0", "0"],
    ]
