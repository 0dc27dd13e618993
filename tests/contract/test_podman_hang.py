"""A root filesystem on which Podman hangs: that it does, how this is detected before a start, and how to recover.

On an isolated Podman, since it hangs during these tests.
"""

from __future__ import annotations

import asyncio
import io
import shutil
import tarfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest

from stromboli import naming
from stromboli.errors import PodmanUnavailable
from stromboli.inspection import startfiles
from stromboli.inspection.container import ContainerOpener
from stromboli.local import podman_service
from stromboli.local.home import Home
from stromboli.local.images import PodmanCommand
from stromboli.local.podman_service import PodmanService
from stromboli.node.access import Access
from stromboli.node.images import Images, never_started
from stromboli.plan.compatibility import CLINeeds, judge, judge_own_cli
from stromboli.podman import Podman, containers
from tests.support.podman import BUSYBOX, IsolatedPodman

LIMIT = 60.0
PASSWD = "root:x:0:0:root:/root:/bin/sh\n"
PIPE = None
# Paths that may be pipes, because Podman does not open them: it mounts over them, creates them, or uses the host's.
UNREAD = (
    "etc/resolv.conf etc/hostname etc/mtab etc/localtime etc/timezone etc/subuid etc/subgid etc/nsswitch.conf "
    "etc/os-release etc/machine-id etc/shadow etc/environment etc/profile run/.containerenv .dockerenv "
    f"run/secrets/x {naming.SESSION[1:]}/x"
)
WRONG: dict[str, tuple[Mapping[str, str | None], str]] = {
    "passwd": ({"etc/passwd": PIPE}, "its /etc/passwd is not a regular file"),
    "group": ({"etc/passwd": PASSWD, "etc/group": PIPE}, "its /etc/group is not a regular file"),
    "link": ({"etc/passwd": "->../x/../p", "p": PIPE}, "its /etc/passwd leads to /p, which is not a regular file"),
    "etc": ({"etc": PIPE}, "its /etc is not a folder"),
}


