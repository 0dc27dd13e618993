"""Files in a folder that an agent can write in, opened as hostile input.

They are opened relative to a directory descriptor: only regular files, following no symlink, never blocking. Calls
block briefly.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@contextmanager
def opened(folder: Path) -> Iterator[int]:
    """The folder's descriptor, inside the block. Raises OSError."""
    descriptor = os.open(folder, _FOLDER)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Regular:
    """An open regular file."""

    descriptor: int
    found: os.stat_result

    @classmethod
    def open(cls, folder: int, name: str) -> Regular | None:
        """Checks the type before opening, since opening a device can have side effects, and again afterwards, since the
        file may have been replaced.
        """
        try:
            if not stat.S_ISREG(os.lstat(name, dir_fd=folder).st_mode):
                return None
            descriptor = os.open(name, _FILE, dir_fd=folder)
        except OSError:
            return None
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode):
            return cls(descriptor, found)
        os.close(descriptor)
        return None

    def close(self) -> None:
        os.close(self.descriptor)

    def same(self, other: Regular) -> bool:
        return os.path.samestat(self.found, other.found)

    @property
    def size(self) -> int:
        """Its present size."""
        return os.fstat(self.descriptor).st_size

    def tail(self, limit: int) -> bytes:
        """The last `limit` bytes of its present size."""
        size = self.size
        return self.part(max(size - limit, 0), size)

    def part(self, begin: int, end: int) -> bytes:
        """Its bytes from `begin` to before `end`, as far as there are any."""
        parts = []
        while begin < end and (part := self._at(begin, end - begin)):
            parts.append(part)
            begin += len(part)
        return b"".join(parts)

    def _at(self, offset: int, size: int) -> bytes:
        try:
            return os.pread(self.descriptor, size, offset)
        except OSError:  # an unreadable file counts as empty
            return b""
