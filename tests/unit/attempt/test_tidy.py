"""What remains in `out/` after an attempt has ended, and what is too large while it runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stromboli.attempt import records, tidy
from stromboli.plan.redaction import Secrets

NOTHING_SECRET = Secrets(())
RECORDS = ("record", "seal", "stdout", "stdout.old", "stderr", "stderr.old", "postStart.0", "onCreateCommand.31.old")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    for name in RECORDS:
        (folder / name).write_text(name)
    return folder


def test_records_stay_as_they_are_and_nothing_else_does(out: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("x")
    before = {name: (out / name).stat().st_ino for name in RECORDS}
    os.mkfifo(out / ".clock")
    (out / "started").mkdir()
    (out / "deep/er").mkdir(parents=True)
    (out / "deep/er/junk").write_bytes(bytes(10000))
    (out / "junk").write_bytes(bytes(10000))
    (out / "link").symlink_to(precious)
    (out / "stdout.older").touch()
    (out / "postStart.0").unlink()
    (out / "postStart.0").symlink_to(precious)
    for _ in range(2):
        tidy.tidy(out)
    left = {p.name: p.stat().st_ino for p in out.iterdir()}
    assert left == {name: number for name, number in before.items() if name != "postStart.0"}
    assert precious.read_text() == "x"


def test_a_record_that_was_made_too_large_keeps_its_end(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tidy, "MAX_RECORD", 100_000)
    (out / "stdout").write_bytes(bytes(3_000_000) + b"the end\n")
    tidy.tidy(out)
    assert (out / "stdout").stat().st_size == 100_000
    assert records.read(out, NOTHING_SECRET).stdout.endswith(b"the end\n")


def test_what_has_no_disk_is_left_alone(out: Path) -> None:
    os.truncate(out / "stdout", 10**12)
    tidy.tidy(out)
    assert (out / "stdout").stat().st_size == 10**12
    assert not tidy.is_too_large(out)


def test_a_folder_that_is_gone_is_tidy(tmp_path: Path) -> None:
    tidy.tidy(tmp_path / "nowhere")
    assert not tidy.is_too_large(tmp_path / "nowhere")


def test_too_much_is_seen_in_bytes_and_in_entries(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not tidy.is_too_large(out)
    with monkeypatch.context() as bounds:
        bounds.setattr(tidy, "MAX_OUT", 1_000_000)
        (out / "deep/er").mkdir(parents=True)
        (out / "deep/er/junk").write_bytes(os.urandom(2_000_000))
        assert tidy.is_too_large(out)
    monkeypatch.setattr(tidy, "MAX_ENTRIES", 100)
    for number in range(101):
        (out / "deep" / str(number)).touch()
    assert tidy.is_too_large(out)


def test_a_link_to_what_is_large_is_not_followed(out: Path) -> None:
    (out / "root").symlink_to("/")
    assert not tidy.is_too_large(out)


def test_the_records_of_as_many_hooks_as_there_can_be_are_not_too_much() -> None:
    """Three kinds of hooks with 32 commands each, two segments of 1 MiB per command, and the CLI's own output."""
    assert tidy.MAX_OUT > 3 * 32 * 2 * 1024 * 1024 + 2 * records.MAX_STDOUT
    assert tidy.MAX_ENTRIES > 4 * 3 * 32 + 16
