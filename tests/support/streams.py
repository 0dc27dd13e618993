"""Bytes as they come over a connection."""

from __future__ import annotations

from collections.abc import AsyncIterator


async def pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    """`data` cut into pieces, the first of which is empty."""
    yield b""
    for start in range(0, len(data), size):
        yield data[start : start + size]
