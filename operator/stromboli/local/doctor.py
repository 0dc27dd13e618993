"""Checks whether this machine has what a local installation needs, and says how to get what is missing; and, where an
installation is up, whether its API server reaches the gateway, and whether the HTTP API answers.

Each check is a function in `CHECKS`; nothing is installed or changed.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from stromboli.attempt import busybox as supervisor
from stromboli.controlplane import binaries, build, download, versions
from stromboli.controlplane.cluster import Cluster
from stromboli.local import machine
from stromboli.local.aggregation import Aggregation
from stromboli.local.gateway_process import Gateway
from stromboli.local.home import Home
from stromboli.local.http_api import HttpApi

_OLDEST_PODMAN = (4, 3)
_NEEDED_GIB, _BUILD_GIB = 3.0, 8.0  # a running installation; a control plane built from source
_SUBUIDS = 65536  # an image may use the uids 0 to 65535
_GIB = 1024**3
_GO_THAT_FETCHES_GO = (
    1,
    21,
)  # from this version on, go downloads the toolchain that a module requires: go.dev/doc/toolchain
_REACH_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. If a `required` one is not `ok`, an installation does not work; `hint` says what to do then."""

    name: str
    ok: bool
    found: str
    hint: str = ""
    required: bool = True

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Context:
    """The inputs of the checks, besides the machine itself."""

    home: Home
    environ: Mapping[str, str]
    rootless: bool


def examine(context: Context) -> list[Check]:
    """Run all checks, in the order in which to fix things."""
    return [check for find in CHECKS for check in find(context)]


def podman(context: Context) -> list[Check]:
    hint = _apt("podman", f"{'.'.join(map(str, _OLDEST_PODMAN))} or newer is needed")
    if (path := machine.which("podman")) is None:
        return [Check("podman", False, "not installed", hint)]
    done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30, check=False)
    version = re.search(r"(\d+)\.(\d+)\.\d+", done.stdout)
    ok = version is not None and (int(version[1]), int(version[2])) >= _OLDEST_PODMAN
    return [Check("podman", ok, f"{version[0] if version else done.stdout.strip()} ({path})", hint)]


def runtime(context: Context) -> list[Check]:
    mode = machine.cgroups()
    usable = ("runc",) if mode == "hybrid" else ("crun", "runc")
    paths = [path for name in usable if (path := machine.which(name))]
    why = "crun refuses this machine's hybrid cgroups" if mode == "hybrid" else "either will do"
    found = str(paths[0]) if paths else "not installed"
    return [Check(" or ".join(usable), bool(paths), found, _apt(usable[-1], why))]


def helpers(context: Context) -> list[Check]:
    """Without aardvark-dns, Podman only logs that services of a stack do not find each other."""
    wanted = ("netavark", "aardvark-dns", "conmon", "iptables")
    init = machine.helper("catatonit")
    hint = _apt("catatonit", "for services with init: true")
    return [
        *(_program(name, machine.helper(name)) for name in wanted),
        Check("catatonit", init is not None, str(init or "not installed"), hint, required=False),
    ]


def busybox(context: Context) -> list[Check]:
    hint = _apt("busybox-static", "the supervisor in every container runs on it")
    usable = [str(path) for path in supervisor.CANDIDATES if supervisor.is_usable(path)]
    return [Check("static busybox", bool(usable), usable[0] if usable else "none", hint)]


def rootless(context: Context) -> list[Check]:
    """For ordinary users only: subordinate ids, and the programs for a network."""
    if not context.rootless:
        return []
    return [
        _program("newuidmap", machine.which("newuidmap"), "uidmap"),
        *(_subordinate_ids(Path(name), context.environ) for name in ("/etc/subuid", "/etc/subgid")),
        _program("fuse-overlayfs", machine.which("fuse-overlayfs"), required=False),
        network(),
    ]


def network() -> Check:
    """Whether agents of an ordinary user can have a network. `up` uses this check, too."""
    name = "rootless network"
    helper = machine.which("pasta") or machine.which("slirp4netns")
    if helper is None:
        hint = "apt-get install slirp4netns (as root)"
        return Check(name, False, "neither slirp4netns nor pasta is installed", hint, required=False)
    usable = machine.has_tun()
    found = f"{helper.name}, /dev/net/tun" if usable else "/dev/net/tun is not usable by this user"
    return Check(name, usable, found, "modprobe tun && chmod 666 /dev/net/tun (as root)", required=False)


def cgroups(context: Context) -> list[Check]:
    mode = machine.cgroups()
    limits = mode == "v2" or (mode != "none" and not context.rootless)
    hint = (
        "limits of memory, cpus and pids are not enforced; rootless Podman needs cgroup v2 for them, rootful Podman "
        "any version"
    )
    return [Check("cgroups", limits, mode, hint, required=False)]


def secrets_in_memory(context: Context) -> list[Check]:
    ok = os.path.ismount("/dev/shm") and os.access("/dev/shm", os.W_OK)
    hint = "mount a tmpfs there, or name another one in STROMBOLI_RUNTIME_DIR: secrets are stored on it, never on disk"
    return [Check("/dev/shm", ok, "a writable tmpfs" if ok else "not a writable tmpfs", hint)]


