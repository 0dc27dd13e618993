"""Someone who swaps files under the operator's hands, as fast as the kernel allows."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_AT_FDCWD, _EXCHANGE = -100, 2  # fcntl.h, linux/fs.h
_libc = ctypes.CDLL(None, use_errno=True)


def exchange(one: Path, other: Path) -> None:
    """The two paths change places, in one step (renameat2 with RENAME_EXCHANGE)."""
    if _libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(one), None, str(other))


@contextmanager
def exchanging(one: Path, other: Path, pause: float = 0.0) -> Iterator[None]:
    """They change places again and again during the block, and are where they were after it.

    `pause`: seconds between two times; each time, both are as if they were changed.
    """
    ended = threading.Event()

    def repeat() -> None:
        while not ended.is_set():
            for _ in range(2):
                exchange(one, other)
                ended.wait(pause)

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
