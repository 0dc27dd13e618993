"""What those who follow one run's output cost the operator, over TLS as the gateway asks."""

from __future__ import annotations

import asyncio
import ssl
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

FOLLOWERS = 50
MOST = 10_000  # KB for all of them
OUTPUT = 3_000_000  # bytes
LIMIT = 60.0
_REQUEST = (
    b"GET /apis/agents.stromboli.dev/v1alpha1/namespaces/team/agentruns/a/log?follow=true HTTP/1.1\r\nHost: x\r\n\r\n"
)


class Served:
    """The process, and where it serves."""

    def __init__(self, process: Process, folder: Path) -> None:
        port, _, out = (folder / "address").read_text().partition(" ")
        self._process = process
        self._port = int(port)
        self._tls = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        self.output = Path(out) / "stdout"

    def memory(self) -> int:
        """KB of memory that it shares with no other process."""
        text = Path(f"/proc/{self._process.pid}/smaps_rollup").read_text()
        return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Private_"))

    async def follower(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """One who has got the answer's headers, and reads no more than 16 KiB ahead."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, ssl=self._tls, limit=16 * 1024)
        writer.write(_REQUEST)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        return reader, writer


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.support.log_server", str(tmp_path))
    try:
        async with asyncio.timeout(LIMIT):
            while not (tmp_path / "address").exists():  # noqa: ASYNC110 - another process makes it
                await asyncio.sleep(0.02)
        yield Served(process, tmp_path)
    finally:
        process.kill()
        await process.wait()


async def test_fifty_followers_of_a_run_take_less_than_ten_megabytes(served: Served) -> None:
    """Those who have read all of it, and then those who read nothing."""
    served.output.write_bytes(b"y" * OUTPUT)
    async with asyncio.timeout(LIMIT):
        first = await served.follower()
        await _until(first[0], b"y", OUTPUT)
        before = served.memory()
        following = [await served.follower() for _ in range(FOLLOWERS)]
        await asyncio.gather(*(_until(reader, b"y", OUTPUT) for reader, _ in following))
        assert served.memory() - before < MOST
        for _, writer in following:
            writer.transport.abort()
        stalled = [await served.follower() for _ in range(FOLLOWERS)]
        with served.output.open("ab") as file:
            file.write(b"z")
        await _until(first[0], b"z", 1)  # whoever reads is not kept waiting
        assert served.memory() - before < MOST
        for _, writer in [first, *stalled]:
            writer.transport.abort()


async def _until(reader: asyncio.StreamReader, letter: bytes, times: int) -> None:
    """Read until that letter has come so often."""
    while times > 0:
        piece = await reader.read(64 * 1024)
        assert piece, "the answer has ended"
        times -= piece.count(letter)
