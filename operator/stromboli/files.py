"""Small file helpers: private folders, bounded reads, atomic writes readable by the owner only, files in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def private_folder(path: Path) -> Path:
    """Ensure that the folder `path` exists with mode 0700; parents are created. Raises OSError."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)
    return path


def beginning(path: Path, size: int) -> bytes:
    """The first `size` bytes of a file, or all of it if it is smaller. Raises OSError."""
    with path.open("rb") as file:
        return file.read(size)


def write_private(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically, by a rename, with mode 0600. Raises OSError."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    new.replace(path)


@contextmanager
def in_memory(content: bytes) -> Iterator[str]:
    """A path with that content inside the block, which never gets to a disk: OpenSSL loads keys from files only."""
    descriptor = os.memfd_create("stromboli", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
