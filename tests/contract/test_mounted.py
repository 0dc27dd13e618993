"""Containers that are initialized are checked for what they have mounted, and what was swapped in never runs."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from stromboli import naming
from stromboli.compose.stack import Bind, Service
from stromboli.errors import ComposeProblem, PodmanError
from stromboli.node import checked_start, mounted
from stromboli.node.mounted import differing
from stromboli.observe.stackpaths import resolved
from stromboli.plan.policy import VolumeList
from stromboli.plan.stack.sources import Identity
from tests.contract.conftest import LIMIT, Bed
from tests.support.ordinary_user import ordinary_user, program
from tests.support.podman import IsolatedPodman
from tests.support.swapping import exchange, exchanging

MOST = 100  # starts until chance has shown both


@pytest.fixture
def node(tmp_path: Path) -> Path:
    root = tmp_path.resolve()
    for folder in ("one/below", "other/below", "out"):
        (root / folder).mkdir(parents=True)
    (root / "file").write_text("x")
    return root


def identity(path: Path) -> Identity:
    info = path.stat()
    return info.st_dev, info.st_ino


def bind(source: Path, target: str, how: str = "rw") -> dict[str, object]:
    return {"type": "bind", "source": str(source), "destination": target, "options": ["rbind", how]}


async def initialized(
    real: Bed, *mounts: dict[str, object], command: tuple[str, ...] = ("true",), image: str = ""
) -> int:
    """The process of a container that does not run yet."""
    container = await real.podman.containers.create(
        real.body("/bin/busybox", *command, mounts=list(mounts), image=image or real.image, entrypoint=[])
    )
    await real.podman.containers.init(container)
    state = await real.podman.containers.inspect(container)
    assert state is not None
    assert state.status == "initialized"
    return state.pid


async def test_what_was_expected_is_there(real: Bed, node: Path) -> None:
    """Also inside another mount, and where links of the image lead, which are not the node's."""
    mounts = (
        bind(node / "one", "/w"),
        bind(node / "other", "/w/below/new", "ro"),
        bind(node / "file", "/a b/ü/file", "ro"),
        bind(node / "one", "/folder/deep"),
    )
    pid = await initialized(real, *mounts, image=real.files)
    expected = {
        "/w": identity(node / "one"),
        "/w/below/new": identity(node / "other"),
        "/a b/ü/file": identity(node / "file"),
        "/folder/deep": identity(node / "one"),
    }
    assert Path(f"/proc/{pid}/root/lib/deep/below").is_dir(), "/folder is a link to /lib there"
    assert differing(pid, expected) is None
    assert differing(pid, {}) is None
    for target in expected:
        assert differing(pid, expected | {target: identity(node / "out")}) == target
    before = len(os.listdir("/proc/self/fd"))
    for target in ("/gone", "/circle"):
        assert differing(pid, {target: (0, 0)}) == target
    for target in ("/lib", "/lib/real", "/w/below"):  # there, but no mount
        assert differing(pid, {target: identity(Path(f"/proc/{pid}/root{target}"))}) == target
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_process_that_is_gone_was_not_checked(real: Bed, node: Path) -> None:
    pid = await initialized(real, bind(node / "one", "/w"))
    await real.clear()
    with pytest.raises(OSError):
        differing(pid, {"/w": identity(node / "one")})


async def test_a_mount_that_was_moved_aside_in_a_mount_is_missed(real: Bed, node: Path) -> None:
    """What it should have been lies in its place, and it itself beside it."""
    (node / "one/w").mkdir()
    expected = {"/w": identity(node / "one"), "/w/w": identity(node / "other")}
    pid = await initialized(real, bind(node / "one", "/w"), bind(Path("/etc"), "/w/w", "ro"))
    (node / "other").rename(node / "one/other")
    exchange(node / "one/other", node / "one/w")
    inside = Path(f"/proc/{pid}/root")
    assert identity(inside / "w/w") == expected["/w/w"]
    assert (inside / "w/other/passwd").exists()
    assert differing(pid, expected) == "/w/w"


async def test_one_mount_is_not_the_one_at_two_targets(real: Bed, node: Path) -> None:
    """With a link of the image's between them."""
    pid = await initialized(real, bind(node / "one", "/lib/deep"), image=real.files)
    assert differing(pid, {"/lib/deep": identity(node / "one")}) is None
    assert (
        differing(pid, {"/lib/deep": identity(node / "one"), "/folder/deep": identity(node / "one")}) == "/folder/deep"
    )


