"""A file lock between processes, released when its holder exits. A process that waits reports it."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from stromboli.controlplane.progress import Report, Stage

_POLL_SECONDS = 0.1  # polled, because a blocking flock cannot report progress meanwhile


@contextmanager
def exclusive(path: Path, what: str, report: Report) -> Iterator[None]:
    """Hold a lock on the file `path` (created if absent, never removed) inside the block.

    `what` describes what the holder does ("is starting the control plane"). There is no timeout, since the holder's
    steps have timeouts of their own.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        if not _acquired(file):
            _wait(file, what, report)
        yield


def _acquired(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait(file: IO[str], what: str, report: Report) -> None:
    stage = Stage(report, f"waiting: another process {what}")
    report(f"waiting: another process {what}")
    while not _acquired(file):
        stage.tick("still")
        time.sleep(_POLL_SECONDS)
