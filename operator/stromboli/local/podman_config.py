"""Configuration files of our own Podman service, whose storage, locks and networks are separate from the user's Podman.

Everything is in the home: removing the home removes all of it, and the host's Podman is not affected. The machine's own
registry configuration applies (registries.conf is not set). The service is started in `podman_service`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from stromboli.local import machine
from stromboli.local.home import Home

_ELSEWHERE = (
    "CONTAINER_HOST",
    "CONTAINER_CONNECTION",
    "DOCKER_HOST",
    "CONTAINERS_CONF_OVERRIDE",
    "STORAGE_DRIVER",
)


def write(home: Home) -> None:
    """Write both files, and ensure the folders that they name."""
    for folder in (home.podman, *_volatile(home), home.podman / "networks"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (home.podman / "containers.conf").write_text(
        containers_conf(home.podman, machine.limits_ceiling(), machine.cgroups()), encoding="utf-8"
    )
    (home.podman / "storage.conf").write_text(storage_conf(home.podman), encoding="utf-8")


def env(home: Home, environ: Mapping[str, str] | None = None, *, rootless: bool | None = None) -> dict[str, str]:
    """The whole environment in which `podman` uses our storage and no other. `rootless`: whether it is run by an
    ordinary user (default: whether this process is).
    """
    inherited = os.environ if environ is None else environ
    kept = {k: v for k, v in inherited.items() if k not in _ELSEWHERE}
    ours = {
        "CONTAINERS_CONF": str(home.podman / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(home.podman / "storage.conf"),
        "PATH": machine.path_with_sbin(),
    }
    return kept | (_of_a_user(home, kept) if (os.getuid() != 0 if rootless is None else rootless) else {}) | ours


def _of_a_user(home: Home, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that rootless Podman needs in addition. Its `runroot` is in XDG_RUNTIME_DIR, whatever storage.conf
    says. Other things that it looks for there remain the user's: registry logins (containers-auth.json(5)), and the
    D-Bus socket of systemd, which creates the cgroups.
    """
    found = {"XDG_RUNTIME_DIR": str(home.podman / "run")}
    theirs = Path(environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}")
    if "REGISTRY_AUTH_FILE" not in environ and (theirs / "containers/auth.json").exists():
        found["REGISTRY_AUTH_FILE"] = str(theirs / "containers/auth.json")
    if "DBUS_SESSION_BUS_ADDRESS" not in environ and (theirs / "bus").exists():
        found["DBUS_SESSION_BUS_ADDRESS"] = f"unix:path={theirs}/bus"
    return found


def containers_conf(folder: Path, ceiling: Mapping[str, int] | None, cgroups: str) -> str:
    """The content of containers.conf(5).

    `static_dir` is left out on purpose: with it, Podman 4.3's cleanup process looks for its container in another
    folder, and every wait takes 20 s.
    """
    lines = ["[engine]", 'events_logger = "file"']
    # By default, locks are in shared memory, which all Podmans of a user share.
    lines += [
        'lock_type = "file"',
        f"tmp_dir = {_toml(folder / 'tmp')}",
        f"volume_path = {_toml(folder / 'volumes')}",
    ]
    if cgroups == "hybrid":
        lines.append('runtime = "runc"')
    lines += [
        "[network]",
        'network_backend = "netavark"',
        f"network_config_dir = {_toml(folder / 'networks')}",
    ]
    if ceiling:
        # By default Podman requests higher limits than it may set. Soft equals hard, since 4.3's API swaps the two.
        limits = ", ".join(f'"{name}={value}:{value}"' for name, value in sorted(ceiling.items()))
        lines += ["[containers]", f"default_ulimits = [{limits}]"]
    return "\n".join(lines) + "\n"


def storage_conf(folder: Path) -> str:
    """The content of containers-storage.conf(5). Rootless Podman ignores `graphroot` and reads a key of its own."""
    graph, run = _toml(folder / "storage"), _toml(folder / "run")
    lines = ["[storage]", 'driver = "overlay"', f"graphroot = {graph}", f"rootless_storage_path = {graph}"]
    return "\n".join([*lines, f"runroot = {run}"]) + "\n"


def forget_last_boot(home: Home) -> bool:
    """Remove Podman's records of processes and mounts if those no longer exist; returns whether it did.

    Podman concludes from the absence of these folders, which are usually on a tmpfs, that the machine was rebooted, and
    then sets all containers to stopped. If it found them, it would believe that everything is still running.
    """
    note, now = home.podman / "epoch", machine.epoch()
    if note.is_file() and note.read_text(encoding="utf-8") == now:
        return False
    for folder in _volatile(home):
        shutil.rmtree(folder, ignore_errors=True)
    note.write_text(now, encoding="utf-8")
    return True


def _volatile(home: Home) -> tuple[Path, Path]:
    return home.podman / "run", home.podman / "tmp"


def _toml(path: Path) -> str:
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'
