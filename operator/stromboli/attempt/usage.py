"""Disk usage of folders that an agent could write in; each walk is bounded, and follows no symlink. Blocking.

An attempt's `out/` may take so much and no more. The supervisor bounds what it writes there itself; node/guard.py
watches the rest, which tidy.py removes at the end.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

MOST_ENTRIES = 200_000
SECONDS = 5.0
# Of `out/`.
MAX_OUT = 256 * 1024 * 1024  # bytes of disk: more than the records of as many hooks as a spec can have
MAX_ENTRIES = 4096


def disk_usage(folder: Path, over: threading.Event) -> int:
    """Bytes of disk below a folder, or of the part visited within MOST_ENTRIES and SECONDS, until `over` is set."""
    total, ends = 0, time.monotonic() + SECONDS
    for seen, size in enumerate(_sizes(folder), start=1):
        if seen > MOST_ENTRIES or time.monotonic() > ends or over.is_set():
            break
        total += size
    return total


def is_too_large(out: Path) -> bool:
    """Whether `out/` exceeds MAX_OUT bytes of disk or MAX_ENTRIES entries."""
    total = 0
    for seen, size in enumerate(_sizes(out), start=1):
        total += size
        if total > MAX_OUT or seen > MAX_ENTRIES:
            return True
    return False


def _sizes(folder: Path) -> Iterator[int]:
    """Bytes of disk of each entry below a folder; a folder's own come before those of what is in it."""
    left = [os.fspath(folder)]
    while left:
        try:
            with os.scandir(left.pop()) as entries:
                for entry in entries:
                    size = entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        left.append(entry.path)
                    yield size
        except OSError:  # it is gone, or an agent took away its permissions: it counts as empty
            continue
