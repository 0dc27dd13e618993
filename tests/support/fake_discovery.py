"""An in-memory fake of `stromboli.perform.images.discovery.Discovery`: what a node and its registries have is given."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from stromboli.errors import ImageMissing
from stromboli.perform.images.discovery import Document, Progress


def row(image: str, *, rank: int | None = 3, allowed: bool = True, **changes: Any) -> dict[str, Any]:
    """An entry of the list."""
    return {
        "image": image,
        "id": "1" * 64,
        "digest": f"sha256:{'2' * 64}",
        "size": 129_000_000,
        "created": "2026-11-01T00:00:00Z",
        "allowed": allowed,
        "rank": rank,
        "compatible": None if rank is None else rank < 4,
        "message": "glibc 2.36 for amd64; the Claude CLI needs glibc 2.17 or newer",
        "tools": [{"name": "python", "version": "3.12.4"}],
        "summary": {"libc": "glibc 2.36", "tools": "python 3.12.4", "size": "129 MB"},
        "claudeCLI": "",
        "description": "for \x1b[2Jdata",
    } | changes


def inspected(image: str, **changes: Any) -> dict[str, Any]:
    """What is in an image."""
    return {
        **row(image),
        "node": "node-1",
        "platform": "linux/amd64",
        "refusal": "",
        "libc": {"family": "glibc", "version": "2.36"},
        "shell": "/bin/sh",
        "user": "0:0",
        "os": {"id": "debian", "version": "12", "name": "Debian GNU/Linux 12"},
        "labels": {},
        "untrueLabels": [],
    } | changes


class FakeDiscovery:
    """`steps` come before the list; `failure` is raised by each question, in a list after the steps."""

    def __init__(self) -> None:
        self.images: list[dict[str, Any]] = []
        self.steps: list[Progress] = []
        self.incomplete: list[int] = []  # what the next lists say
        self.inspected: dict[str, dict[str, Any]] = {}
        self.found: dict[str, Any] = {"images": [], "unanswered": []}
        self.failure: Exception | None = None
        self.held: asyncio.Event | None = None
        self.asked: list[tuple[Any, ...]] = []
        self.most = self._now = 0  # questions that are answered at a time
        self._changed = asyncio.Event()

    async def until(self, number: int) -> None:
        """Wait until so many questions are being answered."""
        async with asyncio.timeout(20.0):
            while self._now < number:
                self._changed.clear()
                await self._changed.wait()

    async def list(self, namespace: str, *, everything: bool = False) -> AsyncIterator[Progress | Document]:
        self.asked.append(("list", namespace, everything))
        for step in self.steps:
            yield step
        await self._answer()
        incomplete = self.incomplete.pop(0) if self.incomplete else 0
        yield {
            "node": "node-1",
            "incomplete": incomplete,
            "images": [row for row in self.images if everything or row["allowed"]],
        }

    async def inspect(self, namespace: str, text: str) -> Document:
        self.asked.append(("inspect", namespace, text))
        await self._answer()
        if text not in self.inspected:
            raise ImageMissing(f"the image {text} is not on the node")
        return self.inspected[text]

    async def search(self, namespace: str, query: str, limit: int) -> Document:
        self.asked.append(("search", namespace, query, limit))
        await self._answer()
        return self.found

    async def _answer(self) -> None:
        self._now += 1
        self.most = max(self.most, self._now)
        self._changed.set()
        try:
            if self.held is not None:
                await self.held.wait()
        finally:
            self._now -= 1
        if self.failure is not None:
            raise self.failure