@pytest.mark.parametrize(
    ("own", "link"),
    [
        (naming.MANAGED, naming.MANAGED),
        (naming.CLI_MOUNT, f"{naming.CLI_MOUNT}/bin"),
        (naming.PLAN, naming.PLAN),
        (naming.MANAGED, "/etc"),
    ],
)
async def test_a_link_in_a_mount_leads_no_other_one_over_ours(real: Bed, node: Path, own: str, link: str) -> None:
    """Whether it does is up to the order in which Podman mounts them, which is up to chance."""
    for name in ("ours", "theirs"):
        (node / name / "bin").mkdir(parents=True)
        for folder in (node / name, node / name / "bin"):
            (folder / "which").write_text(name)
    (node / "one" / "link").symlink_to(link)
    (node / "theirs" / naming.MANAGED.rpartition("/")[2]).mkdir()
    mounts = (bind(node / "ours", own), bind(node / "one", "/a"), bind(node / "theirs", "/a/link"))
    for _ in range(MOST):
        pid = await initialized(real, *mounts)
        looked = Path(f"/proc/{pid}/root{link if link.startswith(own) else own}/which")
        ours = looked.exists() and looked.read_text() == "ours"
        said = mounted.intruder(pid, naming.OWN_MOUNTS, naming.TREES)
        assert ours or said is not None
        if said is not None:
            break
    else:
        raise AssertionError("chance has never mounted it over ours")
    (node / "one" / "link").unlink()
    assert mounted.intruder(await initialized(real, *mounts), naming.OWN_MOUNTS, naming.TREES) is None


async def test_nothing_runs_with_a_mount_over_ours(real: Bed, node: Path) -> None:
    (node / "one" / "link").symlink_to(naming.PLAN)
    mounts = [bind(node / "file", naming.PLAN), bind(node / "out", "/out"), bind(node / "one", "/a")]
    wrong = [*mounts, bind(node / "file", "/a/link")]
    for _ in range(MOST):
        body = real.body("/bin/busybox", "touch", "/out/ran", mounts=wrong, entrypoint=[])
        container = await real.podman.containers.create(body)
        if await checked_start.start(real.podman, container, {}, own=naming.OWN_MOUNTS) == naming.PLAN:
            break
        await real.podman.containers.wait(container)
        (node / "out" / "ran").unlink()
    state = await real.podman.containers.inspect(container)
    assert state is not None
    assert state.status in ("created", "exited")
    assert not (node / "out" / "ran").exists()


async def test_what_was_swapped_in_never_runs(real: Bed, node: Path) -> None:
    """A folder and a link to /etc change places all the time. Containers that run write what they see."""
    rules = [VolumeList("AgentPolicy node", ((str(node), False),))]
    service = Service("db", mounts=(Bind("at", str(node / "flip"), "/e"),))
    (node / "flip").mkdir()
    (node / "flip/harmless").touch()
    (node / "link").symlink_to("/etc")
    ran = refused = swapped = 0
    with exchanging(node / "flip", node / "link", pause=0.002):
        for n in range(MOST):
            try:
                source = resolved([service], rules)["at"]
            except ComposeProblem:
                refused += 1
                continue
            assert source.identity is not None
            command = ("sh", "-c", f"/bin/busybox ls /e > /out/{n}")
            container = await real.podman.containers.create(
                real.body("/bin/busybox", *command, mounts=[bind(Path(source.path), "/e"), bind(node / "out", "/out")])
            )
            target = await checked_start.start(real.podman, container, {"/e": source.identity})
            if target is None:
                async with asyncio.timeout(LIMIT):
                    assert await real.podman.containers.wait(container) == 0
                ran += 1
            else:
                assert target == "/e"
                swapped += 1
            await real.podman.containers.remove(container)
            if min(ran, refused, swapped) >= 3:
                break
    assert min(ran, refused, swapped) >= 3, (ran, refused, swapped)
    seen = {file.name: file.read_text() for file in (node / "out").iterdir()}
    assert len(seen) == ran
    assert set(seen.values()) == {"harmless\n"}


async def test_a_container_that_is_not_started_can_be_started_later(real: Bed, node: Path) -> None:
    container = await real.podman.containers.create(
        real.body("/bin/busybox", "test", "-e", "/w/late", mounts=[bind(node / "one", "/w")])
    )
    assert await checked_start.start(real.podman, container, {"/w": identity(node / "other")}) == "/w"
    state = await real.podman.containers.inspect(container)
    assert state is not None
    assert (state.status, state.pid, state.started_at) == ("exited", 0, None)
    # an operator was killed before the check; and what is mounted is another folder of that name by now
    await real.podman.containers.init(container)
    exchange(node / "one", node / "other")
    (node / "one/late").touch()
    for _ in range(5):  # each time, Podman cleans up after it, and must not undo what is initialized next
        assert await checked_start.start(real.podman, container, {"/w": identity(node / "other")}) == "/w"
    assert await checked_start.start(real.podman, container, {"/w": identity(node / "one")}) is None
    async with asyncio.timeout(LIMIT):
        assert await real.podman.containers.wait(container) == 0


