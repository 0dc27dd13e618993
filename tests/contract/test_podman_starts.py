"""Starts that the real Podman and its runtime refuse, one per row: the cause, and the message for the user.

They are grouped into errors in the spec (which end a run at once), in the image, and on the node (which are temporary).
For services of stacks, there are those for good, which are not tried again at once, and all others.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stromboli.errors import NotFound, PodmanError, TooLittleMemory, Unmountable, Unstartable
from stromboli.plan import volumes
from stromboli.plan.verdict import Wait, verdict
from stromboli.plan.volumes import Volume
from stromboli.podman import Podman
from stromboli.reasons import Reason
from tests.contract.conftest import Bed
from tests.support.podman import BUSYBOX_IMAGE, IsolatedPodman

LONG = "x" * 300


@dataclass(frozen=True)
class Host:
    """Files and folders of the host to mount."""

    root: Path

    def volume(self, name: str, target: str, *, read_only: bool = False) -> Volume:
        return Volume(str(self.root / name), target, read_only)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    for folder in ("folder", "other"):
        (tmp_path / folder).mkdir()
    (tmp_path / "file").write_text("x")
    os.mkfifo(tmp_path / "fifo")
    return Host(tmp_path)


def _mounts(*mounted: Volume) -> dict[str, Any]:
    binds = [
        {
            "type": "bind",
            "source": v.host,
            "destination": v.container,
            "options": ["ro" if v.read_only else "rw", "rbind", "nosuid", "nodev"],
        }
        for v in mounted
    ]
    return {"mounts": binds}


async def _refused(bed: Bed, **fields: Any) -> PodmanError:
    with pytest.raises(PodmanError) as refused:
        await bed.run("true", image=bed.files, entrypoint=["/bin/busybox"], **fields)
    return refused.value


# --- errors in the spec: (source, target) of the mount, the target reported, and the user's message ---

Row = tuple[list[tuple[str, str, bool]], str, str]
SPEC: dict[str, Row] = {
    "a folder over the image's file": (
        [("folder", "/lib/real", False)],
        "/lib/real",
        "spec.volumes[0]: {root}/folder cannot be mounted at /lib/real: a folder can be mounted only where",
    ),
    "a file over the image's folder": (
        [("folder", "/w", False), ("file", "/lib", False)],
        "/lib",
        "spec.volumes[1]: {root}/file cannot be mounted at /lib: a folder can be mounted only",
    ),
    "below the image's file": ([("folder", "/lib/real/x", False)], "/lib/real/x", "spec.volumes[0]"),
    "a name that is too long": ([("folder", f"/{LONG}", False)], f"/{LONG}", "is longer than a path can be"),
    "a loop of links in the image": ([("folder", "/circle/x", False)], "/circle/x", "is a loop of links"),
    "in a read-only volume that has no such folder": (
        [("folder", "/w", True), ("other", "/w/inner", False)],
        "/w/inner",
        "spec.volumes[1]: {root}/other cannot be mounted at /w/inner: it lies in another volume, which is mounted "
        "read-only",
    ),
    "a read-only volume where Podman itself mounts": (
        [("folder", "/etc", True)],
        "/etc/hostname",
        "spec.volumes[0]: {root}/folder cannot be mounted at /etc: /etc/",
    ),
    "a place with a quote in its name": ([("folder", '/lib/real/a"b', False)], '/lib/real/a"b', "spec.volumes[0]"),
}


@pytest.mark.parametrize("what", SPEC)
async def test_a_volume_that_does_not_fit_is_the_specs_mistake(real: Bed, host: Host, what: str) -> None:
    written, target, said = SPEC[what]
    mounted = [host.volume(name, place, read_only=ro) for name, place, ro in written]
    error = await _refused(real, **_mounts(*mounted))
    assert isinstance(error, Unmountable)
    assert error.target.startswith("/etc/") if target.startswith("/etc/") else error.target == target
    refusal = volumes.misfit(error.target, error.why, mounted)
    assert refusal.reason is Reason.InvalidSpec
    assert said.format(root=host.root) in refusal.message


async def test_what_is_no_folder_and_no_file_is_mounted_like_a_file(real: Bed, host: Host) -> None:
    await real.run("true", **_mounts(host.volume("fifo", "/w")))


async def test_too_little_memory_is_the_specs_mistake(real: Bed) -> None:
    error = await _refused(real, resource_limits={"memory": {"limit": 2**20, "swap": 2**20}})
    assert isinstance(error, TooLittleMemory)


# --- errors in the image, or left by an earlier run ---


@pytest.mark.parametrize("target", ["/lib/real", "/lib/real/out"])
async def test_a_mount_of_stromboli_s_that_does_not_fit_is_the_image_s_mistake(
    real: Bed, host: Host, target: str
) -> None:
    error = await _refused(real, **_mounts(host.volume("folder", target)))
    assert isinstance(error, Unmountable)
    refusal = volumes.misfit(error.target, error.why, [host.volume("other", "/w")])
    assert refusal.reason is Reason.ImageIncompatible
    assert refusal.message.startswith(f"Stromboli's own mount at {target} does not fit what the image")


# --- temporary failures of the node ---

NODE: dict[str, dict[str, Any]] = {
    "a source that went away": _mounts(Volume("/nowhere/at/all", "/w", read_only=False)),
    "a device that is not there": {"devices": [{"path": "/dev/nowhere"}]},
    "a limit that may not be raised": {"r_limits": [{"type": "nofile", "soft": 2**30, "hard": 2**30}]},
    "a program that is not there": {"entrypoint": ["/nowhere"]},
    "a place in a tree of the kernel's": _mounts(Volume("/tmp", "/proc/x", read_only=False)),
}


@pytest.mark.parametrize("what", NODE)
async def test_what_the_node_cannot_do_now_is_tried_again(real: Bed, what: str) -> None:
    with pytest.raises(PodmanError) as refused:
        await real.run("true", **NODE[what])
    assert not isinstance(refused.value, Unmountable | TooLittleMemory | NotFound)
    waits = verdict(refused.value)
    assert isinstance(waits, Wait)
    assert waits.reason is Reason.PodmanUnavailable


# --- for good ---

FOR_GOOD: dict[str, dict[str, Any]] = {
    "a program that is nowhere in PATH": {"entrypoint": ["nowhere"]},
    "a program that is not there": {"entrypoint": ["/nowhere"]},
    "a program that is a folder": {"entrypoint": ["/etc"]},
    "a user whom the image lacks": {"user": "nobody-there"},
    "a group that the image lacks": {"user": "0:nobody-there"},
    "a folder to work in that the image lacks": {"work_dir": "/no/such"},
    "a limit that may not be raised": {"r_limits": [{"type": "nofile", "soft": 2**30, "hard": 2**30}]},
}


@pytest.mark.parametrize("what", FOR_GOOD)
async def test_what_can_never_be_started(real: Bed, what: str) -> None:
    with pytest.raises(Unstartable):
        await real.run("true", **FOR_GOOD[what])


async def test_a_port_that_is_taken(real: Bed) -> None:
    network = real.name()
    await real.podman.networks.create(network, real.mark, isolate=True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = {"container_port": 80, "host_ip": "127.0.0.1", "host_port": taken.getsockname()[1]}
        with pytest.raises(Unstartable, match="address already in use"):
            await real.run("true", netns={"nsmode": "bridge"}, Networks={network: {}}, portmappings=[port])


# --- for a while ---

# Netavark, but for one time for each file of this name.
BUSY = """#!/bin/sh
cat >{folder}/input
if rm {folder}/busy 2>/dev/null; then
  echo '{{"error": "IO error: it is busy"}}'; exit 1
