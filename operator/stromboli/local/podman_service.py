"""Chooses the Podman that this installation uses, and starts and stops its API service if it is our own.

In this order: the one that the installation has used before; the one that `CONTAINER_HOST` names; this user's standard
socket, if something answers there; else a service of our own with its storage in the home. The choice is recorded,
since images and sessions are in that Podman's storage.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stromboli import environment, files
from stromboli.controlplane import processes
from stromboli.errors import InvalidSettings, LocalFailure
from stromboli.local import podman_config, rootless_network
from stromboli.local.detached import Detached
from stromboli.local.home import Home, mounts_below
from stromboli.local.images import PodmanCommand

_READY_SECONDS = 30.0  # it usually takes 0.1; after a reboot, Podman first checks its storage
_PING_SECONDS = 5.0
# Listing waits for each container's lock, which a start with a network on a loaded machine holds for seconds.
HANGS_AFTER = 30.0
_CLEANUP_SECONDS = 10.0  # timeout for Podman's cleanup processes; they take a fraction of a second
_AGAIN = 0.05
# Run in Podman's user namespace, whose mounts are invisible from outside: unmounts everything below $0 and removes $@.
# proc(5) writes a space in a mount point as \040, which printf's %b converts back.
UNMOUNT_AND_REMOVE = """\
while read -r _ _ _ _ point _; do
    point=$(printf %b "$point")
    case $point in "$0"/*) umount -l "$point" ;; esac
done </proc/self/mountinfo
rm -rf "$@"
"""


@dataclass(frozen=True, slots=True)
class PodmanService:
    """The Podman of `home`, for a shell with the environment `environ`."""

    home: Home
    environ: Mapping[str, str]

    @property
    def process(self) -> Detached:
        return Detached("podman", self.home)

    @property
    def socket(self) -> Path:
        """The socket that is in use, or that the next `up` would use."""
        return self._remembered() or self._given() or self._standard() or self.home.podman_socket

    @property
    def own(self) -> bool:
        """Whether the service and its storage belong to this installation only."""
        return self.socket == self.home.podman_socket

    @property
    def command(self) -> PodmanCommand:
        """The `podman` command for this Podman: directly on the storage if it is our own, else over the socket."""
        if self.own:
            return PodmanCommand(podman_config.env(self.home, self.environ))
        return PodmanCommand({**self.environ, "CONTAINER_HOST": f"unix://{self.socket}"})

    def pid(self) -> int | None:
        """The PID of our own service; None for another one, or if it is not running."""
        return self.process.pid()

    def answers(self) -> bool:
        return answers(self.socket)

    def up(self) -> bool:
        """Ensure that Podman answers, starting our own service if necessary; True if it was started."""
        chosen = self.socket
        files.write_private(self.home.container_host, f"unix://{chosen}\n".encode())
        if chosen != self.home.podman_socket:
            if not answers(chosen):
                raise LocalFailure(
                    f"Podman does not answer on {chosen}, whose storage has this installation's images and sessions",
                    "start it (systemctl start podman.socket), or remove the installation (`stromboli down --purge`)",
                )
            if not works(chosen):
                raise LocalFailure(
                    f"Podman on {chosen} hangs: it answers a ping, but does not list its containers",
                    "restart it (systemctl restart podman.service)",
                )
            return False
        started = self.pid() is None or not works(chosen)
        if started:
            self._start()
        if os.getuid() != 0:
            self._heal_network()
        return started

    def down(self) -> bool:
        """Stop our own service; containers keep running. False if it was not running."""
        return self.process.stop()

    def rootless(self) -> bool:
        """Whether it is run by an ordinary user. Raises LocalFailure if Podman cannot tell."""
        if self.own or os.getuid() == 0:
            return os.getuid() != 0
        return self._info("{{.Host.Security.Rootless}}") == "true"

    def stores_in_home(self) -> bool:
        """Whether Podman itself reports that its storage is in the home. Raises LocalFailure if it reports nothing."""
        return Path(self._info("{{.Store.GraphRoot}}")).is_relative_to(self.home.podman)

    def remove_storage(self) -> None:
        """Unmount and remove our own Podman's storage. Its service must be down, and its containers removed."""
        if not self.home.podman.is_dir():
            return
        self._await_cleanups()
        for point in mounts_below(self.home.podman):
            subprocess.run(["umount", "--lazy", point], capture_output=True, timeout=30, check=False)
        if os.getuid() != 0:
            self._remove_as_mapped_root()

    def _await_cleanups(self) -> None:
        """Wait until the processes that Podman starts to clean up after a container's end, and that mount the storage,
        have exited.
        """
        limit = time.monotonic() + _CLEANUP_SECONDS
        while processes.mentioning(str(self.home.podman)) and time.monotonic() < limit:
            time.sleep(_AGAIN)

    def _remove_as_mapped_root(self) -> None:
        """Remove what belongs to subordinate ids, which is possible in Podman's user namespace only."""
        folders = [*self.home.podman.iterdir(), self.home.root / "sessions"]
        inside = [str(p) for p in folders if p.is_dir() and p.name not in ("run", "tmp")]  # Podman itself uses those
        env = podman_config.env(self.home, self.environ)
        done = subprocess.run(
            ["podman", "unshare", "sh", "-c", UNMOUNT_AND_REMOVE, str(self.home.podman), *inside],
            env=env,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        if done.returncode:
            raise LocalFailure(
                f"Podman's storage cannot be removed: {done.stderr.strip()}", f"see what is left in {self.home.podman}"
            )
        # Ends the process that keeps the user namespace and its mounts alive.
        subprocess.run(["podman", "system", "migrate"], env=env, capture_output=True, timeout=60, check=False)

    def _heal_network(self) -> None:
        try:
            rootless_network.heal(self.home.podman, self.command)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as e:
            raise LocalFailure(
                "the network namespace that Podman left incomplete cannot be removed",
                "run `stromboli down`, then `podman system migrate`, then `stromboli up`",
            ) from e

    def _info(self, template: str) -> str:
        try:
            return self.command.run("info", "--format", template, timeout=_READY_SECONDS).strip()
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as e:
            raise LocalFailure("`podman info` failed, or did not end in time", "check that `podman info` works") from e

    def _start(self) -> None:
        """Start our service, replacing one that has ended or hangs: a process's locks end with it."""
        self.process.stop()
        self.home.podman.mkdir(mode=0o700, exist_ok=True)
        podman_config.forget_last_boot(self.home)
        podman_config.write(self.home)
        self.home.podman_socket.unlink(missing_ok=True)
        # In a folder of ours: conmon creates an empty file `oom` in the service's working directory.
        service = ["podman", "system", "service", "--time=0", f"unix://{self.home.podman_socket}"]
        command = ["env", f"--chdir={self.home.podman}", *service]
        self.process.start(command, podman_config.env(self.home, self.environ))
        self.process.await_ready(lambda: answers(self.home.podman_socket), _READY_SECONDS)

    def _remembered(self) -> Path | None:
        try:
            return Path(self.home.container_host.read_text(encoding="utf-8").strip().removeprefix("unix://"))
        except FileNotFoundError:
            return None

    def _given(self) -> Path | None:
        try:
            return environment.podman_socket(self.environ) if self.environ.get("CONTAINER_HOST") else None
        except InvalidSettings as e:
            raise LocalFailure(str(e), "or unset it: if no Podman service answers then, one is started") from e

    def _standard(self) -> Path | None:
        path = environment.podman_socket({k: v for k, v in self.environ.items() if k != "CONTAINER_HOST"})
        return path if answers(path) else None


def answers(path: Path) -> bool:
    """Whether a Podman service answers on this socket, which may be left over from one that has ended."""
    return _says_yes(path, "/_ping", _PING_SECONDS)


def works(path: Path) -> bool:
    """Whether it lists its containers, too: a service that hangs on a container answers a ping but no list."""
    return _says_yes(path, "/v4.0.0/libpod/containers/json?all=true", HANGS_AFTER)


def _says_yes(path: Path, url: str, seconds: float) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(seconds)
        try:
            client.connect(str(path))
            client.sendall(f"GET {url} HTTP/1.0\r\n\r\n".encode())
            return b" 200 " in client.recv(64)
        except OSError:  # no such socket, nothing listening, or no answer
            return False
