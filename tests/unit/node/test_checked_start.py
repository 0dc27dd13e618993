"""The order in which a container is started that must have what was checked; the real thing is in tests/contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from stromboli.errors import PodmanError
from stromboli.node import checked_start, mounted
from stromboli.podman.container_state import ContainerState
from stromboli.podman.transport import Podman
from tests.support.fake_podman import FakePodman
from tests.support.fake_podman_wire import within
from tests.support.mounts import Mounts

IMAGE = "localhost/any:1"
BINDS = {"/w": (1, 2), "/etc/app": (3, 4)}


@dataclass
class Bed:
    podman: Podman
    fake: FakePodman
    container: str

    async def start(self, *, listened: bool = False) -> str | None:
        async def listen() -> None:
            self.fake.calls.append("listen")

        self.fake.calls.clear()
        return await checked_start.start(self.podman, self.container, BINDS, listen if listened else None)

    async def state(self) -> ContainerState:
        found = await self.podman.containers.inspect(self.container)
        assert found is not None
        return found

    @property
    def changes(self) -> list[str]:
        """The last words of the calls that were made, without looks."""
        return [call.split("?")[0].rsplit("/")[-1] for call in self.fake.calls if "json" not in call]


@pytest.fixture
async def bed(tmp_path: Path) -> AsyncIterator[Bed]:
    async with FakePodman(tmp_path / "podman.sock", served=False) as fake, within(fake.within) as podman:
        fake.add_image(IMAGE, root=tmp_path)
        container = await podman.containers.create({"name": "one", "image": IMAGE})
        yield Bed(podman, fake, container)


@pytest.fixture
def mounts(monkeypatch: pytest.MonkeyPatch) -> Mounts:
    return Mounts(monkeypatch)


async def test_it_is_started_after_it_was_compared(bed: Bed, mounts: Mounts) -> None:
    assert await bed.start(listened=True) is None
    assert bed.changes == ["init", "listen", "start"]
    assert mounts.compared == [BINDS]
    assert (await bed.state()).running


async def test_what_differs_is_named_and_nothing_runs(bed: Bed, mounts: Mounts) -> None:
    mounts.swapped = {"/etc/app"}
    assert await bed.start() == "/etc/app"
    assert bed.changes == ["init", "stop"]
    assert (await bed.state()).started_at is None
    mounts.swapped = set()
    assert await bed.start() is None
    assert (await bed.state()).running


async def test_what_another_operator_has_initialized_is_initialized_anew(bed: Bed, mounts: Mounts) -> None:
    await bed.podman.containers.init(bed.container)
    assert await bed.start() is None
    assert bed.changes == ["stop", "init", "start"]


async def test_what_cannot_be_compared_does_not_run(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    def differing(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "/proc/4242/root")

    monkeypatch.setattr(mounted, "differing", differing)
    with pytest.raises(PodmanError, match=r"cannot be checked \(Permission denied: /proc/4242/root\)"):
        await bed.start()
    assert bed.changes == ["init", "stop"]
    assert (await bed.state()).started_at is None


async def test_a_container_that_is_gone(bed: Bed, mounts: Mounts) -> None:
    await bed.podman.containers.remove(bed.container)
    with pytest.raises(PodmanError, match="was removed"):
        await bed.start()
    assert mounts.compared == []


async def test_without_binds_it_is_only_started(bed: Bed) -> None:
    assert await checked_start.start(bed.podman, bed.container, {}) is None
    assert bed.changes[-1] == "start"
    assert "init" not in bed.changes
