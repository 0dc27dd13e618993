"""What `down --purge` says of the cache, and what it removes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from stromboli.local import cache


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    programs = tmp_path / "stromboli" / "kubernetes-1.0"
    programs.mkdir(parents=True)
    (programs / "etcd").write_bytes(b"x" * 3_000_000)
    left = tmp_path / "stromboli" / "scratch-abc"
    left.mkdir()
    (left / "object").write_bytes(b"x" * 2_000_000)
    return programs.parent


def test_what_an_interrupted_build_left_goes_and_the_rest_is_named(folder: Path) -> None:
    removed, kept = cache.purge({"XDG_CACHE_HOME": str(folder.parent)}, everything=False)
    assert removed == "the leftovers of an interrupted build (2 MB)"
    assert kept.startswith(f"{folder} (3 MB: ")
    assert [p.name for p in folder.iterdir()] == ["kubernetes-1.0"]


def test_all_of_it_goes_where_that_is_asked(folder: Path) -> None:
    removed, kept = cache.purge({"XDG_CACHE_HOME": str(folder.parent)}, everything=True)
    assert (removed.startswith(f"{folder} (5 MB: "), kept) == (True, "")
    assert not folder.exists()
    assert cache.purge({"XDG_CACHE_HOME": str(folder.parent)}, everything=True) == ("", "")
