"""Writing small files: whole or not at all, and readable by their owner only."""

from __future__ import annotations

import os
from pathlib import Path


def private_folder(path: Path) -> Path:
    """Make `path` with mode 0700, and give one that exists that mode."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)
    return path


def beginning(path: Path, size: int) -> bytes:
    """At most the first `size` bytes of a file, however large it is. Raises OSError."""
    with path.open("rb") as file:
        return file.read(size)


def write_private(path: Path, content: bytes) -> None:
    """Put `content` at `path` with mode 0600, by a rename; at no moment is a part of it to be seen. Raises OSError."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    new.replace(path)
