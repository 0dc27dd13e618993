"""The build, with a `go` that only pretends: how it is called, what it says, what it refuses."""

from __future__ import annotations

import os
import select
import subprocess
from pathlib import Path

import pytest

from stromboli.controlplane import build, toolchain, versions
from stromboli.errors import LocalFailure
from stromboli.progress import silent
from tests.support.fake_go import FakeGo
from tests.support.told import Told


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(build, "ELSEWHERE", "")
    monkeypatch.setattr(build, "ROOM", 0)
    (tmp_path / "scratch" / "bin").mkdir(parents=True)
    return tmp_path / "scratch" / "bin"


def test_brings_all_four(tmp_path: Path, target: Path) -> None:
    told = Told()
    build.build(target, target.parent, "amd64", FakeGo(tmp_path / "go").environ(), told)
    assert sorted(os.listdir(target)) == sorted(versions.PROGRAMS)
    assert subprocess.run([target / "etcd"], capture_output=True, check=True).stdout == b"built\n"
    assert told.lines[0].startswith(f"building Kubernetes {versions.KUBERNETES} and etcd {versions.ETCD}")
    assert told.done == [
        "fetching Go modules: 2 fetched, the rest cached",
        "compiling the control plane: 3 of 3 packages (100 %)",
    ]


def test_how_go_is_called(tmp_path: Path, target: Path) -> None:
    go = FakeGo(tmp_path / "go")
    theirs = go.environ(GOFLAGS="-buildvcs=false", GOCACHE="/theirs", GOMODCACHE=str(tmp_path))
    build.build(target, target.parent, "arm64", theirs, silent())
    environ = go.build_environ
    assert [call.split()[0] for call in go.calls] == ["env", "list", "build"]
    assert "-X k8s.io/component-base/version.gitVersion=v" + versions.KUBERNETES in go.calls[2]
    assert go.calls[2].endswith(" ".join(build.PACKAGES))
    assert environ["GOFLAGS"] == "-buildvcs=false"
    assert environ["GOARCH"] == "arm64"
    assert environ["CGO_ENABLED"] == "0"
    assert Path(environ["GOCACHE"]).is_relative_to(target.parent)
    assert Path(environ["GOTMPDIR"]).is_relative_to(target.parent)
    assert {"go.mod", "go.sum"} <= set(go.module)


def test_modules_go_into_the_persons_own_cache_where_there_is_one(tmp_path: Path, target: Path) -> None:
    """Where there is none, they go with the scratch folder: a build leaves nothing that nobody asked for."""
    go = FakeGo(tmp_path / "go")
    scratch = tmp_path / "scratch"
    build.build(target, scratch, "amd64", go.environ(GOPATH=f"{tmp_path}/path:/other", GOFLAGS="-v"), silent())
    assert go.build_environ["GOMODCACHE"] == str(scratch / "gomodcache")
    assert go.build_environ["GOFLAGS"] == "-v -modcacherw", "what is read-only cannot be removed"
    (tmp_path / "path/pkg/mod").mkdir(parents=True)
    again = tmp_path / "again"
    (again / "bin").mkdir(parents=True)
    build.build(again / "bin", again, "amd64", go.environ(GOPATH=f"{tmp_path}/path:/other"), silent())
    assert "GOMODCACHE" not in go.build_environ


@pytest.mark.parametrize("version", ["go1.25.9", "go1.3", "devel +abc", ""])
def test_a_go_that_is_too_old(tmp_path: Path, target: Path, version: str) -> None:
    go = FakeGo(tmp_path / "go", version)
    with pytest.raises(LocalFailure, match=r"Go 1\.26 or newer is needed"):
        build.build(target, target.parent, "amd64", go.environ(), silent())
    assert len(go.calls) == 1


@pytest.mark.parametrize("version", ["go1.26", "go1.26rc1", "go1.27.1", "go2.0"])
def test_a_go_that_is_new_enough(tmp_path: Path, target: Path, version: str) -> None:
    build.build(target, target.parent, "amd64", FakeGo(tmp_path / "go", version).environ(), silent())
    assert (target / "etcd").exists()


def test_no_go_at_all(target: Path) -> None:
    with pytest.raises(LocalFailure, match="there is no Go toolchain on PATH"):
        build.build(target, target.parent, "amd64", {"PATH": "/nowhere"}, silent())


def test_no_room(tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "ROOM", 10**18)
    go = FakeGo(tmp_path / "go")
    with pytest.raises(LocalFailure, match=r"a build needs 1000000000 GB at .*, but [\d.]+ GB are free"):
        build.build(target, target.parent, "amd64", go.environ(), silent())
    assert [call.split()[0] for call in go.calls] == ["env"]


def test_a_build_that_fails_shows_why(tmp_path: Path, target: Path) -> None:
    go = FakeGo(tmp_path / "go")
    go.fail("k8s.io/api/types.go:1:1: no such thing\nverifying module: checksum mismatch")
    with pytest.raises(LocalFailure, match=r"(?s)`go build .*` failed with exit code 1:.*checksum mismatch"):
        build.build(target, target.parent, "amd64", go.environ(), silent())


def test_lines_come_as_they_are_written(tmp_path: Path) -> None:
    script = "echo one >&2; read line; echo $line >&2; printf three >&2"
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    command = ["/bin/sh", "-c", f'exec <"{fifo}"; {script}']
    # Opened for both, so that neither side waits for the other.
    with (
        fifo.open("r+b", buffering=0) as answer,
        toolchain.running(command, tmp_path, {"PATH": os.defpath}) as lines,
    ):
        assert next(lines) == "one"
        answer.write(b"two\n")
        assert list(lines) == ["two", "three"]


def test_a_command_left_early_is_ended_with_its_children(tmp_path: Path) -> None:
    command = ["/bin/sh", "-c", "sleep 600 & echo $! >&2; wait"]
    children: list[int] = []

    def interrupted() -> None:
        with toolchain.running(command, tmp_path, {"PATH": os.defpath}) as lines:
            children.append(os.pidfd_open(int(next(lines))))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    poll = select.poll()
    poll.register(children[0], select.POLLIN)
    assert poll.poll(10_000), "the child goes on sleeping"
    os.close(children[0])
