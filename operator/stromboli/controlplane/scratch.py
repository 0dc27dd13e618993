"""Scratch folders in the cache for work in progress: a download, a build, a pull.

They are removed when the work ends, even by an interrupt. Those of a killed process are removed later by `clear`: a
folder is in use as long as its creator holds a lock on it, and the lock is released when the creator exits.
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
    """A new folder in `parent`, which is created if missing; removed after the block. Raises OSError."""
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
    """Remove the scratch folders that are no longer in use. Returns the bytes freed."""
    freed = 0
    for path in (*cache.glob(f"{_PREFIX}*"), *cache.glob(f"*/{_PREFIX}*")):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:  # its creator has just removed it
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
    """Total size in bytes of the files in a folder; symbolic links are not followed."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(path, name)).st_size
            except FileNotFoundError:  # another process is changing the folder
                continue
    return total
