"""Configuration files of our own Podman service: storage, locks and networks apart from the user's Podman.

Everything lies in the home, so that removing the home removes it all and nothing of the host's Podman is
touched. Registries stay the machine's own (registries.conf is not set). Starting the service is not here.
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
    """(Re)write both files and the folders that they name; idempotent."""
    for folder in (home.podman, *_volatile(home), home.podman / "networks"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (home.podman / "containers.conf").write_text(
        containers_conf(home.podman, machine.limits_ceiling(), machine.cgroups()), encoding="utf-8"
    )
    (home.podman / "storage.conf").write_text(storage_conf(home.podman), encoding="utf-8")


def env(home: Home, environ: Mapping[str, str] | None = None, *, rootless: bool | None = None) -> dict[str, str]:
    """The whole environment in which `podman` sees our storage and no other; `rootless`: whether a user's that is
    not root (default: this process's).
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
    """Rootless Podman has its `runroot` in XDG_RUNTIME_DIR, whatever storage.conf says. What else it looks for there
    stays the user's: registry logins (containers-auth.json(5)) and the bus to systemd, which makes the cgroups.
    """
    found = {"XDG_RUNTIME_DIR": str(home.podman / "run")}
    theirs = Path(environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}")
    if "REGISTRY_AUTH_FILE" not in environ and (theirs / "containers/auth.json").exists():
        found["REGISTRY_AUTH_FILE"] = str(theirs / "containers/auth.json")
    if "DBUS_SESSION_BUS_ADDRESS" not in environ and (theirs / "bus").exists():
        found["DBUS_SESSION_BUS_ADDRESS"] = f"unix:path={theirs}/bus"
    return found


def containers_conf(folder: Path, ceiling: Mapping[str, int] | None, cgroups: str) -> str:
    """containers.conf(5).

    `static_dir` is left out on purpose: with it Podman 4.3's clean-up process looks for its container
    elsewhere, and every wait takes 20 s.
    """
    lines = ["[engine]", 'events_logger = "file"']
    # The default, in shared memory, is one for all Podmans of a user.
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
        # Podman asks for more than it may give. Soft equals hard, since 4.3 swaps the two over its API.
        limits = ", ".join(f'"{name}={value}:{value}"' for name, value in sorted(ceiling.items()))
        lines += ["[containers]", f"default_ulimits = [{limits}]"]
    return "\n".join(lines) + "\n"


def storage_conf(folder: Path) -> str:
    """containers-storage.conf(5). Rootless Podman looks at its own key, and at no `graphroot`."""
    graph, run = _toml(folder / "storage"), _toml(folder / "run")
    lines = ["[storage]", 'driver = "overlay"', f"graphroot = {graph}", f"rootless_storage_path = {graph}"]
    return "\n".join([*lines, f"runroot = {run}"]) + "\n"


def forget_last_boot(home: Home) -> bool:
    """Drop what Podman noted about processes and mounts, if those are gone since; True if it did.

    Podman takes the loss of these folders for the sign of a reboot (they usually lie on tmpfs) and then
    sets all containers to stopped; finding them again, it would believe that everything still runs.
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
