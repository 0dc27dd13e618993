"""The files that Podman itself reads in a root, checked without opening them: pipes, folders, symlinks, sizes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from stromboli.inspection.root import MountedRoot
from stromboli.inspection.startfiles import LARGEST, problem
from tests.support.opener import DirectoryOpener

Make = Callable[[Path], None]


def pipe(at: str) -> Make:
    def make(root: Path) -> None:
        (root / at).parent.mkdir(parents=True, exist_ok=True)
        (root / at).unlink(missing_ok=True)
        os.mkfifo(root / at)

    return make


def link(at: str, target: str, *more: Make) -> Make:
    def make(root: Path) -> None:
        (root / at).unlink(missing_ok=True)
        (root / at).symlink_to(target)
        for other in more:
            other(root)

    return make


def large(at: str) -> Make:
    def make(root: Path) -> None:
        os.truncate(root / at, LARGEST + 1)

    return make


def folder(at: str) -> Make:
    def make(root: Path) -> None:
        (root / at).unlink()
        (root / at).mkdir()

    return make


def nothing(root: Path) -> None:
    for name in ("passwd", "group"):
        (root / "etc" / name).unlink()


def as_it_was(root: Path) -> None:
    pass


SOUND = [
    as_it_was,
    nothing,
    link("etc/passwd", "group"),
    link("etc/passwd", "/etc/group"),
    link("etc/passwd", "../../../../etc/group"),
    link("etc/passwd", "/nowhere"),
    link("etc/passwd", "passwd"),
    pipe("etc/resolv.conf"),
]
WRONG = [
    (pipe("etc/passwd"), "its /etc/passwd is not a regular file"),
    (pipe("etc/group"), "its /etc/group is not a regular file"),
    (pipe("etc/hosts"), "its /etc/hosts is not a regular file"),
    (folder("etc/passwd"), "its /etc/passwd is not a regular file"),
    (large("etc/group"), f"its /etc/group has {LARGEST + 1} bytes; at most {LARGEST} are allowed"),
    (link("etc/passwd", "x", pipe("etc/x")), "its /etc/passwd leads to /etc/x, which is not a regular file"),
    (link("etc/passwd", "../a/../../x", pipe("x")), "its /etc/passwd leads to /x, which is not a regular file"),
    (link("etc/group", "/run/a", pipe("run/a")), "its /etc/group leads to /run/a, which is not a regular file"),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "a").mkdir()
    for name in ("passwd", "group"):
        (tmp_path / "etc" / name).write_text("root:x:0:\n")
    return tmp_path


@pytest.fixture(params=[MountedRoot, DirectoryOpener], ids=["mounted", "opened"])
def looked(request: pytest.FixtureRequest, root: Path) -> MountedRoot | DirectoryOpener:
    kind: type[MountedRoot | DirectoryOpener] = request.param
    return kind(root)


@pytest.mark.parametrize("make", SOUND)
async def test_what_podman_can_read(make: Make, root: Path, looked: MountedRoot | DirectoryOpener) -> None:
    make(root)
    assert await problem(looked) == ""


@pytest.mark.parametrize(("make", "words"), WRONG)
async def test_what_would_keep_podman_waiting(
    make: Make, words: str, root: Path, looked: MountedRoot | DirectoryOpener
) -> None:
    make(root)
    assert await problem(looked) == words


@pytest.mark.parametrize("make", [pipe("etc"), link("etc", "x", pipe("x"))])
async def test_etc_itself(make: Make, tmp_path: Path) -> None:
    make(tmp_path)
    assert await problem(MountedRoot(tmp_path)) == "its /etc is not a folder"


async def test_a_root_without_etc_is_sound(tmp_path: Path) -> None:
    assert await problem(MountedRoot(tmp_path)) == ""


def test_what_is_seen_of_a_mount(tmp_path: Path) -> None:
    assert not MountedRoot(tmp_path).visible
    assert not MountedRoot(tmp_path / "absent").visible
    (tmp_path / "etc").mkdir()
    assert MountedRoot(tmp_path).visible


async def test_links_of_a_mounted_root_stay_in_it(root: Path) -> None:
    (root / "out").symlink_to("../../../../../../../../../../etc")
    (root / "loop").symlink_to("/loop")
    (root / "below").symlink_to("etc/passwd/x")
    mounted = MountedRoot(root)
    found = await mounted.stat("/out/passwd")
    assert found is not None
    assert (found.path, found.regular, found.size) == ("/etc/passwd", True, 10)
    for path in ("/loop", "/loop/x", "/below", "/etc/passwd/x", "/out/hostname"):
        assert await mounted.stat(path) is None, path
    there = await mounted.stat("/")
    assert there is not None
    assert there.directory


def test_where_a_mount_would_land(root: Path) -> None:
    (root / "tools").symlink_to("/opt/claude/bin")
    (root / "opt").symlink_to("usr/opt")
    (root / "loop").symlink_to("loop")
    mounted = MountedRoot(root)
    assert mounted.landing("/tools") == "/usr/opt/claude/bin", "where nothing is yet"
    assert mounted.landing("/tools/x/../../y") == "/usr/opt/claude/y"
    assert mounted.landing("/workspace") == "/workspace"
    assert mounted.landing("/loop/x") is None
