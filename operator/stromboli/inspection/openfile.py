"""A regular file of an image that is open for reading at any offset. Nothing here knows what is in it."""

from __future__ import annotations

import os
from collections.abc import Iterator

from stromboli.errors import InvalidDatabase

_CHUNK = 256 * 1024  # bytes


class OpenFile:
    """The first `size` bytes of an open file; whoever opened it closes it."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self.size = size

    def at(self, offset: int, count: int) -> bytes:
        """Exactly `count` bytes from `offset` on. Raises InvalidDatabase if they are not within the file."""
        if offset < 0 or count < 0 or offset + count > self.size:
            raise InvalidDatabase("something lies outside the file")
        data = self._read(offset, count)
        if len(data) < count:
            raise InvalidDatabase("the file is shorter than it was")
        return data

    def chunks(self) -> Iterator[bytes]:
        """The content from the beginning, in pieces."""
        offset = 0
        while offset < self.size and (data := self._read(offset, min(_CHUNK, self.size - offset))):
            offset += len(data)
            yield data

    def _read(self, offset: int, count: int) -> bytes:
        try:
            return os.pread(self._descriptor, count, offset)
        except OSError as error:
            raise InvalidDatabase(f"it cannot be read: {error.strerror}") from error
