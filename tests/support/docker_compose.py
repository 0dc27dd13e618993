"""Docker's own docker-compose, version 2, from Debian 13's package: what the project's stacks are compared with.

It is unpacked, not installed. The machine may run another release of Debian: the package comes from the mirror that apt
uses here, with that release's lists in a folder of their own.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from stromboli.errors import LocalFailure
from tests.support.images import cache_folder, taking_turns

RELEASE = "trixie"
_PACKAGE = "docker-compose"
_PROGRAM = "usr/libexec/docker/cli-plugins/docker-compose"
_KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
_HINT = "check that apt works on this machine (`apt-get update`), and that it uses a mirror of Debian"


def program(environ: Mapping[str, str] = os.environ) -> Path:
    """The program; the first time it is downloaded into the cache. Raises LocalFailure, which says why it cannot be."""
    kept = cache_folder(environ) / "programs" / _PACKAGE
    with taking_turns(environ):
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
                try:
                    _download(Path(folder), environ).rename(kept)
                except (subprocess.CalledProcessError, OSError) as e:
                    said = str(getattr(e, "stderr", "") or e).strip().splitlines()[-1:]
                    raise LocalFailure(f"docker-compose cannot be downloaded: {' '.join(said)}", _HINT) from e
    return kept


def _download(folder: Path, environ: Mapping[str, str]) -> Path:
    for name in ("lists/partial", "state", "cache/archives/partial", "unpacked"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    (folder / "sources.list").write_text(f"deb [signed-by={_KEYS}] {_mirror(environ)} {RELEASE} main\n")
    options = {
        "Dir::State": folder / "state",
        "Dir::State::status": folder / "status",
        "Dir::State::lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "APT::Sandbox::User": "root",
    }
    apt = ["apt-get", "-qq", *(f"-o{key}={value}" for key, value in options.items())]
    for command in ([*apt, "update"], [*apt, "download", _PACKAGE]):
        subprocess.run(command, cwd=folder, env=dict(environ), capture_output=True, text=True, check=True)
    (package,) = folder.glob(f"{_PACKAGE}_*.deb")
    subprocess.run(["dpkg-deb", "--extract", package, folder / "unpacked"], check=True, capture_output=True)
    return folder / "unpacked" / _PROGRAM


def _mirror(environ: Mapping[str, str]) -> str:
    """The address from which apt gets Debian's main packages on this machine."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Component: main"]
    listed = subprocess.run(command, env=dict(environ), capture_output=True, text=True, check=True).stdout.split()
    found = [address for address in listed if address.rstrip("/").endswith("/debian")]
    if not found:
        raise LocalFailure("docker-compose cannot be downloaded: apt has no mirror of Debian here", _HINT)
    return found[0]
