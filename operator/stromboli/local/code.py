"""Whether a background process still runs the code on disk: a stamp of the package's files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import stromboli


def stamp(settings: bytes) -> str:
    """A hash of the names and times of the package's files, and of what else a process was started with."""
    files = sorted(p for p in Path(stromboli.__file__).parent.rglob("*") if p.suffix in (".py", ".sh"))
    listed = "\n".join(f"{p} {p.stat().st_mtime_ns}" for p in files)
    return hashlib.sha256(listed.encode() + settings).hexdigest()
