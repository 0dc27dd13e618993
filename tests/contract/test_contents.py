"""What is in an image, through Podman: by the mounted root and by the archive API, which must agree."""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from stromboli.errors import NotFound, TooLarge
from stromboli.inspection.container import MOST_OF_A_FOLDER, ContainerOpener, MountedOpener
from stromboli.inspection.contents import image_contents
from stromboli.inspection.opener import Opener
from stromboli.inspection.root import MountedRoot
from stromboli.plan.contents import Contents
from tests.contract.conftest import Bed
from tests.support import contents
from tests.support.opener import Image
from tests.support.podman import IsolatedPodman

LIMIT = 60.0  # seconds
SEVERAL = ("python slim", "node with npm and yarn", "ruby", "rocky 9", "opensuse leap", "distroless python")


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of some of the images of the unit tests, and one with a folder in which is everything but a device."""
    folder = tmp_path_factory.mktemp("roots")
    for case in contents.PUBLISHED:
        if case.name in SEVERAL:
            contents.fill(Image(folder / case.name.replace(" ", "-")), case)
    odd = Image(folder / "odd")
    odd.file("/f/file", b"hello").file("/f/below/deeper/file", b"x").file("/f/empty").link("/f/link", "file")
    contents.pipe("/f/pipe")(odd)
    contents.pipe("/var/lib/dpkg/status")(odd)
    contents.pipe("/etc/os-release")(odd)
    odd.file("/large/a", b"x" * 1000).file("/large/b", b"x" * MOST_OF_A_FOLDER)
    odd.link("/circle", "circle").link("/linked", "f").file("/usr/local/go/bin/go")
    return folder


@pytest.fixture
async def container(bed: Bed, request: pytest.FixtureRequest, roots: Path) -> Callable[[str], asyncio.Future[str]]:
    """Makes a container of one of the roots."""

    async def make(name: str) -> str:
        reference = f"localhost/stromboli-test/contents-{name.replace(' ', '-')}:1"
        root = roots / name.replace(" ", "-")
        if bed.fake is not None:
            bed.fake.add_image(reference, root=root)
        else:
            podman: IsolatedPodman = request.getfixturevalue("isolated_podman")
            await asyncio.to_thread(_import, podman, root, reference)
        return await bed.podman.containers.create(bed.body("/never-started", image=reference))

    return lambda name: asyncio.ensure_future(make(name))


def _import(podman: IsolatedPodman, root: Path, reference: str) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(root, ".")
    podman.run("import", "--quiet", "-", reference, stdin=archive.getvalue())


Made = Callable[[str], asyncio.Future[str]]


async def found_by(opener: Opener, case: contents.Case) -> Contents:
    return await asyncio.wait_for(image_contents(opener, case.env), LIMIT)


@pytest.mark.parametrize("name", SEVERAL)
async def test_both_ways_find_the_same(bed: Bed, container: Made, name: str) -> None:
    case = next(case for case in contents.PUBLISHED if case.name == name)
    made = await container(name)
    by_archive = await found_by(ContainerOpener(bed.podman, made), case)
    assert set(by_archive.tools) == contents.tools(case.tools)
    assert by_archive.os == case.os
    root = MountedRoot(Path(await bed.podman.containers.mount(made)))
    if bed.real:
        assert await found_by(MountedOpener(bed.podman, made, root), case) == by_archive


async def test_a_folder(bed: Bed, container: Made) -> None:
    made = await container("odd")
    read = bed.podman.archive.read_folder
    everything = {"file": b"hell", "empty": b"", "below": None, "link": None, "pipe": None}
    assert await read(made, "/f", 4, 100_000) == everything
    assert await read(made, "/linked", 4, 100_000) == everything
    assert await read(made, "/f/file", 4, 100_000) == {}
    assert await read(made, "/f/pipe", 4, 100_000) == {}
    with pytest.raises(TooLarge):
        await read(made, "/large", 4, MOST_OF_A_FOLDER)
    for nothing in ("/absent", "/circle", "/f/file/x"):
        with pytest.raises(NotFound):
            await read(made, nothing, 4, 100_000)


async def test_what_an_opener_says_of_odd_places(bed: Bed, container: Made) -> None:
    made = await container("odd")
    root = MountedRoot(Path(await bed.podman.containers.mount(made)))
    openers: list[Opener] = [ContainerOpener(bed.podman, made)]
    if bed.real:
        openers.append(MountedOpener(bed.podman, made, root))
    for opener in openers:
        for path in ("/f", "/f/pipe", "/absent", "/circle"):
            async with opener.open(path, 100) as file:
                assert file is None, path
        async with opener.open("/f/link", 4) as file:
            assert file is not None
            assert file.at(0, file.size) == b"hell"
        assert await opener.names("/linked") == frozenset({"file", "empty", "below", "link", "pipe"})
        assert await opener.files("/linked", 4) == {"file": b"hell", "empty": b""}
        assert await opener.files("/large", 4) == {}
        for path in ("/absent", "/circle", "/f/file", "/f/pipe"):
            assert await opener.names(path) == frozenset(), path
        found = await asyncio.wait_for(image_contents(opener, ()), LIMIT)
        assert (found.os, found.tools) == (None, tuple(contents.tools("go")))
    assert await openers[0].names("/large") is None


async def test_a_container_that_is_gone_is_no_empty_image(bed: Bed, container: Made) -> None:
    made = await container("odd")
    await bed.podman.containers.remove(made)
    with pytest.raises(NotFound, match="no such container"):
        await asyncio.wait_for(image_contents(ContainerOpener(bed.podman, made), ()), LIMIT)


async def test_a_part_of_a_file_is_downloaded(bed: Bed, container: Made) -> None:
    made = await container("odd")
    destination = io.BytesIO()
    assert await bed.podman.archive.download_file(made, "/large/b", destination, 70_000) == 70_000
    assert destination.getvalue() == b"x" * 70_000