async def test_a_process_that_was_replaced_after_the_check_is_killed(
    real: Bed, node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = await real.podman.containers.create(
        real.body("/bin/busybox", "sleep", "1000", mounts=[bind(node / "one", "/w")])
    )
    compare = mounted.differing

    def differing(pid: int, expected: Mapping[str, Identity]) -> str | None:
        try:
            return compare(pid, expected)
        finally:
            os.kill(pid, signal.SIGKILL)

    monkeypatch.setattr(mounted, "differing", differing)
    with pytest.raises(PodmanError):
        await checked_start.start(real.podman, container, {"/w": identity(node / "one")})
    state = await real.podman.containers.inspect(container)
    assert state is not None
    assert not state.alive


async def test_without_binds_it_is_an_ordinary_start(real: Bed) -> None:
    container = await real.podman.containers.create(real.body("/bin/busybox", "true"))
    assert await checked_start.start(real.podman, container, {}) is None
    async with asyncio.timeout(LIMIT):
        assert await real.podman.containers.wait(container) == 0


async def test_a_process_that_cannot_be_seen_is_not_started(
    real: Bed, node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def differing(pid: int, expected: Mapping[str, Identity]) -> str | None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), f"/proc/{pid}/root")

    monkeypatch.setattr(mounted, "differing", differing)
    container = await real.podman.containers.create(
        real.body("/bin/busybox", "true", mounts=[bind(node / "one", "/w")])
    )
    with pytest.raises(PodmanError, match=r"cannot be checked .*SYS_PTRACE"):
        await checked_start.start(real.podman, container, {"/w": identity(node / "one")})
    state = await real.podman.containers.inspect(container)
    assert state is not None
    assert state.started_at is None


async def test_a_file_system_that_does_not_respond_is_not_waited_for(
    real: Bed, node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    back = threading.Event()

    def differing(pid: int, expected: Mapping[str, Identity]) -> str | None:
        back.wait(LIMIT)
        return None

    monkeypatch.setattr(mounted, "differing", differing)
    monkeypatch.setattr(checked_start, "PATIENCE", 0.05)
    container = await real.podman.containers.create(
        real.body("/bin/busybox", "true", mounts=[bind(node / "one", "/w")])
    )
    with pytest.raises(PodmanError, match="does not respond"):
        await checked_start.start(real.podman, container, {"/w": identity(node / "one")})
    back.set()
    state = await real.podman.containers.inspect(container)
    assert state is not None
    assert state.started_at is None


def test_a_rootless_operator_sees_its_containers_processes() -> None:
    with ordinary_user() as user:
        folder = user.folder / "podman"
        folder.mkdir()
        (user.folder / "one").mkdir()
        user.owns(user.folder / "one")
        interpreter, environ = program(user)
        with IsolatedPodman(folder, user=user) as podman:
            image = podman.import_busybox()
            for options in ((), ("--user", "1000:1000"), ("--userns", "keep-id")):
                mount = f"--volume={user.folder}/one:/w"
                container = podman.run("create", "--network=none", mount, *options, image, "/bin/busybox", "true")
                podman.run("init", container)
                pid = podman.run("inspect", "--format", "{{.State.Pid}}", container)
                code = (
                    "from stromboli.node.mounted import differing; "
                    f"print([differing({pid}, {{'/w': one}}) for one in ({identity(user.folder / 'one')}, (0, 0))])"
                )
                done = subprocess.run(
                    [interpreter, "-c", code],
                    env={**user.environ, **environ},
                    capture_output=True,
                    text=True,
                    timeout=LIMIT,
                    check=False,
                    **user.identity,
                )
                assert done.stdout == "[None, '/w']\n", done.stderr


async def test_a_container_that_has_just_ended_is_started_again(real: Bed, node: Path) -> None:
    """Podman's own clean-up after its end must not undo what is initialized meanwhile."""
    hurry = asyncio.Event()
    hurry.set()
    container = await real.podman.containers.create(
        real.body("/bin/busybox", "true", mounts=[bind(node / "one", "/w")])
    )
    for _ in range(5):
        assert await checked_start.start(real.podman, container, {"/w": identity(node / "one")}) is None
        async with asyncio.timeout(LIMIT):
            assert await real.podman.containers.wait(container, hurry=hurry) == 0


async def test_its_output_can_be_listened_to_from_the_beginning(real: Bed, node: Path) -> None:
    command = ("sh", "-c", "/bin/busybox echo begins; read -r _ < /w/go; /bin/busybox echo ends")
    os.mkfifo(node / "one/go")
    container = await real.podman.containers.create(
        real.body("/bin/busybox", *command, mounts=[bind(node / "one", "/w")])
    )
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    tasks: list[asyncio.Task[None]] = []

    async def hear(opened: asyncio.Event) -> None:
        async with real.podman.containers.attached(container) as chunks:
            opened.set()
            async for chunk in chunks:
                heard.put_nowait(chunk)

    async def listen() -> None:
        opened = asyncio.Event()
        tasks.append(asyncio.create_task(hear(opened)))
        await opened.wait()

    async with asyncio.timeout(LIMIT):
        assert await checked_start.start(real.podman, container, {"/w": identity(node / "one")}, listen) is None
        assert b"begins" in await heard.get()
        (node / "one/go").write_text("\n")
        assert b"ends" in await heard.get()
        await tasks[0]
