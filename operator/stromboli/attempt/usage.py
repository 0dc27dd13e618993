"""Disk usage of folders that an agent could write in; each walk is bounded, and follows no symlink. Blocking.

An attempt's `out/` may take so much and no more. The supervisor bounds what it writes there itself; node/guard.py
watches the rest, which tidy.py removes at the end.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

MOST_ENTRIES = 200_000
SECONDS = 5.0
# Of `out/`.
MAX_OUT = 256 * 1024 * 1024  # bytes of disk: more than the records of as many hooks as a spec can have
MAX_ENTRIES = 4096


def disk_usage(folder: Path, over: threading.Event) -> int:
    """Bytes of disk below a folder, or of the part visited within MOST_ENTRIES and SECONDS, until `over` is set."""
    total = seen = 0
    ends = time.monotonic() + SECONDS
    left = [os.fspath(folder)]
    while left and seen < MOST_ENTRIES:
        try:
            with os.scandir(left.pop()) as entries:
                for entry in entries:
                    seen += 1
                    if seen > MOST_ENTRIES or time.monotonic() > ends or over.is_set():
                        return total
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        left.append(entry.path)
        except OSError:  # an unreadable folder counts as empty
            continue
    return total


def is_too_large(out: Path) -> bool:
    """Whether `out/` exceeds MAX_OUT bytes of disk or MAX_ENTRIES entries."""
    total = seen = 0
    left = [os.fspath(out)]
    while left:
        try:
            with os.scandir(left.pop()) as entries:
                for entry in entries:
                    seen += 1
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if total > MAX_OUT or seen > MAX_ENTRIES:
                        return True
                    if entry.is_dir(follow_symlinks=False):
                        left.append(entry.path)
        except OSError:  # it is gone, or an agent took away its permissions
            continue
    return False
