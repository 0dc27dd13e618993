"""One at a time: a lock on a file, whose holder's death frees it. Whoever waits says so."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from stromboli.controlplane.progress import Report, Stage

_AGAIN = 0.1  # seconds; the kernel has no flock that both waits and can speak meanwhile


@contextmanager
def exclusive(path: Path, what: str, report: Report) -> Iterator[None]:
    """Hold the lock `path` (made if absent, never removed) while the block runs.

    `what` is what another process would be doing with it ("is starting the control plane"). Waits without
    limit, since the other one's steps are bounded themselves.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        if not _taken(file):
            _wait(file, what, report)
        yield


def _taken(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait(file: IO[str], what: str, report: Report) -> None:
    stage = Stage(report, f"waiting: another process {what}")
    report(f"waiting: another process {what}")
    while not _taken(file):
        stage.tick("still")
        time.sleep(_AGAIN)
