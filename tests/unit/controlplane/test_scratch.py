"""Folders for work under way: gone after the work, after an interruption, and after a kill once somebody comes by."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stromboli.controlplane import scratch

_AT_WORK = """
import pathlib, sys, time
from stromboli.controlplane import scratch
with scratch.folder(pathlib.Path(sys.argv[1])) as folder:
    (folder / "gocache").write_bytes(b"x" * 1000)
    print("at work", flush=True)
    time.sleep(600)
"""


def test_it_goes_with_the_block(tmp_path: Path) -> None:
    with scratch.folder(tmp_path / "cache") as folder:
        (folder / "file").touch()
    assert list((tmp_path / "cache").iterdir()) == []


def test_it_goes_with_an_interruption(tmp_path: Path) -> None:
    def interrupted() -> None:
        with scratch.folder(tmp_path) as folder:
            (folder / "file").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_of_a_killed_process_it_goes_with_the_next_one_and_not_before(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _AT_WORK, str(tmp_path / "npm")], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"at work\n"
        assert scratch.clear(tmp_path) == 0
        assert len(list((tmp_path / "npm").iterdir())) == 1, "somebody is at work in it"
        process.send_signal(signal.SIGKILL)
    assert scratch.clear(tmp_path) == 1000
    assert list((tmp_path / "npm").iterdir()) == []
