"""The images of a stack's services: built once, of what was read and admitted, under a name of ours."""

from __future__ import annotations

import asyncio
import contextlib
import io
import tarfile
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from stromboli import naming
from stromboli.attempt.site import Site
from stromboli.errors import BuildFailed, Building, ComposeProblem, PodmanError, PodmanUnavailable, Refused
from stromboli.grammar.reference import Reference
from stromboli.models.agentpolicy import Network
from stromboli.node.stacks.builds import Order, Resolve, StackBuilds
from stromboli.node.stacks.remains import StackRemains
from stromboli.plan.stack import names
from stromboli.podman.builds import Builds
from stromboli.podman.failures import answer
from stromboli.podman.frames import Frames
from stromboli.podman.images import ImageInfo
from stromboli.reasons import Reason
from tests.contract.conftest import Bed
from tests.support.built import AT, build, policy
from tests.support.fake_podman import Built

LIMIT = 60.0
RUN = "run-1"


@dataclass
class Stack:
    """A session's builds, and a folder to build from."""

    bed: Bed
    site: Site
    folder: Path
    uid: str = field(default_factory=lambda: str(uuid.uuid4()))
    woken: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.builds = StackBuilds(self.bed.podman, self.site, lambda _: self.woken.set())
        self.asked: list[tuple[str, str]] = []

    def write(self, dockerfile: str, **files: str) -> None:
        for name, text in {"Dockerfile": dockerfile, **files}.items():
            (self.folder / name).write_text(text)

    def order(self, **fields: object) -> Order:
        given = {"build": build(self.folder), "policy": policy(self.folder), **fields}
        return Order(self.uid, "db", display_name="ns/run", **given)  # type: ignore[arg-type]

    async def resolve(self, image: Reference, slot: str) -> ImageInfo:
        self.asked.append((str(image), slot))
        found = await self.bed.podman.images.inspect(str(image))
        assert found is not None
        return found

    async def built(self, order: Order | None = None, run: str = RUN, resolve: Resolve | None = None) -> str:
        """Ask until it is built, whenever a job has ended."""
        async with asyncio.timeout(LIMIT):
            while True:
                self.woken.clear()
                with contextlib.suppress(Building):
                    return await self.builds.built(order or self.order(), resolve or self.resolve, run)
                await self.woken.wait()

    async def ours(self) -> list[tuple[str, ...]]:
        """The names of all images with the session's labels."""
        return sorted(image.names for image in await self.bed.podman.copies.images(self.site.owner_labels(self.uid)))

    def archives(self) -> list[str]:
        return [path.name for path in self.site.folder(self.uid).path.glob("builds/*/*")]


@pytest.fixture
async def stack(bed: Bed, tmp_path: Path) -> AsyncIterator[Stack]:
    (tmp_path / "src").mkdir()
    made = Stack(bed, Site(tmp_path / "home", tmp_path / "run", str(uuid.uuid4())), (tmp_path / "src").resolve())
    yield made
    await made.builds.close()
    await StackRemains(bed.podman, made.site).remove(made.uid)
    assert await made.ours() == []
    networks = await bed.podman.networks.list(made.site.owner_labels(made.uid))
    assert networks == []
    readers = {naming.INSTALLATION: made.site.installation, naming.ROLE: naming.ROLE_READER}
    assert await bed.podman.containers.list(readers) == []


async def labels(stack: Stack, image: str) -> dict[str, str]:
    found = await stack.bed.podman.images.inspect(image)
    assert found is not None
    return dict(found.labels)


async def said(stack: Stack, image: str, *command: str) -> str:
    """What a command in the image prints."""
    frames = Frames()
    created = await stack.bed.podman.containers.create(stack.bed.body(*command, image=image))
    try:
        async with stack.bed.podman.containers.attached(created) as chunks:
            await stack.bed.podman.containers.start(created)
            return b"".join([frames.data(chunk) async for chunk in chunks]).decode()
    finally:
        await stack.bed.podman.containers.remove(created)


