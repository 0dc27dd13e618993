"""Downloads the Claude CLI's npm package with the npm client, for when the CLI's image cannot be pulled.

The package's archive is cached unchanged; its binary is streamed into an image's root filesystem and never unpacked to
disk. Which registry npm uses, and how, is up to npm's own configuration.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stromboli import bounds
from stromboli.controlplane import scratch
from stromboli.errors import LocalFailure
from stromboli.local.rootfs import Root
from stromboli.progress import Progress, Step

CLI = "bin/claude"  # where the operator looks for it in a CLI image
_BINARY = "package/claude"
_MACHINES = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}
_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+(?:-[0-9A-Za-z.-]+)?")
_HINT = (
    "install npm (apt-get install npm) and check that it reaches its registry (npm ping), or set "
    "STROMBOLI_AGENT_CLI_IMAGE to a CLI image that can be pulled"
)


def package_name(machine: str | None = None) -> str:
    """The package for a machine as `uname -m` names it (default: this one). Raises LocalFailure if there is none."""
    machine = machine or platform.machine()
    if machine not in _MACHINES:
        raise LocalFailure(f"there is no Claude CLI for {machine}", "use a machine with x86_64 or aarch64")
    return f"@anthropic-ai/claude-code-linux-{_MACHINES[machine]}"


def fetch(cache: Path, progress: Progress, environ: Mapping[str, str], version: str | None = None) -> Path:
    """Ensure the package's archive in the cache; returns its path. Without a `version`, that is the newest one in the
    cache, or else the newest published one.

    Raises LocalFailure if npm is missing, gets no answer, or does not find that version.
    """
    package, folder = package_name(), cache / "npm"
    if version is not None and not _VERSION.fullmatch(version):
        raise LocalFailure(f"{version!r} is not a version of the Claude CLI", "write it as 2.1.330")
    held = [p for p in _held(folder, package) if version in (None, version_of(p))]
    if held:
        return held[-1]
    folder.mkdir(parents=True, exist_ok=True)
    with progress.step(f"Claude CLI from npm ({package})", _HINT) as step:
        return _pack(package, version or "latest", folder, environ, step)


def version_of(archive: Path) -> str:
    """`2.1.330`, from the archive's file name."""
    found = re.search(rf"-({_VERSION.pattern})\.tgz$", archive.name)
    return found[1] if found else "0.0.0"


def newest(version: str) -> tuple[int, ...]:
    """A sort key: the numbers of a version."""
    return tuple(int(n) for n in re.findall(r"[0-9]+", version))


def write_root(root: Root, archive: Path, step: Step) -> None:
    """Write the root of a CLI image: `bin/claude` and its licence. Raises LocalFailure if the archive has no binary."""
    with tarfile.open(archive, "r|gz") as contents:
        for member in contents:
            content = contents.extractfile(member) if member.isreg() else None
            if content is None:
                continue
            if member.name == _BINARY:
                step.measured(content.tell, member.size)
                root.stream(CLI, content, member.size, mode=0o755)
                return
            if member.name == "package/LICENSE.md":
                root.file("LICENSE.md", content.read())
    raise LocalFailure(f"{archive.name} holds no {_BINARY}", f"remove {archive} and try again")


def _held(folder: Path, package: str) -> list[Path]:
    """The package's archives in the folder, newest last."""
    stem = package.removeprefix("@").replace("/", "-")
    return sorted(folder.glob(f"{stem}-*.tgz"), key=lambda p: newest(version_of(p)))


def _pack(package: str, version: str, folder: Path, environ: Mapping[str, str], step: Step) -> Path:
    npm = shutil.which("npm", path=environ.get("PATH"))
    if npm is None:
        raise LocalFailure("there is no npm on this machine", _HINT)
    # With a temporary npm cache: the package is stored once only, by us, and the cache's size shows the progress.
    with scratch.folder(folder) as place:
        step.measured(lambda: _largest(place))
        packed = subprocess.run(
            [
                npm,
                "pack",
                "--json",
                "--cache",
                f"{place}/cache",
                "--pack-destination",
                str(place),
                f"{package}@{version}",
            ],
            env=dict(environ),
            cwd=place,
            capture_output=True,
            text=True,
            check=True,
        )
        name = _packed(packed.stdout)
        step.note(version_of(Path(name)))
        step.done((place / name).stat().st_size)
        return (place / name).replace(folder / name)


def _packed(output: str) -> str:
    """The name of the archive that npm has made."""
    match _parsed(output):
        case [{"filename": str(name)}] if name:
            return Path(name).name
    raise LocalFailure("`npm pack` does not say what it has packed", _HINT)


def _parsed(output: str) -> Any:
    try:
        return bounds.json_document(output, bounds.ANSWER)
    except ValueError:
        return None


def _largest(folder: Path) -> int:
    """Size in bytes of the largest file in the folder, which is the archive that is being downloaded."""
    sizes = [0]
    for path in folder.rglob("*"):
        try:
            sizes.append(path.stat().st_size)
        except FileNotFoundError:  # npm has just moved it
            continue
    return max(sizes)
