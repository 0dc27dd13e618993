"""Containers that are initialized are checked for what they have mounted, and what was swapped in never runs."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from stromboli.compose.stack import Bind, Service
from stromboli.errors import ComposeProblem
from stromboli.node.mounted import differing
from stromboli.observe.stackpaths import resolved
from stromboli.plan.policy import VolumeList
from stromboli.plan.stack.sources import Identity
from tests.contract.conftest import LIMIT, Bed
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
            await real.podman.containers.init(container)
            state = await real.podman.containers.inspect(container)
            assert state is not None
            if differing(state.pid, {"/e": source.identity}) is None:
                await real.podman.containers.start(container)
                async with asyncio.timeout(LIMIT):
                    assert await real.podman.containers.wait(container) == 0
                ran += 1
            else:
                assert Path(f"/proc/{state.pid}/root/e/passwd").exists()
                swapped += 1
            await real.podman.containers.remove(container)
            if min(ran, refused, swapped) >= 3:
                break
    assert min(ran, refused, swapped) >= 3, (ran, refused, swapped)
    seen = {file.name: file.read_text() for file in (node / "out").iterdir()}
    assert len(seen) == ran
    assert set(seen.values()) == {"harmless\n"}
