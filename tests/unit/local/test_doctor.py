"""Findings on made-up machines: each missing part is named, with how to get it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from stromboli.controlplane import versions
from stromboli.controlplane.cluster import Cluster
from stromboli.local import doctor, machine
from stromboli.local.aggregation import Aggregation
from stromboli.local.gateway_process import Gateway
from stromboli.local.home import Home
from stromboli.local.http_api import HttpApi

Lay = Callable[..., Path]


def context(tmp_path: Path, *, rootless: bool = False, **environ: str) -> doctor.Context:
    given = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PATH": str(tmp_path / "empty"), **environ}
    return doctor.Context(Home(tmp_path / "home"), given, rootless)


@pytest.fixture
def lay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lay:
    """A machine with nothing on it, and a function that puts a program (a shell script) onto it."""
    programs = tmp_path / "bin"
    programs.mkdir()

    def find(name: str) -> Path | None:
        return programs / name if (programs / name).exists() else None

    def put(name: str, script: str = "") -> Path:
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
        return programs / name

    monkeypatch.setattr(machine, "which", find)
    monkeypatch.setattr(machine, "helper", find)
    return put


def test_podman_that_is_not_there(lay: Lay, tmp_path: Path) -> None:
    (check,) = doctor.podman(context(tmp_path))
    assert (check.ok, check.required, check.found) == (False, True, "not installed")
    assert check.hint.startswith("apt-get install podman")


@pytest.mark.parametrize(("version", "ok"), [("3.4.4", False), ("4.2.1", False), ("4.3.1", True), ("5.0.0-rc1", True)])
def test_podman_has_to_be_new_enough(lay: Lay, tmp_path: Path, version: str, ok: bool) -> None:
    lay("podman", f"echo podman version {version}")
    (check,) = doctor.podman(context(tmp_path))
    assert check.ok is ok


@pytest.mark.parametrize(
    ("cgroups", "installed", "ok"),
    [("hybrid", "crun", False), ("hybrid", "runc", True), ("v2", "crun", True), ("v2", "runc", True)],
)
def test_the_runtime_fits_the_cgroups(
    lay: Lay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cgroups: str, installed: str, ok: bool
) -> None:
    monkeypatch.setattr(machine, "cgroups", lambda: cgroups)
    lay(installed)
    (check,) = doctor.runtime(context(tmp_path))
    assert check.ok is ok
    assert "apt-get install" in check.hint


def test_helpers_by_name(lay: Lay, tmp_path: Path) -> None:
    lay("conmon")
    lacking = {c.name: c.required for c in doctor.helpers(context(tmp_path)) if not c.ok}
    assert lacking == {"netavark": True, "aardvark-dns": True, "iptables": True, "catatonit": False}


@pytest.mark.parametrize("usable", [True, False])
def test_busybox_has_to_be_one_that_the_supervisor_can_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, usable: bool
) -> None:
    monkeypatch.setattr("stromboli.attempt.busybox.is_usable", lambda path: usable)
    (check,) = doctor.busybox(context(tmp_path))
    assert check.ok is usable
    assert "apt-get install busybox-static" in check.hint


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("ann:100000:65536\n", 65536),
        ("1000:100000:1000\nann:200000:500\n", 1500),
        ("bob:100000:65536\n", 0),
        ("", 0),
        ("ann:broken\nann:1:x\n", 0),
    ],
)
def test_subordinate_ids(text: str, count: int) -> None:
    assert doctor.subordinate_ids(text, "ann", 1000) == count


def test_an_ordinary_user_is_told_what_rootless_lacks(lay: Lay, tmp_path: Path) -> None:
    assert doctor.rootless(context(tmp_path)) == []
    checks = doctor.rootless(context(tmp_path, rootless=True, USER="nobody-of-that-name"))
    hints = {c.name: c.hint for c in checks if not c.ok and c.required}
    assert hints["newuidmap"].startswith("apt-get install uidmap")
    assert hints["/etc/subuid"] == "usermod --add-subuids 100000-165535 nobody-of-that-name (as root)"


@pytest.mark.parametrize(
    ("cgroups", "rootless", "ok"), [("v2", True, True), ("hybrid", True, False), ("hybrid", False, True)]
)
def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cgroups: str, rootless: bool, ok: bool) -> None:
    monkeypatch.setattr(machine, "cgroups", lambda: cgroups)
    (check,) = doctor.cgroups(context(tmp_path, rootless=rootless))
    assert check.ok is ok
    assert not check.required


def test_control_plane_that_is_here(tmp_path: Path) -> None:
    assets = tmp_path / "assets"
    assets.mkdir()
    for name in versions.PROGRAMS:
        (assets / name).touch(mode=0o755)
    (check,) = doctor.control_plane(context(tmp_path, KUBEBUILDER_ASSETS=str(assets)))
    assert check.ok
    assert str(assets) in check.found


@pytest.mark.parametrize(("go", "ok"), [("go1.26.8", True), ("go1.21.0", True), ("go1.19", False)])
def test_control_plane_by_go(lay: Lay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, go: str, ok: bool) -> None:
    monkeypatch.setattr(doctor, "_reaches", lambda host: False)
    folder = lay("go", f"echo {go}").parent
    (check,) = doctor.control_plane(context(tmp_path, PATH=str(folder)))
    assert check.ok is ok


def test_no_way_to_a_control_plane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_reaches", lambda host: False)
    monkeypatch.setattr("stromboli.controlplane.build.ELSEWHERE", str(tmp_path))
    (check,) = doctor.control_plane(context(tmp_path))
    assert not check.ok
    assert "KUBEBUILDER_ASSETS" in check.hint


@pytest.mark.parametrize(
    ("process", "way", "found"),
    [
        (None, None, "reached through the API server"),
        ("it is not running", "never asked", "it is not running"),
        (None, "the API server answers 503", "the API server answers 503"),
    ],
)
def test_the_gateway_of_an_installation_that_is_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, process: str | None, way: str | None, found: str
) -> None:
    given = context(tmp_path)
    monkeypatch.setattr(Gateway, "problem", lambda self: process)
    monkeypatch.setattr(Aggregation, "problem", lambda self: way)
    assert doctor.gateway(given) == [], "there is no installation"
    given.home.ensure()
    assert doctor.gateway(given) == [], "its control plane is down"
    monkeypatch.setattr(Cluster, "get", lambda self, path: (200, "ok"))
    check, *http = doctor.gateway(given)
    assert (check.ok, check.found) == (process is way is None, found)
    assert "no namespace of this installation can be deleted" in check.hint
    assert bool(http) is check.ok, "without the gateway there is none"


@pytest.mark.parametrize("trouble", [None, "it answers 503: the API server is away"])
def test_the_http_api_can_serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str | None) -> None:
    monkeypatch.setattr(HttpApi, "trouble", lambda self: trouble)
    api = HttpApi(Home(tmp_path), {})
    api.record(("127.0.0.1", 8080))
    check = doctor.http_api(api)
    assert (check.name, check.ok, check.required) == ("HTTP API", trouble is None, True)
    assert check.found == (trouble or "http://127.0.0.1:8080")


@pytest.mark.parametrize(("gib", "ok", "required"), [(1, False, True), (5, False, False), (50, True, False)])
def test_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gib: int, ok: bool, required: bool) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=gib * 1024**3)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    (check,) = doctor.disk(context(tmp_path))
    assert (check.ok, check.required) == (ok, required)


def test_what_is_missing_and_not_ok_always_says_what_to_do(
    lay: Lay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_reaches", lambda host: False)
    checks = doctor.examine(context(tmp_path, rootless=True))
    assert len(checks) > 10
    assert [c.name for c in checks if not c.ok and not c.hint] == []


@pytest.mark.parametrize(
    ("installed", "tun", "ok", "said"),
    [
        ("", True, False, "neither slirp4netns nor pasta is installed"),
        ("slirp4netns", False, False, "/dev/net/tun is not usable by this user"),
        ("slirp4netns", True, True, "slirp4netns, /dev/net/tun"),
        ("pasta", True, True, "pasta, /dev/net/tun"),
    ],
)
def test_the_network_of_an_ordinary_user(
    installed: str, tun: bool, ok: bool, said: str, lay: Lay, monkeypatch: pytest.MonkeyPatch
) -> None:
    if installed:
        lay(installed)
    monkeypatch.setattr(machine, "has_tun", lambda: tun)
    check = doctor.network()
    assert (check.ok, check.found, check.required) == (ok, said, False)
    assert check.hint, "what to do"


def test_a_device_is_usable_if_it_can_be_opened(tmp_path: Path) -> None:
    """Its mode does not say: a container may forbid what it allows."""
    assert machine.has_tun(Path("/dev/null"))
    assert not machine.has_tun(tmp_path / "missing")
    (tmp_path / "socket").symlink_to(tmp_path / "socket")
    assert not machine.has_tun(tmp_path / "socket")
