"""A file lock between processes, released when its holder exits. A process that waits reports it."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from stromboli.progress import Progress


@contextmanager
def exclusive(path: Path, what: str, progress: Progress) -> Iterator[None]:
    """Hold a lock on the file `path` (created if absent, never removed) inside the block.

    `what` describes what the holder does ("is starting the control plane"). There is no timeout, since the holder's
    steps have timeouts of their own.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        if not _acquired(file):
            with progress.step(f"waiting: another process {what}"):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _acquired(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
