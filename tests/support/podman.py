"""An isolated Podman for tests: its storage, locks, networks and socket are separate from the machine's.

`IsolatedPodman` is a plain context manager; the one that a session's tests share is in session_podman.py. The only
image built here has a static busybox and nothing else; images with an operating system are in `images.py`.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from stromboli.controlplane import processes
from stromboli.local.podman_service import UNMOUNT_AND_REMOVE
from tests.support.ordinary_user import OrdinaryUser

BUSYBOX = Path("/bin/busybox")  # Debian's busybox-static
BUSYBOX_IMAGE = "localhost/stromboli-test/busybox:1"
APPLETS = (
    "cat",
    "dd",
    "echo",
    "env",
    "false",
    "id",
    "ln",
    "ls",
    "mkdir",
    "mkfifo",
    "rm",
    "sh",
    "sleep",
    "touch",
    "true",
    "wc",
)
UNTIL_ANSWERS = 15.0  # seconds; the service answers in about 0.1
UNTIL_ENDED = 20.0
REMOVALS = 3

_CONTAINERS_CONF = """\
[containers]
# Raising a limit needs CAP_SYS_RESOURCE; soft must equal hard, since the API of 4.3.1 swaps them.
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
# The shm lock would be shared with every other Podman of this user. `static_dir` is deliberately not set:
# with it the clean-up process uses another folder, and every wait takes 20 s.
lock_type = "file"
tmp_dir = "{root}/tmp"
volume_path = "{root}/volumes"
{runtime}
[network]
# Unless it is set, Podman 4.3 takes CNI for a storage that has images already.
network_backend = "netavark"
network_config_dir = "{root}/net"
# By default every Podman takes the first subnet that it has no network for, unless that is up at this moment.
default_subnet_pools = [{{"base" = "{subnets}", "size" = 24}}]
"""
_STORAGE_CONF = """\
[storage]
driver = "overlay"
graphroot = "{root}/graph"
rootless_storage_path = "{root}/graph"
runroot = "{root}/runroot"
"""
_REGISTRY_CONF = """\
[[registry]]
location = "{location}"
insecure = true
"""


class IsolatedPodman:
    """Podman in a folder of its own; a context manager that starts the API service, and removes everything at the end.

    `insecure` lists registries (`127.0.0.1:5000`) to be used without TLS; `registries` comes before them in its
    registries.conf. `env` is the complete environment for a
    `podman` command that uses the same storage. With a `user` it is that user's rootless Podman.
    """

    def __init__(
        self,
        root: Path | None = None,
        *,
        insecure: Sequence[str] = (),
        registries: str = "",
        user: OrdinaryUser | None = None,
    ) -> None:
        # A fresh folder with a short name: a Unix socket's path has at most 107 bytes.
        self.root = root or Path(tempfile.mkdtemp(prefix="stromboli-podman-"))
        self._user = user
        self.socket = self.root / "podman.sock"
        self.log = self.root / "service.log"
        self.env = self._environment()
        self._service: subprocess.Popen[bytes] | None = None
        self._write_configuration(registries + "".join(_REGISTRY_CONF.format(location=each) for each in insecure))
        if user is not None:
            user.owns(self.root)

    def __enter__(self) -> Self:
        self.start_service()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The PID of the service."""
        if self._service is None:
            raise RuntimeError("the Podman service is not started")
        return self._service.pid

    def run(self, *args: str, stdin: bytes | IO[bytes] | None = None, timeout: float = 120) -> str:
        """Run `podman ARGS` on this storage. Returns its output, stripped; raises RuntimeError with its stderr."""
        given = {"input": stdin} if isinstance(stdin, bytes) else {"stdin": stdin or subprocess.DEVNULL}
        done = subprocess.run(
            ["podman", *args],
            env=self.env,
            capture_output=True,
            timeout=timeout,
            check=False,
            **given,
            **self._identity,
        )
        if done.returncode:
            raise RuntimeError(f"podman {' '.join(args)} → {done.returncode}: {done.stderr.decode()}")
        output: bytes = done.stdout
        return output.decode().strip()

    def remove_containers(self, *which: str) -> None:
        """Remove containers by name, if they exist, or with `--all`, running or not.

        Podman fails when one of them ends by itself at that moment; the next try finds it ended.
        """
        for _ in range(REMOVALS - 1):
            with contextlib.suppress(RuntimeError):
                return self._remove_containers(*which)
        return self._remove_containers(*which)

    def _remove_containers(self, *which: str) -> None:
        self.run("rm", "--force", "--ignore", "--time", "0", "--volumes", *which)

    def start_service(self) -> None:
        """Start `podman system service` and return once it answers; no-op while one is running."""
        if self._service is not None and self._service.poll() is None:
            return
        self.socket.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self._service = subprocess.Popen(
                ["podman", "system", "service", "--time=0", f"unix://{self.socket}"],
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                # conmon drops an empty file `oom` into the service's working directory
                **self._identity | {"cwd": self.root},
            )
        self._await_answer(self._service)

    def kill_service(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Kill the service, like a crash; its containers keep running."""
        if self._service is None:
            return
        # The whole group: a rootless service re-executes itself in a child, which does not always exit with its parent.
        os.killpg(self._service.pid, how)
        self._service.wait(UNTIL_ENDED)
        self._service = None

    def stop(self) -> None:
        """Stop the service and remove its containers, networks, mounts and files."""
        self.kill_service(signal.SIGTERM)
        try:
            self.remove_containers("--all")
            for network in self.run("network", "ls", "--format", "{{.Name}}").split():
                if network != "podman":  # the default network cannot be removed
                    self.run("network", "rm", "--force", network)
        finally:
            self._end_sleepers()
            self._await_cleanups()
            if self._rootless:
                self._leave_user_namespace()
            for mount in self._mounts():
                subprocess.run(["umount", "--lazy", mount], check=True, capture_output=True, timeout=30)
            shutil.rmtree(self.root)

    def _end_sleepers(self) -> None:
        """End what sleeps for five minutes after a command in a container, where the operator was killed meanwhile."""
        for pid in processes.mentioning(str(self.root)):
            with contextlib.suppress(OSError):
                if b"--exit-delay" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)

    def _await_cleanups(self) -> None:
        """Wait for the processes that Podman starts to clean up after a container: they mount the storage meanwhile."""
        limit = time.monotonic() + UNTIL_ENDED
        while pids := processes.mentioning(str(self.root)):
            assert time.monotonic() < limit, f"{pids} still work on {self.root}"
            time.sleep(0.02)

    def _leave_user_namespace(self) -> None:
        """Remove the files of subordinate IDs, and end the process that keeps the user namespace's mounts."""
        stored = [str(self.root / name) for name in ("graph", "volumes")]
        self.run("unshare", "sh", "-c", UNMOUNT_AND_REMOVE, str(self.root), *stored)
        self.run("system", "migrate")

    @property
    def _identity(self) -> dict[str, Any]:
        return self._user.identity if self._user else {}

    @property
    def _rootless(self) -> bool:
        return self._user is not None or os.geteuid() != 0

    def import_busybox(self, name: str = BUSYBOX_IMAGE) -> str:
        """Import an image with a static busybox, links for a few applets and no other file. Returns its name."""
        self.run("import", "--quiet", "--change", 'CMD ["/bin/sh"]', "-", name, stdin=_busybox_root())
        return name

    def _environment(self) -> dict[str, str]:
        given = self._user.environ if self._user else os.environ
        env = {k: v for k, v in given.items() if k not in ("CONTAINER_HOST", "CONTAINER_CONNECTION")}
        conf = self.root / "conf"
        if self._rootless:  # its runroot is in there regardless of storage.conf
            env["XDG_RUNTIME_DIR"] = str(self.root / "runtime")
        return env | {
            "CONTAINERS_CONF": str(conf / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(conf / "storage.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(conf / "registries.conf"),
            # runc, netavark and iptables are in sbin, which an ordinary user's PATH may lack.
            "PATH": given.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin",
            # Its processes are many and short; to collect less of their garbage saves a sixth of their CPU time.
            "GOGC": "400",
        }

    def _write_configuration(self, registries: str) -> None:
        for folder in ("conf", "tmp", "net", "runtime"):
            (self.root / folder).mkdir(mode=0o700 if folder == "runtime" else 0o755, parents=True, exist_ok=True)
        conf = self.root / "conf"
        containers = _CONTAINERS_CONF.format(root=self.root, runtime=_runtime_line(), subnets=_some_subnets())
        (conf / "containers.conf").write_text(containers)
        (conf / "storage.conf").write_text(_STORAGE_CONF.format(root=self.root))
        (conf / "registries.conf").write_text(registries)

    def _await_answer(self, service: subprocess.Popen[bytes]) -> None:
        limit = time.monotonic() + UNTIL_ANSWERS
        while time.monotonic() < limit:
            if service.poll() is not None:
                raise RuntimeError(f"the Podman service ended with {service.returncode}: {self._last_words()}")
            if _answers(self.socket):
                return
            time.sleep(0.02)
        raise TimeoutError(f"no answer on {self.socket} in {UNTIL_ANSWERS:.0f} s: {self._last_words()}")

    def _last_words(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]

    def _mounts(self) -> list[str]:
        """The mount points below our folder, innermost first."""
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        points = [line.split()[4].encode().decode("unicode_escape") for line in lines]
        return sorted((p for p in points if p.startswith(f"{self.root}/")), key=len, reverse=True)


def _runtime_line() -> str:
    """crun does not support cgroups v1 ("hybrid mode"), so runc is used there; with v2 the default applies."""
    return "" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else 'runtime = "runc"'


def _some_subnets() -> str:
    """128 subnets for a Podman of its own: not the first ones, which every other Podman takes."""
    return f"10.{random.randrange(96, 256)}.{random.choice((0, 128))}.0/17"


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(2)
        try:
            client.connect(str(path))
            client.sendall(b"GET /libpod/_ping HTTP/1.0\r\n\r\n")
            return b" 200 " in client.recv(64)
        except OSError:  # not there yet, or not listening yet
            return False


def _busybox_root() -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(BUSYBOX, "bin/busybox")
        for applet in APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        for folder, mode in (
            ("tmp", 0o1777),
            ("etc", 0o755),
            ("proc", 0o755),
            ("sys", 0o755),
            ("dev", 0o755),
        ):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            tar.addfile(entry)
    return archive.getvalue()
