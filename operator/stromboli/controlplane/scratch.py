"""Folders for work under way in the cache: a download, a build, a pull. They go with the work, whatever ends it.

An interruption removes them on the way out. What a killed process has left is removed by whoever comes next: a folder
is in use as long as its maker holds a lock on it, and a lock ends with its holder.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = "scratch-"


@contextmanager
def folder(parent: Path) -> Iterator[Path]:
    """A new folder below `parent`, which is made if missing; gone after the block."""
    parent.mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(fd)


def clear(cache: Path) -> int:
    """Remove what nobody uses any more; how many bytes that were."""
    freed = 0
    for path in (*cache.glob(f"{_PREFIX}*"), *cache.glob(f"*/{_PREFIX}*")):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:  # its maker has just removed it
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            freed += size(path)
            shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(fd)
    return freed


def size(folder: Path) -> int:
    """Bytes of the files in it; no link is followed."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(path, name)).st_size
            except FileNotFoundError:  # somebody is at work in it
                continue
    return total