fi
exec /usr/lib/podman/netavark "$@" <{folder}/input
"""


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[tuple[IsolatedPodman, Path]]:
    """A Podman whose netavark fails once for each time that a file is there."""
    program, flag = tmp_path / "netavark", tmp_path / "busy"
    program.write_text(BUSY.format(folder=tmp_path))
    program.chmod(0o755)
    podman = IsolatedPodman()
    conf = podman.root / "conf" / "containers.conf"
    found = f'[engine]\nhelper_binaries_dir = ["{tmp_path}", "/usr/lib/podman", "/usr/libexec/podman"]'
    conf.write_text(conf.read_text().replace("[engine]", found))
    with podman:
        podman.import_busybox()
        yield podman, flag


async def test_a_start_that_is_refused_once_has_run_nothing_and_then_succeeds(
    busy: tuple[IsolatedPodman, Path],
) -> None:
    """Both of a container that has never run, and of one that has."""
    isolated, flag = busy
    async with Podman(isolated.socket) as podman:
        await podman.networks.create("net", {}, isolate=True)
        body = {"image": BUSYBOX_IMAGE, "command": ["sleep", "60"], "netns": {"nsmode": "bridge"}}
        container = await podman.containers.create({**body, "Networks": {"net": {}}})
        for status, has_run in (("created", False), ("exited", True)):
            flag.touch()
            with pytest.raises(PodmanError, match="netavark: IO error: it is busy") as refused:
                await podman.containers.start(container)
            assert type(refused.value) is PodmanError
            assert refused.value.status == 500
            found = await podman.containers.inspect(container)
            assert found is not None
            assert (found.status, found.alive, found.started_at is not None) == (status, False, has_run)
            assert await podman.containers.start(container)
            assert await podman.containers.stop(container)
