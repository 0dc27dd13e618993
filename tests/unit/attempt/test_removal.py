"""Removing a folder that an agent could write in."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from stromboli.attempt import removal
from stromboli.attempt.removal import remove_tree


def test_a_folder_goes_with_all_kinds_of_things(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "a/b/c").mkdir(parents=True)
    (folder / "a/file").write_text("x")
    (folder / ".hidden").touch()
    os.mkfifo(folder / "a/b/fifo")
    (folder / b"\xff\xfe".decode("utf-8", "surrogateescape")).mkdir()
    remove_tree(folder)
    assert list(tmp_path.iterdir()) == []


def test_no_link_is_followed(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    (kept / "below").mkdir(parents=True)
    (kept / "file").touch()
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    for place in (folder, folder / "sub"):
        (place / "to-folder").symlink_to(kept)
        (place / "to-file").symlink_to(kept / "file")
    (tmp_path / "link").symlink_to(kept)
    remove_tree(folder)
    remove_tree(tmp_path / "link")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["below", "file", "kept"]


def test_what_is_away_is_no_error(tmp_path: Path) -> None:
    remove_tree(tmp_path / "nowhere")
    remove_tree(tmp_path / "no/where")
    (tmp_path / "file").touch()
    remove_tree(tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_it_may_be_deeper_than_any_path_or_stack(tmp_path: Path) -> None:
    """Three thousand levels: a path is limited to 4,096 bytes, Python's stack to 1,000 calls, descriptors to 1,024."""
    folder = tmp_path / "folder"
    folder.mkdir()
    here = os.open(folder, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    remove_tree(folder)
    assert not folder.exists()


def test_names_in_the_way_of_what_is_lifted_are_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    for name in (".0/x/y", ".1/x", ".2", "a/.0/.1", "a/b"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    remove_tree(folder)
    assert not folder.exists()


@pytest.mark.parametrize("mode", [0o000, 0o500, 0o300])
def test_folders_that_were_closed_are_opened(
    tmp_path: Path, mode: int, ordinary_user: AbstractContextManager[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder/a/b/c").mkdir(parents=True)
    (tmp_path / "folder/a/b/file").touch()
    with ordinary_user:
        for name in ("folder/a/b/c", "folder/a/b", "folder/a", "folder"):
            Path(name).chmod(mode)
        remove_tree(Path("folder"))
    assert list(tmp_path.iterdir()) == []


def test_one_call_takes_its_time_at_most_and_the_next_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "folder"
    (folder / "a/b").mkdir(parents=True)
    (folder / "a/file").touch()
    monkeypatch.setattr(removal, "SECONDS", -1.0)
    with pytest.raises(TimeoutError):
        remove_tree(folder)
    assert folder.exists()
    monkeypatch.undo()
    remove_tree(folder)
    assert not folder.exists()
