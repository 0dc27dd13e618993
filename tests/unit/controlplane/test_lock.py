"""Two at once: the second waits, says so, and goes on when the first is done or dead."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from stromboli.controlplane import lock
from stromboli.progress import silent
from tests.support.told import Told

_HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "a")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_free_lock_is_taken_in_silence(tmp_path: Path) -> None:
    told = Told()
    with lock.exclusive(tmp_path / "new" / "lock", "is busy", told):
        pass
    with lock.exclusive(tmp_path / "new" / "lock", "is busy", told):
        pass
    assert told.lines == []


def test_the_second_waits_and_says_so(tmp_path: Path) -> None:
    order: list[str] = []
    waiting = threading.Event()

    def on_line(line: str) -> None:
        order.append(line.partition(",")[0])
        waiting.set()

    def second() -> None:
        with lock.exclusive(tmp_path / "lock", "is busy", Told(on_line)):
            order.append("second")

    thread = threading.Thread(target=second)
    with lock.exclusive(tmp_path / "lock", "is busy", silent()):
        thread.start()
        assert waiting.wait(10), "the second never said that it waits"
        order.append("first is done")
    thread.join(10)
    waits = "waiting: another process is busy"
    assert order == [f"… {waits}", "first is done", f"✓ {waits}", "second"]


def test_the_holders_death_frees_it(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, tmp_path / "lock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        told = Told(lambda _: holder.kill())
        with lock.exclusive(tmp_path / "lock", "is busy", told):
            assert told.done == ["waiting: another process is busy"]