async def test_an_image_is_built_once(stack: Stack) -> None:
    stack.write(f"FROM {stack.bed.image}\nCOPY file /file\nRUN cat /file > /made", file="hello")
    made = await stack.built()
    name = names.image(stack.uid, "db")
    assert await stack.ours() == [(name,)]
    found = await labels(stack, made)
    assert {name: found.get(name) for name in (naming.OWNER, naming.SERVICE, naming.RUN, naming.ROLE)} == {
        naming.OWNER: stack.uid,
        naming.SERVICE: "db",
        naming.RUN: "ns/run",
        naming.ROLE: naming.ROLE_BUILT,
    }
    assert stack.asked[0] == (stack.bed.image, f"{AT}.dockerfile (line 1)")
    assert stack.archives() == []
    if stack.bed.real:
        assert await said(stack, made, "cat", "/made") == "hello"
        assert "stromboli" not in await said(stack, made, "ls", "-a", "/")
    assert await stack.built(run="run-2") == made, "nothing has changed"
    if stack.bed.fake is not None:
        assert len(stack.bed.fake.builds) == 1


async def test_what_changes_is_built_again(stack: Stack) -> None:
    stack.write(f"FROM {stack.bed.image}\nCOPY file /file", file="hello")
    first = await stack.built()
    user = await stack.bed.podman.containers.create(stack.bed.body("true", image=first))
    (stack.folder / "file").write_text("other")
    assert await stack.built() == first, "a run reads it once"
    second = await stack.built(run="run-2")
    assert second != first
    await stack.builds.tidy(stack.uid)
    assert await stack.ours() == [(), (names.image(stack.uid, "db"),)], "a container needs the former"
    await stack.bed.podman.containers.remove(user)
    await stack.builds.tidy(stack.uid)
    assert await stack.ours() == [(names.image(stack.uid, "db"),)]


async def test_a_base_that_is_not_admitted_is_never_used(stack: Stack) -> None:
    stack.write(f"FROM {stack.bed.image}\nCOPY --from=evil.example/x:1 /a /b")
    with pytest.raises(Refused, match=r"services\.db\.build\.dockerfile \(line 2\): .*evil\.example/x:1") as refused:
        await stack.built(stack.order(policy=policy(stack.folder, allowed=["localhost/**"])))
    assert refused.value.reason is Reason.ImageNotAllowed
    assert stack.asked == []
    if stack.bed.fake is not None:
        assert stack.bed.fake.builds == []


async def test_the_argument_of_the_file_that_names_it(stack: Stack) -> None:
    stack.write("ARG BASE\nFROM ${BASE}")
    order = stack.order(
        build=build(stack.folder, args={"BASE": "evil.example/x:1"}),
        policy=policy(stack.folder, allowed=["localhost/**"]),
    )
    with pytest.raises(Refused, match=r"services\.db\.build\.args\.BASE: .*evil\.example/x:1"):
        await stack.built(order)


async def test_without_a_folder(stack: Stack) -> None:
    made = await stack.built(stack.order(build=build(None, dockerfile_inline=f"FROM {stack.bed.image}\nLABEL a=b")))
    assert await labels(stack, made)
    assert stack.archives() == []


async def test_a_step_that_fails(stack: Stack) -> None:
    if stack.bed.fake is not None:
        stack.bed.fake.built = lambda _: Built(
            ("words",), 'building at STEP "RUN …": while running runtime: exit status 7'
        )
    stack.write(f"FROM {stack.bed.image}\nRUN echo words; exit 7")
    for _ in range(2):
        with pytest.raises(BuildFailed, match="exit status 7") as failed:
            await stack.built()
        assert failed.value.output.endswith("words\n")
    assert await stack.ours() == []
    assert stack.archives() == []
    stack.write(f"FROM {stack.bed.image}\nRUN true")
    if stack.bed.fake is not None:
        stack.bed.fake.built = lambda _: Built()
    assert await stack.built(run="run-2"), "another run, after a correction"


async def test_a_build_that_takes_too_long(stack: Stack) -> None:
    if stack.bed.fake is not None:
        stack.bed.fake.built = lambda _: Built(seconds=None)
    stack.write(f"FROM {stack.bed.image}\nRUN sleep 3605")
    with pytest.raises(BuildFailed, match="was not built within 2 s"):
        await stack.built(stack.order(policy=policy(stack.folder, timeout=2.0)))
    assert stack.archives() == []
    assert await stack.ours() == []


async def test_a_cancelled_build_leaves_nothing(stack: Stack) -> None:
    if stack.bed.fake is not None:
        stack.bed.fake.built = lambda _: Built(seconds=None)
    stack.write(f"FROM {stack.bed.image}\nRUN sleep 3606")
    await begun(stack)
    await stack.builds.leave(RUN)
    await stack.builds.close()
    assert stack.archives() == []
    assert await stack.ours() == []


