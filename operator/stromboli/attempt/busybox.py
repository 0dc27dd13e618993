"""The static busybox that the supervisor runs on: Debian's, looked at before it is trusted, kept in the home.

An image need bring nothing, so the binary must be static, and of the architecture that the containers have.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Sequence
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from stromboli.errors import LocalFailure

CANDIDATES = (Path("/bin/busybox"), Path("/usr/bin/busybox"))

# `uname -m` → the ELF header's machine (elf.h), for what Debian builds busybox-static for.
_MACHINES = {
    "x86_64": "EM_X86_64",
    "aarch64": "EM_AARCH64",
    "i686": "EM_386",
    "armv7l": "EM_ARM",
    "ppc64le": "EM_PPC64",
    "s390x": "EM_S390",
    "riscv64": "EM_RISCV",
}


def path(home: Path) -> Path:
    """Where the home keeps it."""
    return home / "bin" / "busybox"


def install(home: Path, candidates: Sequence[Path] = CANDIDATES) -> Path:
    """Have a static busybox at `path(home)`, the newest one of this machine.

    The copy is renamed into place, so that attempts that linked the one before keep theirs. Raises LocalFailure
    where the machine has no such busybox and the home has none from before.
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
    """Whether this is an ELF program for this machine that needs no dynamic loader."""
    try:
        with candidate.open("rb") as file:
            elf = ELFFile(file)
            loader = any(segment["p_type"] == "PT_INTERP" for segment in elf.iter_segments())
            return not loader and elf["e_machine"] == _MACHINES.get(platform.machine())
    except (OSError, ELFError):
        return False


def _same(found: Path, kept: Path) -> bool:
    return kept.is_file() and kept.read_bytes() == found.read_bytes()
