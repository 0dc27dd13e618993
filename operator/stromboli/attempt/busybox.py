"""The static busybox that runs the supervisor: Debian's, checked before use and copied to the operator's home.

It must be static, since the image need not have any libraries, and of the containers' architecture.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Sequence
from pathlib import Path

from stromboli import elf
from stromboli.errors import InvalidElf, LocalFailure

CANDIDATES = (Path("/bin/busybox"), Path("/usr/bin/busybox"))

# `uname -m` → OCI's name, for the architectures of Debian's busybox-static.
_ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "i686": "386",
    "armv7l": "arm",
    "ppc64le": "ppc64le",
    "s390x": "s390x",
    "riscv64": "riscv64",
}


def path(home: Path) -> Path:
    """Its path below the operator's home."""
    return home / "bin" / "busybox"


def install(home: Path, candidates: Sequence[Path] = CANDIDATES) -> Path:
    """Ensure that `path(home)` is a static busybox, up to date with this machine's.

    The copy is renamed into place, so that attempts hard-linked to the previous one keep it. Raises LocalFailure if
    neither the machine nor the home has a usable busybox.
    """
    kept = path(home)
    found = next((c for c in candidates if is_usable(c)), None)
    if found is None:
        if is_usable(kept):
            return kept
        raise LocalFailure("there is no static busybox on this machine", "apt-get install busybox-static")
    if not _same(found, kept):
        kept.parent.mkdir(parents=True, exist_ok=True)
        new = kept.with_name(f".busybox.{os.getpid()}")
        shutil.copyfile(found, new)
        new.chmod(0o755)
        new.replace(kept)
    return kept


def is_usable(candidate: Path) -> bool:
    """Whether this is a statically linked ELF program for this machine."""
    try:
        with candidate.open("rb") as file:
            found = elf.read(file)
    except (OSError, InvalidElf):
        return False
    return found.interpreter is None and found.architecture == _ARCHITECTURES.get(platform.machine())


def _same(found: Path, kept: Path) -> bool:
    return kept.is_file() and kept.read_bytes() == found.read_bytes()
