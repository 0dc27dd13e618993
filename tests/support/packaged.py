"""Images of packages for tests of what is found in an image: their programs, and dpkg's database of them.

They are looked into and never started, so what a program would need to run is left out. The names are Debian 12's.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from stromboli.local.images import PodmanCommand
from stromboli.local.rootfs import Root
from tests.support import images
from tests.support.images import Sources

BASE = ("base-files", "bash", "dash", "libc6")
PASSWD = b"root:x:0:0:root:/root:/bin/sh\nnode:x:1000:1000::/home/node:/bin/bash\n"
GROUP = b"root:x:0:\nnode:x:1000:\n"
STATUS = "var/lib/dpkg/status"
_WANTED = re.compile(
    r"usr/bin/|usr/lib/os-release$|etc/os-release$"
    r"|usr/lib(64|/[^/]+-linux-gnu)/(ld-linux[^/]*|libc)\.so\.[0-9]$"
)


@dataclass(frozen=True, slots=True)
class Packaged:
    """An image of BASE and these packages, without their dependencies.

    `removed` are packages that dpkg knows as removed. `files` come first, and `changes` are Containerfile instructions.
    """

    packages: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    files: Mapping[str, bytes] | None = None
    changes: tuple[str, ...] = ()

    def build(self, name: str, environ: Mapping[str, str], archives: Mapping[str, Path]) -> str:
        """Import it; `archives` are those of all packages. Returns its reference."""
        reference = f"localhost/packaged/{name}:1"
        debs = [archives[package] for package in (*BASE, *self.packages)]
        gone = [archives[package] for package in self.removed]
        PodmanCommand(environ).build(reference, lambda root: self._write(root, debs, gone), self.changes)
        return reference

    def _write(self, root: Root, debs: list[Path], gone: list[Path]) -> None:
        root.merged_usr()
        root.file("etc/passwd", PASSWD)
        root.file("etc/group", GROUP)
        root.symlink("usr/bin/sh", "dash")
        for path, content in (self.files or {}).items():
            root.file(path, content)
        known = [_paragraph(deb, "install ok installed") for deb in debs]
        known += [_paragraph(deb, "deinstall ok config-files") for deb in gone]
        root.file(STATUS, "\n".join(known).encode())
        root.packages(debs, lambda path: _WANTED.match(path) is not None)


def _paragraph(deb: Path, status: str) -> str:
    """What dpkg would write about a package: its control file and its status."""
    command = ["dpkg-deb", "--field", str(deb)]
    control = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    first, rest = control.split("\n", 1)
    return f"{first}\nStatus: {status}\n{rest}"


def fetched(images_of: Iterable[Packaged], environ: Mapping[str, str]) -> dict[str, Path]:
    """The archives of all packages of these images, by the package's name: apt takes seconds each time it is asked."""
    names = {name for each in images_of for name in (*BASE, *each.packages, *each.removed)}
    sources = Sources(images.cache_folder(environ), environ, images._progress())
    with images.taking_turns(environ):
        return {deb.name.partition("_")[0]: deb for deb in sources.exactly(*sorted(names))}


def version(archive: Path) -> str:
    """`git_1%3a2.39.5-0_amd64.deb` → `1:2.39.5-0`."""
    return archive.name.split("_")[1].replace("%3a", ":")