async def test_on_build_of_an_image_is_refused(faked: Bed, tmp_path: Path) -> None:
    assert faked.fake is not None
    stack = Stack(faked, Site(tmp_path / "home", tmp_path / "run", str(uuid.uuid4())), tmp_path.resolve())
    image = next(image for image in faked.fake.images if faked.image in image.tags)
    image.history = ["/bin/sh -c #(nop)  ONBUILD RUN evil"]
    stack.write(f"FROM {faked.image}")
    with pytest.raises(ComposeProblem, match=r"services\.db\.build\.dockerfile \(line 1\): the image .* has ONBUILD"):
        await stack.built()
    await stack.builds.close()


async def test_what_a_killed_operator_has_left(stack: Stack) -> None:
    left = stack.site.folder(stack.uid).path / "builds" / names.service("db") / "run-0.tar"
    left.parent.mkdir(parents=True)
    left.write_text("half")
    stack.write(f"FROM {stack.bed.image}\nRUN true")
    made = await stack.built()
    assert stack.archives() == []
    another = Stack(stack.bed, stack.site, stack.folder, stack.uid)
    assert await another.built() == made
    await another.builds.close()
    assert (another.archives(), another.bed.fake is None or len(another.bed.fake.builds) == 1) == ([], True)


async def test_a_build_of_a_killed_operator_is_ended(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    if stack.bed.fake is not None:
        stack.bed.fake.built = lambda _: Built(seconds=None)
    stack.write(f"FROM {stack.bed.image}\nRUN sleep 3608")
    with monkeypatch.context() as killed:
        killed.setattr(Builds, "_end", _nothing)
        killed.setattr(StackBuilds, "_tried", _nothing)
        await begun(stack)
        if stack.bed.real:
            await until(lambda: bool(running("3608")), "its step runs")
        await stack.builds.close()
    assert await stack.ours() != [], "it was killed"
    await StackRemains(stack.bed.podman, stack.site).remove(stack.uid)
    if stack.bed.fake is not None:
        assert stack.bed.fake.builds[0].killed.is_set()
    else:
        await until(lambda: not running("3608"), "its step was killed")
    assert await stack.ours() == []
    for reader in await stack.bed.podman.containers.list({naming.INSTALLATION: stack.site.installation}):
        await stack.bed.podman.containers.remove(reader.id)  # as the next operator does: `Images.remove_readers`


async def _nothing(*arguments: object) -> None:
    for one in arguments:
        if asyncio.iscoroutine(one):
            one.close()
        if isinstance(one, asyncio.Task):
            one.cancel()


async def begun(stack: Stack) -> None:
    """Ask until the build is at a step."""
    async with asyncio.timeout(LIMIT):
        while True:
            try:
                await stack.builds.built(stack.order(), stack.resolve, RUN)
            except Building as error:
                if "step " in str(error):
                    return
            await asyncio.sleep(0.05)


async def until(true: Callable[[], bool], what: str) -> None:
    ends = time.monotonic() + LIMIT
    while not true():
        assert time.monotonic() < ends, f"{what}: not after {LIMIT:.0f} s"
        await asyncio.sleep(0.05)


def running(word: str) -> list[str]:
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit() and (folder / "cmdline").read_bytes() == f"sleep\0{word}\0".encode():
                found.append(folder.name)
    return found


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("status", [500, None])
@pytest.mark.parametrize(
    "call",
    [
        "POST /build",
        "POST /commit",
        "POST .*/create",
        "GET /images/",
        "GET /info",
        "DELETE /images",
        "DELETE /containers",
    ],
)
async def test_a_podman_that_fails_is_asked_again(
    faked: Bed, tmp_path: Path, call: str, status: int | None, after: bool
) -> None:
    assert faked.fake is not None
    stack = Stack(faked, Site(tmp_path / "home", tmp_path / "run", str(uuid.uuid4())), (tmp_path / "src").resolve())
    stack.folder.mkdir()
    stack.write(f"FROM {faked.image}")
    faked.fake.fail(call, status, after=after)
    made = None
    for _ in range(3):
        with contextlib.suppress(PodmanError, PodmanUnavailable):
            made = await stack.built()
            break
    assert made is not None
    assert faked.fake.failures[0].left == 0, "the call was made"
    assert await stack.built() == made
    await stack.builds.close()
    await StackRemains(faked.podman, stack.site).remove(stack.uid)
    assert await stack.ours() == []


# --- on the real Podman only: what a file can do ---


@pytest.fixture
async def really(real: Bed, tmp_path: Path) -> AsyncIterator[Stack]:
    (tmp_path / "src").mkdir()
    made = Stack(real, Site(tmp_path / "home", tmp_path / "run", str(uuid.uuid4())), (tmp_path / "src").resolve())
    yield made
    await made.builds.close()
    await StackRemains(real.podman, made.site).remove(made.uid)


async def test_no_mount_leads_to_the_node(really: Stack, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/file").write_text("of the node")
    (really.folder / "link").symlink_to(tmp_path / "secret")
    (really.folder / "folder").mkdir()
    (really.folder / "folder/mine").write_text("of the context")
    show = "for f in /t/*; do cat $f; done >> /seen; true"
    really.write(
        f"FROM {really.bed.image} AS a\nRUN ln -s {tmp_path}/secret /link && mkdir /d && echo of the image > /d/x\n"
        f"FROM {really.bed.image}\n"
        f"RUN --mount=type=cache,id=../../../..{tmp_path}/secret,target=/t {show}\n"
        f"RUN --mount=source=folder,target=/t {show}\n"
        f"RUN --mount=from=a,source=/d,target=/t,rw {show}\n"
    )
    made = await really.built()
    assert await said(really, made, "cat", "/seen") == "of the contextof the image\n"
    lines = ("RUN --mount=source=link,target=/t", "RUN --mount=from=a,source=/link,target=/t")
    for run, line in enumerate(lines, 2):
        really.write(f"FROM {really.bed.image} AS a\nRUN ln -s {tmp_path}/secret /link\nFROM a\n{line} {show}\n")
        with pytest.raises(BuildFailed):
            await really.built(run=f"run-{run}")
        await really.builds.leave(f"run-{run}")


async def test_on_build_that_no_history_tells_of_is_not_executed(really: Stack) -> None:
    base = "localhost/stromboli-test/onbuild:1"
    text = f"FROM {really.bed.image}\nONBUILD RUN touch /evil\nHEALTHCHECK --interval=3s CMD echo hi\n"
    text += "VOLUME /v\nEXPOSE 5432"
    await _raw_build(really, base, text)
    try:
        hidden = await really.bed.podman.images.inspect(base)
        assert hidden is not None
        assert hidden.on_build == ("RUN touch /evil",)

        async def resolve(image: Reference, slot: str) -> ImageInfo:
            return replace(await really.resolve(image, slot), on_build=())

        really.write(f"FROM {base}\nRUN ls / > /seen")
        image = await really.built(resolve=resolve)
        assert "evil" not in await said(really, image, "cat", "/seen")
        found = await really.bed.podman.images.inspect(image)
        assert found is not None
        assert found.health is not None
        assert (found.health.test, found.health.interval) == (("CMD", "/bin/sh", "-c", "echo hi"), 3.0)
        assert (found.volumes, found.ports) == (("/v",), ("5432/tcp",))
        assert (found.entrypoint, found.cmd, found.user) == (hidden.entrypoint, hidden.cmd, hidden.user)
    finally:
        await really.bed.podman.copies.remove(base)


async def test_the_network_of_a_build(really: Stack) -> None:
    really.write(f"FROM {really.bed.image}\nRUN /bin/busybox ip -4 addr > /seen")
    alone = await said(really, await really.built(), "cat", "/seen")
    assert alone.count("inet ") == 1
    order = really.order(policy=policy(really.folder, network=Network.bridge))
    (really.folder / "other").touch()
    connected = await said(really, await really.built(order, run="run-2"), "cat", "/seen")
    assert connected.count("inet ") == 2
    assert await really.bed.podman.networks.list(really.site.owner_labels(really.uid)) == []


async def _raw_build(stack: Stack, name: str, text: str) -> None:
    """Build it with Podman itself, as somebody on the node would."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(text)
        tar.addfile(entry, io.BytesIO(text.encode()))
    params = {"t": name, "layers": "false", "outputformat": "application/vnd.docker.distribution.manifest.v2+json"}
    response = await stack.bed.podman._connection.request(
        "POST", "/build", params=params, archive=archive.getvalue(), silence=LIMIT
    )
    assert b'"error"' not in response.content
    assert answer(response.content.splitlines()[0])
