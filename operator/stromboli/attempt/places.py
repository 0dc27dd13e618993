"""Folders and files in the operator's home and on its tmpfs, as all of them are made. Calls block briefly."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stromboli.attempt.seals import Owner
from stromboli.errors import LocalFailure, NoSpace

_FULL = (errno.ENOSPC, errno.EDQUOT)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,127}")
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def names(folder: Path) -> set[str]:
    """The names in a folder, as far as they can be ours; none if there is no folder."""
    try:
        found = os.listdir(folder)
    except FileNotFoundError:  # it may have just been removed
        return set()
    return {name for name in found if _NAME.fullmatch(name)}


def is_name(name: str) -> bool:
    """Whether it can be the name of a folder of ours."""
    return _NAME.fullmatch(name) is not None


def checked(name: str) -> str:
    """The name. Raises ValueError if it cannot be that of a folder of ours."""
    if not is_name(name):
        raise ValueError(f"{name!r} cannot be the name of a folder")
    return name


@contextmanager
def watching_space(path: Path) -> Iterator[None]:
    """Raises NoSpace inside the block, where the file system is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise NoSpace(f"the file system of {path} is full: {error.strerror}; make room there") from error


def make_durable(folder: Path) -> None:
    """Ensure a private folder, and sync its directory entry to disk."""
    try:
        folder.mkdir(parents=True, mode=0o700)
    except FileExistsError:
        return
    parent = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


def make_private(folder: Path) -> None:
    """Ensure a folder that only this user can access; its parent may be world-writable, such as /dev/shm."""
    folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise LocalFailure(
            f"{folder} is not a folder that only this user can access, so no secrets are written there",
            f"remove it, or chmod 700 {folder}",
        )


def write(path: Path, content: bytes, mode: int, owner: Owner | None) -> None:
    """Create a file with exactly this mode, whatever the umask."""
    descriptor = os.open(path, _CREATE, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        if owner is not None:
            os.fchown(descriptor, *owner)
        os.fchmod(descriptor, mode)


def is_such(path: Path, content: bytes, mode: int, owner: Owner | None) -> bool:
    """Whether a file has these contents, this mode and this owner."""
    try:
        info = path.stat()
        same = stat.S_IMODE(info.st_mode) == mode and (owner is None or (info.st_uid, info.st_gid) == owner)
        return same and path.read_bytes() == content
    except OSError:
        return False


def rewritten(path: Path, content: bytes, mode: int, owner: Owner | None) -> bool:
    """Whether an existing file could be given these contents, mode and owner."""
    try:
        path.chmod(0o600)  # its own mode may not let its owner write
        with path.open("r+b") as file:
            file.write(content)
            file.truncate()
            if owner is not None:
                os.fchown(file.fileno(), *owner)
            os.fchmod(file.fileno(), mode)
    except OSError:
        return False
    return True