def control_plane(context: Context) -> list[Check]:
    """Whether the control plane's programs and kubectl are on the machine, or can be obtained."""
    name = "control plane"
    if found := binaries.locate(binaries.cache_folder(context.environ), context.environ):
        return [Check(name, True, f"{found.folder} ({found.origin})")]
    if (go := _go_version(context.environ)) >= _GO_THAT_FETCHES_GO:
        return [Check(name, True, f"none yet; the first `up` builds it with Go {'.'.join(map(str, go))}")]
    if _reaches(urlsplit(download.OFFICIAL.kubernetes).hostname or ""):
        return [Check(name, True, "none yet; the first `up` downloads it")]
    wanted = ".".join(map(str, versions.GO))
    programs = ", ".join(versions.PROGRAMS)
    hint = f"install Go {wanted} or newer, or name a folder with {programs} in KUBEBUILDER_ASSETS"
    state = f"none; there is no Go {wanted} to build it, and {download.OFFICIAL.kubernetes} cannot be reached"
    return [Check(name, False, state, hint)]


def npm(context: Context) -> list[Check]:
    hint = _apt("npm", "the Claude CLI's image is built with it if no registry can be reached")
    path = machine.which("npm")
    return [Check("npm", path is not None, str(path or "not installed"), hint, required=False)]


def disk(context: Context) -> list[Check]:
    folder = next(p for p in (context.home.root, *context.home.root.parents) if p.exists())
    free = shutil.disk_usage(folder).free / _GIB
    hint = (
        f"{_NEEDED_GIB:.0f} GiB are needed ({_BUILD_GIB:.0f} to build the control plane): free some space, or set "
        "STROMBOLI_HOME to a folder on another disk"
    )
    found = f"{free:.1f} GiB free in {folder}"
    if free < _NEEDED_GIB:
        return [Check("disk space", False, found, hint)]
    return [Check("disk space", free >= _BUILD_GIB, found, hint, required=False)]


def gateway(context: Context) -> list[Check]:
    """Where a control plane runs: whether the read API is reached through it."""
    cluster = Cluster(context.home.controlplane)
    if not context.home.exists or cluster.get("/readyz")[0] != HTTPStatus.OK:
        return []
    problem = Gateway(context.home).problem() or Aggregation(cluster).problem()
    hint = (
        "`stromboli up` repairs it; until then logs, messages and images cannot be read, and no namespace of this "
        "installation can be deleted"
    )
    found = [Check("gateway", problem is None, problem or "reached through the API server", hint)]
    return [*found, http_api(Gateway(context.home).http_api)] if problem is None else found


def http_api(api: HttpApi) -> Check:
    """Whether the HTTP API can serve, where it is."""
    trouble = api.trouble()
    hint = "the gateway's log says more; `stromboli status` has its path, and `stromboli up` repairs what is down"
    return Check("HTTP API", trouble is None, trouble or str(api.url()), hint)


def architecture(context: Context) -> list[Check]:
    name = platform.machine()
    hint = "the Claude CLI is published for x86_64 and aarch64"
    return [Check("architecture", name in ("x86_64", "aarch64"), name, hint)]


CHECKS: tuple[Callable[[Context], list[Check]], ...] = (
    architecture,
    podman,
    runtime,
    helpers,
    busybox,
    rootless,
    cgroups,
    secrets_in_memory,
    control_plane,
    npm,
    disk,
    gateway,
)


def _program(name: str, path: Path | None, package: str = "", *, required: bool = True) -> Check:
    hint = _apt(package or name, "Podman needs it")
    return Check(name, path is not None, str(path or "not installed"), hint, required)


def _apt(package: str, why: str) -> str:
    return f"apt-get install {package} ({why})"


def _subordinate_ids(file: Path, environ: Mapping[str, str]) -> Check:
    user = environ.get("USER") or str(os.getuid())
    count = subordinate_ids(file.read_text(encoding="utf-8") if file.exists() else "", user, os.getuid())
    kind = "subuids" if file.name == "subuid" else "subgids"
    hint = f"usermod --add-{kind} 100000-165535 {user} (as root)"
    return Check(str(file), count >= _SUBUIDS, f"{count} ids for {user}", hint)


def subordinate_ids(text: str, user: str, uid: int) -> int:
    """How many ids subuid(5) assigns to a user, by name or uid."""
    fields = [line.split(":") for line in text.splitlines() if line.count(":") == 2]
    return sum(int(count) for owner, _, count in fields if owner in (user, str(uid)) and count.isdigit())


def _go_version(environ: Mapping[str, str]) -> tuple[int, ...]:
    """(major, minor) of the Go toolchain that a build would use; empty if there is none."""
    go = shutil.which("go", path=os.pathsep.join((environ.get("PATH", os.defpath), build.ELSEWHERE)))
    if go is None:
        return ()
    done = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, timeout=30, check=False)
    found = re.match(r"go(\d+)\.(\d+)", done.stdout)
    return (int(found[1]), int(found[2])) if found else ()


def _reaches(host: str) -> bool:
    try:
        socket.create_connection((host, 443), timeout=_REACH_SECONDS).close()
    except OSError:
        return False
    return True
