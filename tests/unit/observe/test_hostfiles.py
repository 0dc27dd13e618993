"""Looking at the node's files where a file system does not answer: nobody waits for long, and few threads hang."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stromboli.errors import Refused, Unanswered, Waiting
from stromboli.observe import hostfiles, hostpaths
from stromboli.observe.hostfiles import in_time, real, touching
from stromboli.plan import request
from stromboli.plan.volumes import Volume
from stromboli.reasons import Reason
from tests.support.builders import effective, policy, spec


class Dead:
    """A mount point whose file system keeps whoever touches it, until it is let go."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.place, self.touched, self.back = place, 0, threading.Event()
        self._readlink = os.readlink
        table = place.parent / "mountinfo"
        table.write_text(f"1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 0:9 / {place} rw - nfs4 server:/ rw\n")
        monkeypatch.setattr(hostfiles, "MOUNTS", table)
        monkeypatch.setattr(os, "readlink", self.readlink)
        monkeypatch.setattr(hostfiles, "PATIENCE", 0.1)

    def readlink(self, path: str) -> str:
        if Path(path).is_relative_to(self.place) and not self.back.is_set():
            self.touched += 1
            self.back.wait()
        return self._readlink(path)


@pytest.fixture
def dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dead]:
    """tmp_path/dead does not answer; tmp_path/way leads there."""
    place = tmp_path.resolve() / "dead"
    (place / "below").mkdir(parents=True)
    (tmp_path / "alive").mkdir()
    (tmp_path / "way").symlink_to(place / "below")
    found = Dead(place, monkeypatch)
    yield found
    found.back.set()
    until_nobody_hangs()


def until_nobody_hangs() -> None:
    with hostfiles._changed:
        hostfiles._changed.wait_for(lambda: not hostfiles._touching)


async def ask(path: object) -> str:
    return await in_time(real, str(path), strict=True)


async def test_a_mount_that_does_not_answer_is_named_and_the_others_are_looked_at(dead: Dead, tmp_path: Path) -> None:
    for path in (dead.place, dead.place / "below", tmp_path / "way"):
        with pytest.raises(Unanswered, match=f"the file system at {dead.place} on the node does not respond"):
            await ask(path)
        assert await ask(tmp_path / "alive") == str(tmp_path / "alive")


async def test_however_often_it_is_tried_few_threads_hang_and_nobody_waits_once_that_is_known(
    dead: Dead, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await asyncio.gather(*(ask(dead.place / str(n)) for n in range(40)), return_exceptions=True)
    assert {type(each) for each in found} == {Unanswered}
    await asyncio.sleep(0.1)  # those who hang have done so for long enough
    monkeypatch.setattr(hostfiles, "PATIENCE", 60.0)
    for entry in hostfiles._touching[str(dead.place)]:
        hostfiles._touching[str(dead.place)][entry] -= 60.0
    async with asyncio.timeout(10):
        for n in range(40):
            with pytest.raises(Unanswered):
                await ask(dead.place / str(n))
    assert dead.touched <= hostfiles.AT_ONCE


async def test_once_it_answers_it_is_looked_at_again(dead: Dead) -> None:
    with pytest.raises(Unanswered):
        await ask(dead.place)
    dead.back.set()
    await asyncio.to_thread(until_nobody_hangs)
    assert await ask(dead.place / "below") == str(dead.place / "below")


async def test_asyncios_own_threads_are_not_used(dead: Dead) -> None:
    await asyncio.gather(*(ask(dead.place) for _ in range(64)), return_exceptions=True)
    async with asyncio.timeout(10):
        await asyncio.to_thread(lambda: None)


# --- volumes ---


async def volumes(*texts: str, allowed: list[Path]) -> tuple[Volume, ...]:
    under = effective(policy("node", volumes={"allowed": [{"path": str(path)} for path in allowed]}))
    return await hostpaths.resolve(request.build(spec(volumes=list(texts)), under), under)


async def test_a_volume_on_a_mount_that_does_not_answer_is_waited_for(dead: Dead, tmp_path: Path) -> None:
    for path in (dead.place, tmp_path / "way"):
        with pytest.raises(Waiting, match=r"spec\.volumes: the file system at .*/dead on the node") as waiting:
            await volumes(f"{path}:/w", allowed=[tmp_path])
        assert waiting.value.reason is Reason.WaitingForReference


async def test_an_allowed_folder_that_does_not_answer_keeps_nobody_elses_volume(dead: Dead, tmp_path: Path) -> None:
    allowed = [dead.place, tmp_path / "alive"]
    with pytest.raises(Waiting):
        await volumes(f"{tmp_path}/alive:/w", allowed=allowed)
    await asyncio.sleep(0.1)  # that it hangs is known now
    [found] = await volumes(f"{tmp_path}/alive:/w", allowed=allowed)
    assert found.host == str(tmp_path / "alive")
    (tmp_path / "alive/out").symlink_to(tmp_path)
    with pytest.raises(Waiting):  # it may be the one that allows it
        await volumes(f"{tmp_path}/alive/out:/w", allowed=allowed)
    with pytest.raises(Refused):
        await volumes(f"{tmp_path}/alive/out:/w", allowed=[tmp_path / "alive"])


@pytest.mark.parametrize("trouble", [errno.ESTALE, errno.ENOTCONN, errno.EIO])
async def test_a_file_system_that_answers_with_trouble_of_its_own_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: int
) -> None:
    def readlink(path: str) -> str:
        raise OSError(trouble, os.strerror(trouble), path)

    monkeypatch.setattr(os, "readlink", readlink)
    with pytest.raises(Waiting, match=r"^spec\.volumes\[0\]: .* cannot be accessed \(") as waiting:
        await volumes(f"{tmp_path}:/w", allowed=[tmp_path])
    assert waiting.value.reason is Reason.WaitingForReference


# --- what it finds ---


PARTS = st.sampled_from(["a", "b", "link", "up", "circle", "far", "file", "..", ".", "", "gone"])


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree").resolve()
    (root / "a/b").mkdir(parents=True)
    (root / "a/file").touch()
    (root / "a/link").symlink_to("b")
    (root / "a/b/up").symlink_to("../..")
    (root / "a/far").symlink_to(root / "a/b/up/a")
    (root / "a/circle").symlink_to("circle")
    (root / "link").symlink_to("a/link/up/a/./b")
    return root


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(PARTS, max_size=7), strict=st.booleans())
def test_it_is_what_the_standard_librarys_finds(tree: Path, parts: list[str], strict: bool) -> None:
    path = "/".join([str(tree), *parts])
    if strict or "circle" not in parts:
        assert found_by(lambda: real(path, strict=strict)) == found_by(lambda: os.path.realpath(path, strict=strict))


def found_by(resolve: Callable[[], str]) -> str | int | None:
    """The path, or what kept it from being found."""
    try:
        return resolve()
    except OSError as error:
        return error.errno


def test_the_kernels_table_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text("1 0 8:1 / / rw - ext4 a rw\n2 1 8:2 / /mnt/with\\040blank rw,x shared:1 - nfs b rw\n")
    monkeypatch.setattr(hostfiles, "MOUNTS", table)
    with touching("/mnt/with blank/below"):
        assert list(hostfiles._touching) == ["/mnt/with blank"]
    with touching("/mnt/with"):
        assert list(hostfiles._touching) == ["/"]
    assert hostfiles._touching == {}
