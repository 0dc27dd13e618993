"""Seals: unbroken until something touches them, and broken for good afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from stromboli.attempt import seals
from stromboli.attempt.seals import NOTE, Broken
from tests.support.podman import BUSYBOX

UNBROKEN = Broken(started=False, sent=False)
ALL = Broken(started=True, sent=True)


@pytest.fixture
def attempt(tmp_path: Path) -> Path:
    seals.make(tmp_path, None)
    return tmp_path


def test_what_is_new_is_unbroken_however_often_it_is_made_and_looked_at(attempt: Path) -> None:
    for _ in range(2):
        seals.make(attempt, None)
        assert seals.broken(attempt) == UNBROKEN
        assert seals.is_untouched(attempt)
    assert list((attempt / "out").iterdir()) == [attempt / "out/seal"]


def test_what_is_not_made_yet_is_untouched_and_tells_nothing(tmp_path: Path) -> None:
    assert seals.is_untouched(tmp_path)
    assert seals.broken(tmp_path) == ALL


def _write_and_empty(path: Path) -> None:
    path.write_text("x")
    os.truncate(path, 0)


def _replace(path: Path) -> None:
    path.rename(path.with_name("other"))
    shutil.copy2(path.with_name("other"), path)


BREAKS: dict[str, Callable[[Path], object]] = {
    "written": lambda seal: seal.write_text("x"),
    "written-and-emptied": _write_and_empty,
    "touched": lambda seal: seal.touch(),
    "its-times-set-back": lambda seal: os.utime(seal, ns=(seal.stat().st_atime_ns, seal.stat().st_mtime_ns)),
    "its-mode-set-to-what-it-is": lambda seal: seal.chmod(0o600),
    "linked": lambda seal: os.link(seal, seal.with_name("other")),
    "renamed-and-back": lambda seal: seal.rename(seal.with_name("other")).rename(seal),
    "replaced-by-a-copy": _replace,
    "removed": Path.unlink,
}


@pytest.mark.parametrize("how", BREAKS)
def test_whatever_is_done_to_the_second_breaks_it(attempt: Path, how: str) -> None:
    BREAKS[how](attempt / "out/seal")
    assert seals.broken(attempt).sent
    assert not seals.is_untouched(attempt)


def test_the_first_is_broken_by_whatever_comes_into_the_folder_and_goes(attempt: Path) -> None:
    before = (attempt / "out").stat()
    (attempt / "out/started").mkdir()
    (attempt / "out/started").rmdir()
    os.utime(attempt / "out", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert seals.broken(attempt) == Broken(started=True, sent=False)


def test_the_agents_own_file_may_say_what_it_likes(attempt: Path) -> None:
    """Reading does not break a seal: the operator reads repeatedly."""
    (attempt / "out/seal").read_bytes()
    os.listdir(attempt / "out")
    assert seals.broken(attempt) == UNBROKEN


@pytest.mark.parametrize("note", [None, "", "1:2", "1:2 3", "a:b c:d", "1:2 3:4 5:6"])
def test_without_a_note_that_can_be_read_everything_counts_as_broken(attempt: Path, note: str | None) -> None:
    (attempt / NOTE).unlink()
    if note is not None:
        (attempt / NOTE).symlink_to(note or " ")
    assert seals.broken(attempt) == ALL
    with pytest.raises(OSError, match=NOTE):
        seals.for_supervisor(attempt)


def _remove_and_make(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


@pytest.mark.parametrize("how", [shutil.rmtree, _remove_and_make])
def test_a_folder_that_was_lost_counts_as_broken(attempt: Path, how: Callable[[Path], object]) -> None:
    how(attempt / "out")
    assert seals.broken(attempt) == ALL


def test_a_file_in_the_folder_s_place_counts_as_broken(attempt: Path) -> None:
    shutil.rmtree(attempt / "out")
    (attempt / "out").touch()
    assert seals.broken(attempt) == ALL


def test_a_seal_that_may_not_be_looked_at_counts_as_broken(attempt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent can take away the permissions of its folder."""
    lstat = Path.lstat

    def refused(path: Path) -> os.stat_result:
        if path.name == seals.SEAL:
            raise PermissionError(path)
        return lstat(path)

    monkeypatch.setattr(Path, "lstat", refused)
    assert seals.broken(attempt) == Broken(started=False, sent=True)


def test_its_owner_has_both_before_they_are_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of owner after that would break them."""
    given: list[tuple[str, int, int, bool]] = []

    def chown(path: Path, uid: int, gid: int, *, follow_symlinks: bool) -> None:
        assert not (tmp_path / NOTE).is_symlink()
        given.append((path.name, uid, gid, follow_symlinks))

    monkeypatch.setattr(os, "chown", chown)
    seals.make(tmp_path, (1234, 2345))
    assert given == [("seal", 1234, 2345, False), ("out", 1234, 2345, False)]


def test_the_note_is_on_disk_once_it_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[str, bool]] = []

    def sync(descriptor: int) -> None:
        synced.append((os.readlink(f"/proc/self/fd/{descriptor}"), (tmp_path / NOTE).is_symlink()))

    monkeypatch.setattr(os, "fsync", sync)
    seals.make(tmp_path, None)
    assert synced == [(str(tmp_path), True)]


def test_a_crash_before_the_note_leaves_nothing_that_was_handed_over(attempt: Path) -> None:
    (attempt / NOTE).unlink()
    (attempt / "out/left").touch()
    seals.make(attempt, None)
    assert [p.name for p in (attempt / "out").iterdir()] == ["seal"]
    assert seals.broken(attempt) == UNBROKEN


def test_the_supervisor_sees_the_same(attempt: Path) -> None:
    paths = [str(attempt / "out"), str(attempt / "out/seal")]
    said = subprocess.run(
        [BUSYBOX, "stat", "-c", "%i %z", *paths], env={"TZ": "UTC0"}, capture_output=True, check=True
    ).stdout
    assert said == seals.for_supervisor(attempt)
