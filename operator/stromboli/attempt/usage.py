"""How much disk a folder takes in which an agent could write: bounded in entries and time, whatever it made there."""

from __future__ import annotations

import os
import time
from pathlib import Path

MOST_ENTRIES = 200_000
SECONDS = 5.0


def disk_usage(folder: Path) -> int:
    """Bytes below a folder, or of as much of it as could be looked at within the bounds. Blocking; follows no link."""
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
        except OSError:  # what cannot be looked at counts nothing
            continue
    return total
