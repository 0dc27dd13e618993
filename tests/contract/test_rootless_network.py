"""The incomplete network that rootless Podman leaves behind if /dev/net/tun is unusable, on the real one; and who may
use that device in tests.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from stromboli.attempt import busybox
from stromboli.local import podman_config, rootless_network
from stromboli.local.home import Home
from stromboli.local.images import PodmanCommand
from stromboli.podman import starts
from tests.support import tun
from tests.support.ordinary_user import OrdinaryUser, ordinary_user

# Podman asks it first for its options.
SLIRP4NETNS = """#!/bin/sh
case $1 in --help) echo --enable-ipv6; exit;; esac
echo 'open("/dev/net/tun"): Permission denied' >&2
exit 1
"""


@dataclass(frozen=True, slots=True)
class AsUser(PodmanCommand):
    """The command as run by an unprivileged user."""

    user: OrdinaryUser

    def run(self, *arguments: str, timeout: float | None = None, **more: str) -> str:
        done = self.attempt(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def attempt(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["podman", *arguments]
        return subprocess.run(
            command, env=self.environ, capture_output=True, text=True, timeout=60, check=False, **self.user.identity
        )


@pytest.fixture
def home() -> Iterator[tuple[Home, AsUser]]:
    """The Podman of a home whose user's slirp4netns exits at once, as it does without a usable device."""
    with ordinary_user() as user:
        home = Home(user.folder / "home")
        broken = user.folder / "bin" / "slirp4netns"
        broken.parent.mkdir()
        broken.write_text(SLIRP4NETNS)
        broken.chmod(0o755)
        environ = podman_config.env(home, user.environ, rootless=True)
        podman = AsUser({**environ, "PATH": f"{broken.parent}:{environ['PATH']}"}, user)
        home.ensure()
        podman_config.write(home)
        shutil.copy(next(filter(busybox.is_usable, busybox.CANDIDATES)), user.folder / "busybox")
        user.owns(user.folder)
        subprocess.run(["tar", "-cf", "root.tar", "busybox"], check=True, **user.identity)
        podman.run("import", "--quiet", "root.tar", "one")
        podman.run("network", "create", "net")
        yield home, podman
        podman.attempt("system", "reset", "--force")
        podman.attempt("system", "migrate")


def start(podman: AsUser) -> str:
    done = podman.attempt("run", "--rm", "--network=net", "one", "/busybox", "true")
    assert done.returncode != 0
    return done.stderr


def test_what_was_left_incomplete_is_made_anew(home: tuple[Home, AsUser]) -> None:
    folder, podman = home[0].podman, home[1]
    assert not rootless_network.heal(folder, podman), "nothing exists yet"
    first, second = start(podman), start(podman)
    assert "/dev/net/tun" in first
    assert "rootless netns" in second, "Podman takes the remains for a network"
    assert all(re.search(starts.NO_NETWORK, said) for said in (first, second)), "to try it again is of no use"
    assert rootless_network.heal(folder, podman)
    assert "/dev/net/tun" in start(podman), "it is retried, and reports the real cause"
    assert rootless_network.heal(folder, podman)
    assert list(Path(folder / "run/netns").iterdir()) == []


def can_open(device: Path, uid: int) -> bool:
    reading_and_writing = ["sh", "-c", f"exec 3<>{device}"]
    return subprocess.run(reading_and_writing, user=uid, group=uid, extra_groups=(), check=False).returncode == 0


@pytest.fixture
def device() -> Iterator[Path]:
    """In a folder that everybody may enter, which a test's own is not."""
    with tempfile.TemporaryDirectory(prefix="stromboli-tun-") as folder:
        Path(folder).chmod(0o755)
        device = Path(folder) / "tun"
        device.touch(mode=0o640)
        yield device


def test_tests_side_by_side_share_the_device(device: Path) -> None:
    mode = device.stat().st_mode
    with tun.usable(54321, device):
        with tun.usable(54322, device):
            assert [can_open(device, uid) for uid in (54321, 54322, 54323)] == [True, True, False]
        assert [can_open(device, uid) for uid in (54321, 54322)] == [True, False]
    assert not can_open(device, 54321)
    assert device.stat().st_mode == mode
