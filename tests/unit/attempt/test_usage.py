"""Disk usage of a folder, whatever an agent created in it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from stromboli.attempt import records, usage
from stromboli.attempt.removal import remove_tree
from stromboli.attempt.usage import disk_usage


def test_it_is_what_the_files_take_on_disk(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below/file").write_bytes(b"x" * 100_000)
    (tmp_path / "sparse").touch()
    os.truncate(tmp_path / "sparse", 1 << 40)
    (tmp_path / "link").symlink_to("/usr")
    assert 100_000 <= disk_usage(tmp_path, threading.Event()) < 200_000


def test_a_folder_that_is_not_there_takes_nothing(tmp_path: Path) -> None:
    assert disk_usage(tmp_path / "nowhere", threading.Event()) == 0


def test_a_deep_one_takes_no_stack(tmp_path: Path) -> None:
    """Deeper than the longest possible path: what is below that is not counted."""
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    assert disk_usage(tmp_path, threading.Event()) >= 0
    remove_tree(tmp_path / "d")


def test_a_wide_one_is_looked_at_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "MOST_ENTRIES", 10)
    for number in range(30):
        (tmp_path / str(number)).write_bytes(b"x" * 4096)
    assert disk_usage(tmp_path, threading.Event()) == 10 * 4096


def test_a_slow_one_is_looked_at_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "SECONDS", -1.0)
    (tmp_path / "file").write_bytes(b"x")
    assert disk_usage(tmp_path, threading.Event()) == 0


def test_a_walk_that_nobody_needs_any_more_ends(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 100_000)
    over = threading.Event()
    over.set()
    assert disk_usage(tmp_path, over) == 0


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def test_a_folder_that_is_missing_is_not_too_large(tmp_path: Path) -> None:
    assert not usage.is_too_large(tmp_path / "nowhere")


def test_too_much_is_seen_in_bytes_and_in_entries(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not usage.is_too_large(out)
    with monkeypatch.context() as bounds:
        bounds.setattr(usage, "MAX_OUT", 1_000_000)
        (out / "deep/er").mkdir(parents=True)
        (out / "deep/er/junk").write_bytes(os.urandom(2_000_000))
        assert usage.is_too_large(out)
    monkeypatch.setattr(usage, "MAX_ENTRIES", 100)
    for number in range(101):
        (out / "deep" / str(number)).touch()
    assert usage.is_too_large(out)


def test_a_link_to_what_is_large_is_not_followed(out: Path) -> None:
    (out / "root").symlink_to("/")
    assert not usage.is_too_large(out)


def test_the_records_of_as_many_hooks_as_there_can_be_are_not_too_much() -> None:
    """Three kinds of hooks with 32 commands each, two segments of 1 MiB per command, and the CLI's own output."""
    assert usage.MAX_OUT > 3 * 32 * 2 * 1024 * 1024 + 2 * records.MAX_STDOUT
    assert usage.MAX_ENTRIES > 4 * 3 * 32 + 16
