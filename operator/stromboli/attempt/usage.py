"""Disk usage of a folder that an agent could write in; the walk is bounded in entries and time."""

from __future__ import annotations

import os
import time
from pathlib import Path

MOST_ENTRIES = 200_000
SECONDS = 5.0


def disk_usage(folder: Path) -> int:
    """Bytes of disk below a folder, or of the part visited within MOST_ENTRIES and SECONDS.

    Blocking. Follows no symlink.
    """
    total = seen = 0
    ends = time.monotonic() + SECONDS
    left = [os.fspath(folder)]
    while left and seen < MOST_ENTRIES:
        try:
            with os.scandir(left.pop()) as entries:
                for entry in entries:
                    seen += 1
                    if seen > MOST_ENTRIES or time.monotonic() > ends:
                        return total
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        left.append(entry.path)
        except OSError:  # an unreadable folder counts as empty
            continue
    return total
