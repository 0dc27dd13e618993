"""Taking back ownership of files has a timeout, after which the helper container is removed all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stromboli import naming
from stromboli.attempt import busybox
from stromboli.attempt.site import Site
from stromboli.errors import PodmanError
from stromboli.naming import ContainerKey
from stromboli.node import janitor
from stromboli.node.janitor import Janitor


class Stuck:
    """A Podman whose containers never end; `there` are their names."""

    def __init__(self, there: Sequence[str] = ()) -> None:
        self.containers = self
        self.there = list(there)
        self.started: list[str] = []

    async def inspect(self, name: str) -> Any:
        labels = {naming.INSTALLATION: "here", naming.OWNER: "uid", naming.ROLE: naming.JANITOR}
        return SimpleNamespace(id=name, name=name, labels=labels) if name in self.there else None

    async def create(self, body: dict[str, Any]) -> str:
        assert body["name"] not in self.there, "that name is in use"
        self.there.append(body["name"])
        return str(body["name"])

    async def start(self, name: str) -> None:
        self.started.append(name)

    async def wait(self, _: str) -> None:
        await asyncio.Event().wait()

    async def remove(self, container: str) -> None:
        self.there.remove(container)


class Prompt(Stuck):
    """One whose containers end at once."""

    async def wait(self, _: str) -> None:
        return


def made_site(folder: Path) -> Site:
    program = busybox.path(folder)
    program.parent.mkdir()
    program.write_bytes(b"\x7fELF, as far as this test goes")
    return Site(folder, folder, "here")


async def test_it_gives_up_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(janitor, "SECONDS", 0.01)
    site = made_site(tmp_path)
    podman = Stuck()
    with pytest.raises(PodmanError, match="took longer than"):
        await Janitor(cast(Any, podman), site).reclaim("uid", tmp_path / "closed")
    assert podman.there == []


async def test_it_works_beside_a_session_s_container_and_after_a_helper_that_was_left(tmp_path: Path) -> None:
    site = made_site(tmp_path)
    agent, helper = naming.agent("uid").name, ContainerKey("uid", naming.JANITOR).name
    podman = Prompt([agent, helper])
    await Janitor(cast(Any, podman), site).reclaim("uid", tmp_path / "closed")
    assert podman.started == [helper]
    assert podman.there == [agent]
