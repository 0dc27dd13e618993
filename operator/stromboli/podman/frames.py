"""Output of a container as Podman sends it, in frames with a header each; and the end of a long output."""

from __future__ import annotations

_HEADER = 8  # bytes: the stream (1 standard output, 2 standard error), three zeros, and the length of the data


class Frames:
    """Takes the frames of both streams off, as pieces of them arrive."""

    def __init__(self) -> None:
        self._header = b""
        self._left = 0  # bytes of data that the current frame still has

    def data(self, piece: bytes) -> bytes:
        """The data in the next piece of what was sent."""
        found, at = [], 0
        while at < len(piece):
            if self._left:
                part = piece[at : at + self._left]
                found.append(part)
                self._left -= len(part)
                at += len(part)
                continue
            part = piece[at : at + _HEADER - len(self._header)]
            self._header += part
            at += len(part)
            if len(self._header) == _HEADER:
                self._left, self._header = int.from_bytes(self._header[4:], "big"), b""
        return b"".join(found)


class Tail:
    """The last `most` bytes of all that it was given; `size` is how many those were."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept = b""
        self.size = 0

    def add(self, data: bytes) -> None:
        self.size += len(data)
        self._kept = (self._kept + data)[-self._most :]

    @property
    def text(self) -> str:
        """What was kept, with U+FFFD where it is not UTF-8; one that was cut begins with a whole line, if it can."""
        kept = self._kept
        if self.size > len(kept):
            kept = kept.partition(b"\n")[2] or kept
        return kept.decode("utf-8", "replace")
