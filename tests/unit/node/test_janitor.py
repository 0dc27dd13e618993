"""Taking back ownership of files has a timeout, after which the helper container is removed all the same."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from stromboli.attempt import busybox
from stromboli.attempt.site import Site
from stromboli.errors import PodmanError
from stromboli.node import janitor
from stromboli.node.janitor import Janitor


class Stuck:
    """A Podman whose containers never end."""

    def __init__(self) -> None:
        self.containers = self
        self.there: list[str] = []

    async def create(self, body: dict[str, Any]) -> str:
        self.there.append(body["name"])
        return str(body["name"])

    async def start(self, _: str) -> None:
        return

    async def wait(self, _: str) -> None:
        await asyncio.Event().wait()

    async def remove(self, container: str) -> None:
        self.there.remove(container)


async def test_it_gives_up_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(janitor, "SECONDS", 0.01)
    program = busybox.path(tmp_path)
    program.parent.mkdir()
    program.write_bytes(b"\x7fELF, as far as this test goes")
    podman = Stuck()
    with pytest.raises(PodmanError, match="took longer than"):
        await Janitor(cast(Any, podman), Site(tmp_path, tmp_path, "here")).reclaim("uid", tmp_path / "closed")
    assert podman.there == []
