"""Byte streams in chunks, as received from a connection."""

from __future__ import annotations

from collections.abc import AsyncIterator


async def pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    """`data` in chunks of `size` bytes, after an empty first one."""
    yield b""
    for start in range(0, len(data), size):
        yield data[start : start + size]
