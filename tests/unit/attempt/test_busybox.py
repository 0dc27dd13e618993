"""Which busybox is accepted for the supervisor, and how the copy in the home is kept up to date."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from stromboli.attempt import busybox
from stromboli.errors import LocalFailure


def _real() -> bytes:
    return next(c for c in busybox.CANDIDATES if busybox.is_usable(c)).read_bytes()


def test_the_machines_own_is_kept_in_the_home_and_runs(tmp_path: Path) -> None:
    kept = busybox.install(tmp_path / "home")
    assert kept == busybox.path(tmp_path / "home") == tmp_path / "home/bin/busybox"
    assert subprocess.run([kept, "echo", "hello"], capture_output=True, check=True).stdout == b"hello\n"
    assert [p.name for p in kept.parent.iterdir()] == ["busybox"]


def test_the_same_is_left_and_another_is_replaced_by_rename(tmp_path: Path) -> None:
    kept = busybox.install(tmp_path)
    linked = tmp_path / "linked"
    linked.hardlink_to(kept)
    assert busybox.install(tmp_path).samefile(linked)
    newer = tmp_path / "newer"
    newer.write_bytes(_real() + b"\0")
    busybox.install(tmp_path, [newer])
    assert (kept.read_bytes(), linked.read_bytes()) == (newer.read_bytes(), _real())


def test_a_dynamic_program_is_passed_over(tmp_path: Path) -> None:
    dynamic = Path(sys.executable).resolve()
    assert not busybox.is_usable(dynamic)
    good = tmp_path / "good"
    good.write_bytes(_real())
    assert busybox.install(tmp_path, [tmp_path / "nowhere", dynamic, good]).read_bytes() == _real()


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", b"\x7fELF", b"\x7fELF\x02\x01\x01" + bytes(200)])
def test_what_is_no_program_is_not_usable(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "busybox").write_bytes(content)
    assert not busybox.is_usable(tmp_path / "busybox")


def test_another_machines_is_not_usable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "busybox").write_bytes(_real())
    assert busybox.is_usable(tmp_path / "busybox")
    other = "aarch64" if platform.machine() != "aarch64" else "x86_64"
    monkeypatch.setattr(platform, "machine", lambda: other)
    assert not busybox.is_usable(tmp_path / "busybox")


def test_without_any_the_message_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(LocalFailure, match="apt-get install busybox-static"):
        busybox.install(tmp_path, [tmp_path / "nowhere"])


def test_the_one_from_before_will_do(tmp_path: Path) -> None:
    kept = busybox.install(tmp_path)
    assert busybox.install(tmp_path, []) == kept