def image(podman: IsolatedPodman | PodmanCommand, name: str, files: Mapping[str, str | None], *changes: str) -> str:
    """An image with busybox and these files; None makes a pipe, `->…` a link."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(BUSYBOX, "bin/busybox")
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            if content is None:
                entry.type = tarfile.FIFOTYPE
            elif content.startswith("->"):
                entry.type, entry.linkname = tarfile.SYMTYPE, content[2:]
            else:
                entry.size = len(content)
            tar.addfile(entry, io.BytesIO((content or "").encode()) if entry.size else None)
    reference = f"localhost/contract/{name}:1"
    options = [part for change in changes for part in ("--change", change)]
    if isinstance(podman, IsolatedPodman):
        podman.run("import", "--quiet", *options, "-", reference, stdin=archive.getvalue())
    else:
        folder = Path(podman.environ["CONTAINERS_CONF"]).parent
        (folder / "image.tar").write_bytes(archive.getvalue())
        podman.run("import", "--quiet", str(folder / "image.tar"), reference)
    return reference


def body(reference: str, **more: object) -> dict[str, object]:
    return {
        "image": reference,
        "entrypoint": ["/bin/busybox", "true"],
        "user": "0:0",
        "work_dir": "/",
        "netns": {"nsmode": "none"},
        "log_configuration": {"driver": "none"},
    } | more


@pytest.fixture(scope="module")
def isolated() -> Iterator[IsolatedPodman]:
    with IsolatedPodman() as podman:
        yield podman


@pytest.fixture
async def client(isolated: IsolatedPodman) -> AsyncIterator[Podman]:
    async with Podman(isolated.socket) as podman:
        yield podman


@pytest.mark.parametrize("kind", WRONG)
async def test_an_image_in_which_podman_would_wait_is_told_without_a_start(
    kind: str, isolated: IsolatedPodman, client: Podman, tmp_path: Path
) -> None:
    files, words = WRONG[kind]
    found = await client.images.inspect(image(isolated, kind, files))
    assert found is not None
    images = Images(client, tmp_path, Access(tmp_path), "installation", lambda _: None)
    facts = await asyncio.wait_for(images.facts(found, CLINeeds()), LIMIT)
    for verdict in (judge(facts, CLINeeds()), judge_own_cli(facts)):
        assert not verdict.ok
        assert verdict.message.startswith(f"{words}, and Podman reads that before it starts a container; use an image")
    assert await client.containers.list({}) == []


@pytest.mark.parametrize("kind", WRONG)
async def test_the_archive_api_tells_the_same(kind: str, isolated: IsolatedPodman, client: Podman) -> None:
    """For an operator that cannot see the mounted root. The stat of a pipe does not open it."""
    files, words = WRONG[kind]
    made = await client.containers.create(never_started(f"look-{kind}", image(isolated, kind, files), {}))
    try:
        assert await asyncio.wait_for(startfiles.problem(ContainerOpener(client, made)), LIMIT) == words
    finally:
        await client.containers.remove(made)


async def test_a_link_into_a_mount_is_not_taken_for_what_the_mount_has(
    isolated: IsolatedPodman, client: Podman, tmp_path: Path
) -> None:
    """Podman resolves it in the underlying root, which has something else there."""
    (tmp_path / "p").write_text(PASSWD)
    reference = image(isolated, "mounted", {"etc/passwd": "->/work/p", "work/p": PIPE})
    mounts = [{"type": "bind", "source": str(tmp_path), "destination": "/work", "options": ["rbind"]}]
    made = await client.containers.create(body(reference, mounts=mounts))
    words = "its /etc/passwd leads to /work/p, which is not a regular file"
    try:
        assert await startfiles.problem(ContainerOpener(client, made)) == "", "according to the archive API"
        assert await startfiles.problem(ContainerOpener(client, made, ["/work"])) == words
        assert await startfiles.problem_in(client, made, ["/work"]) == words
    finally:
        await client.containers.remove(made)


async def test_of_all_else_in_a_root_podman_opens_nothing(isolated: IsolatedPodman, client: Podman) -> None:
    """A container whose root was mounted for inspection starts, exits, restarts and is removed like any other."""
    files: dict[str, str | None] = {"etc/passwd": PASSWD, "etc/group": "root:x:0:\n", **dict.fromkeys(UNREAD.split())}
    volume = [{"Name": "contract", "Dest": naming.SESSION, "Options": ["rw"]}]
    made = await client.containers.create(body(image(isolated, "unread", files), volumes=volume, user="7:7"))
    try:
        for _ in range(2):
            assert await startfiles.problem_in(client, made) == ""
            await asyncio.wait_for(client.containers.start(made), LIMIT)
            assert await asyncio.wait_for(client.containers.wait(made), LIMIT) == 0
    finally:
        await client.containers.remove(made)
    assert await client.containers.mounted() == {}
    await client.volumes.remove("contract")


async def test_a_working_directory_is_not_made_by_podman(
    isolated: IsolatedPodman, client: Podman, tmp_path: Path
) -> None:
    """To create it, Podman follows links out of the container, so ours have no working directory."""
    (tmp_path / "host").mkdir()
    escaping = {"etc/passwd": PASSWD, "a": f"->{tmp_path}/host"}
    reference = image(isolated, "escaping", escaping, "WORKDIR /a/made")
    made = await client.containers.create(body(reference))
    try:
        await client.containers.start(made)
        assert await client.containers.wait(made) == 0
        assert list((tmp_path / "host").iterdir()) == []
    finally:
        await client.containers.remove(made)


async def test_a_podman_that_hangs_is_told_and_its_locks_go_with_its_service(
    isolated: IsolatedPodman, client: Podman, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await client.containers.create(body(image(isolated, "passwd", {"etc/passwd": PIPE})))
    monkeypatch.setattr(containers, "_STARTING", 0.5)
    monkeypatch.setattr(podman_service, "HANGS_AFTER", 0.5)
    with pytest.raises(PodmanUnavailable, match=r"accepted POST .*/start but did not answer within 0 s: it hangs"):
        await client.containers.start(made)
    assert podman_service.answers(isolated.socket)
    assert not podman_service.works(isolated.socket)
    isolated.kill_service()
    isolated.start_service()
    assert podman_service.works(isolated.socket)
    await client.containers.remove(made)


def test_up_starts_a_service_of_ours_anew_that_hangs(
    isolated: IsolatedPodman, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(podman_service, "HANGS_AFTER", 2.0)
    home = Home(tmp_path_factory.mktemp("h"))
    home.ensure()
    environ = {name: value for name, value in isolated.env.items() if not name.startswith("CONTAINER")}
    service = PodmanService(home, environ | {"CONTAINER_HOST": f"unix://{home.podman_socket}"})
    try:
        assert service.up()
        first = service.pid()
        reference = image(service.command, "passwd", {"etc/passwd": PIPE})

        async def hang() -> None:
            async with Podman(home.podman_socket) as podman:
                await podman.containers.start(await podman.containers.create(body(reference)))

        monkeypatch.setattr(containers, "_STARTING", 0.5)
        with pytest.raises(PodmanUnavailable):
            asyncio.run(hang())
        assert service.up()
        assert service.pid() != first
        assert service.command.run("ps", "--all", "--quiet", timeout=LIMIT)
        service.command.run("rm", "--all", "--force", "--time", "0", timeout=LIMIT)
    finally:
        service.down()
        service.remove_storage()
        shutil.rmtree(home.root)
