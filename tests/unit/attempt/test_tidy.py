"""What remains in `out/` after an attempt has ended."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stromboli.attempt import records, tidy, usage
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
    assert not usage.is_too_large(out)


def test_a_folder_that_is_gone_is_tidy(tmp_path: Path) -> None:
    tidy.tidy(tmp_path / "nowhere")
