"""The search: which way wins, what each leaves behind, and what is said when none works."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from stromboli.controlplane import binaries, build, lock, versions
from stromboli.controlplane.binaries import Binaries
from stromboli.controlplane.download import Sources
from stromboli.errors import LocalFailure
from stromboli.progress import silent
from tests.support.fake_go import FakeGo
from tests.support.release_publisher import Publisher, serving
from tests.support.told import Told

FOLDER = versions.folder_name(versions.architecture())


def fill(folder: Path, names: tuple[str, ...] = versions.PROGRAMS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    return folder


@dataclass
class Machine:
    """A machine where, to begin with, nothing is to be had: no folder, no cache, no internet, no Go."""

    folder: Path
    sources: Sources
    environ: dict[str, str] = field(default_factory=lambda: {"PATH": "/nowhere"})
    told: Told = field(default_factory=Told)

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    def find(self) -> Binaries:
        return binaries.find(self.cache, self.told, self.environ, self.sources)

    def install_go(self) -> FakeGo:
        go = FakeGo(self.folder / "go")
        self.environ |= go.environ()
        return go


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(build, "ELSEWHERE", "")
    monkeypatch.setattr(build, "ROOM", 0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    return Machine(tmp_path, Sources(url, url))


@pytest.fixture
def publisher(machine: Machine) -> Iterator[Publisher]:
    publisher = Publisher(versions.architecture())
    with serving(publisher) as machine.sources:
        yield publisher


def test_the_folder_that_is_named_wins(machine: Machine) -> None:
    fill(machine.cache / FOLDER)
    machine.environ[binaries.ASSETS] = str(fill(machine.folder / "assets"))
    found = machine.find()
    assert (found.folder, found.origin) == (machine.folder / "assets", "KUBEBUILDER_ASSETS")
    assert [found.etcd.name, found.apiserver.name, found.controller_manager.name, found.kubectl.name] == [
        *versions.PROGRAMS
    ]
    assert machine.told.lines == []


def test_an_incomplete_folder_is_named_and_not_used(machine: Machine, publisher: Publisher) -> None:
    """setup-envtest's folder has no controller manager."""
    assets = fill(machine.folder / "assets", ("etcd", "kube-apiserver", "kubectl"))
    machine.environ[binaries.ASSETS] = str(assets)
    assert machine.find().origin == "official release"
    assert machine.told.lines[0] == f"KUBEBUILDER_ASSETS: {assets} has no kube-controller-manager; not used"


def test_a_cached_copy_needs_nothing_else(machine: Machine) -> None:
    fill(machine.cache / FOLDER)
    assert machine.find() == Binaries(machine.cache / FOLDER, "cache")
    assert binaries.locate(machine.cache, {}) == machine.find()


@pytest.mark.parametrize("spoilt", ["missing", "not executable"])
def test_a_spoilt_copy_is_replaced(machine: Machine, publisher: Publisher, spoilt: str) -> None:
    program = fill(machine.cache / FOLDER) / "kubectl"
    program.unlink() if spoilt == "missing" else program.chmod(0o644)
    assert binaries.locate(machine.cache, {}) is None
    assert machine.find().origin == "official release"
    assert binaries.lacking(machine.cache / FOLDER) == []


def test_a_download_is_cached(machine: Machine, publisher: Publisher) -> None:
    go = machine.install_go()
    first = machine.find()
    publisher.files.clear()
    second = machine.find()
    assert (first.origin, second.origin) == ("official release", "cache")
    assert first.folder == second.folder
    assert sorted(os.listdir(machine.cache)) == ["controlplane.lock", FOLDER]
    assert go.calls == []


def test_a_build_where_nothing_can_be_downloaded(machine: Machine) -> None:
    go = machine.install_go()
    assert machine.find().origin == "build from the Go modules"
    assert machine.find().origin == "cache"
    assert sum(call.startswith("build") for call in go.calls) == 1
    assert Path(go.build_environ["GOCACHE"]).is_relative_to(machine.cache)
    assert sorted(os.listdir(machine.cache)) == ["controlplane.lock", FOLDER], "the build cache was left"
    assert "official release: " in "\n".join(machine.told.lines)


def test_a_wrong_checksum_installs_nothing(machine: Machine, publisher: Publisher) -> None:
    publisher.files[f"{publisher.kubernetes}/kubectl"] += b"evil"
    with pytest.raises(LocalFailure, match="kubectl is rejected: its SHA-256 is"):
        machine.find()
    assert os.listdir(machine.cache) == ["controlplane.lock"]


def test_nothing_works(machine: Machine) -> None:
    with pytest.raises(LocalFailure) as failure:
        machine.find()
    text = str(failure.value)
    lines = [line.strip().partition(":")[0] for line in text.splitlines()]
    assert lines[1:5] == [
        "- KUBEBUILDER_ASSETS",
        "- cache",
        "- official release",
        "- build from the Go modules",
    ]
    assert "there is no Go toolchain on PATH" in text
    assert "install Go 1.26 or newer" in failure.value.hint


def test_a_build_that_fails_leaves_nothing(machine: Machine) -> None:
    machine.install_go().fail("no space left on device")
    with pytest.raises(LocalFailure, match="no space left on device"):
        machine.find()
    assert os.listdir(machine.cache) == ["controlplane.lock"]


def test_what_a_killed_fetch_left_is_cleared_away(machine: Machine, publisher: Publisher) -> None:
    left = machine.cache / "scratch-abc" / "gocache"
    left.mkdir(parents=True)
    machine.find()
    assert not left.exists()


def test_a_cache_that_cannot_be_written(machine: Machine) -> None:
    machine.cache.write_text("a file")
    with pytest.raises(LocalFailure, match=r"cannot be put into .*: (File exists|Not a directory)"):
        machine.find()


def test_two_at_once_build_once(machine: Machine) -> None:
    """The second comes while the first has the lock, waits, and finds what the first has brought."""
    go = machine.install_go()
    waiting = threading.Event()
    told = Told(lambda _: waiting.set())
    found: list[Binaries] = []

    def second() -> None:
        found.append(binaries.find(machine.cache, told, machine.environ, machine.sources))

    thread = threading.Thread(target=second)
    with lock.exclusive(machine.cache / "controlplane.lock", "", silent()):
        thread.start()
        assert waiting.wait(10), "the second never said that it waits"
        fill(machine.cache / FOLDER)
    thread.join(10)
    assert [(one.folder, one.origin) for one in found] == [(machine.cache / FOLDER, "cache")]
    assert told.done == ["waiting: another process is fetching the control plane"]
    assert go.calls == []


@pytest.mark.parametrize(
    ("environ", "folder"),
    [({"XDG_CACHE_HOME": "/c", "HOME": "/h"}, "/c/stromboli"), ({"HOME": "/h"}, "/h/.cache/stromboli")],
)
def test_cache_folder(environ: dict[str, str], folder: str) -> None:
    assert binaries.cache_folder(environ) == Path(folder)
