"""Facts about this machine that several modules here depend on. Read only; nothing is decided here.

What follows from them is decided in `podman_config` and `doctor`.
"""

from __future__ import annotations

import os
import resource
import shutil
from pathlib import Path

# runc, netavark and iptables are in sbin folders, which the PATH of an ordinary user or of a service may lack.
_SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")
_CGROUPS = Path("/sys/fs/cgroup")
_CAP_SYS_RESOURCE = 24  # linux/capability.h


def path_with_sbin() -> str:
    """PATH with the sbin folders appended."""
    given = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join([*given, *(folder for folder in _SBIN if folder not in given)])


def which(program: str) -> Path | None:
    """The path of a program on PATH or in a sbin folder; None if there is none."""
    found = shutil.which(program, path=path_with_sbin())
    return Path(found) if found else None


def helper(program: str) -> Path | None:
    """The path of one of Podman's helper programs: in its own folders (containers.conf(5), `helper_binaries_dir`), or
    as `which` finds it.
    """
    folders = ("/usr/local/libexec/podman", "/usr/local/lib/podman", "/usr/libexec/podman", "/usr/lib/podman")
    found = shutil.which(program, path=os.pathsep.join(folders))
    return Path(found) if found else which(program)


def cgroups(root: Path = _CGROUPS) -> str:
    """`v2`, `v1`, `hybrid` (v1 with v2 beside it, which crun refuses) or `none`."""
    if (root / "cgroup.controllers").exists():
        return "v2"
    if (root / "unified/cgroup.controllers").exists() or (root / "unified/cgroup.procs").exists():
        return "hybrid"
    return "v1" if (root / "memory").is_dir() else "none"


def has_tun(device: Path = Path("/dev/net/tun")) -> bool:
    """Whether this user can open the device for networks. Its mode is not enough: in a container, opening may still be
    forbidden.
    """
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def limits_ceiling() -> dict[str, int] | None:
    """The highest `nofile` and `nproc` for a container, if this process cannot raise limits; None if it can."""
    if os.getuid() != 0 or _has_capability(_CAP_SYS_RESOURCE):
        return None  # rootless Podman lowers the limits by itself
    # Podman 4.3 lowers its own nproc limit to pid_max when it starts, and its containers cannot exceed that.
    pids = int(Path("/proc/sys/kernel/pid_max").read_text(encoding="ascii"))
    return {"nofile": _hard(resource.RLIMIT_NOFILE, 1048576), "nproc": _hard(resource.RLIMIT_NPROC, pids)}


def epoch() -> str:
    """A text that changes when all earlier processes and mounts are gone: at a reboot, or at the restart of the
    container that this runs in.
    """
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    init = Path("/proc/1/stat").read_text(encoding="utf-8", errors="replace")
    return f"{boot} {init.rpartition(')')[2].split()[19]}"


def _hard(limit: int, most: int) -> int:
    hard = resource.getrlimit(limit)[1]
    return most if hard == resource.RLIM_INFINITY else min(hard, most)


def _has_capability(number: int) -> bool:
    status = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> number & 1)
