"""An attempt's seals, which its supervisor can break and nothing in its container can restore.

A seal is an inode whose change time (ctime) the operator has recorded. Any change to an inode sets its ctime to the
present, and no system call sets it to anything else. So a seal once broken stays broken, whatever an agent removes,
restores or renames. There are two:

    out/        the folder itself: broken before anything from the image runs
    out/seal    a file: broken just before the CLI gets the prompt; removing or replacing it breaks it as well

An agent can only break them early, which harms only its own run. The record is the target of a symlink beside `out`,
out of reach of any container: a single fsync of the folder makes it durable together with the names. It is written
once, before the attempt can be started. Without it, both seals count as broken.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from stromboli.attempt.removal import remove_tree

Owner = tuple[int, int]  # uid, gid

NOTE = "sealed"
SEAL = "seal"
_SECOND = 1_000_000_000  # nanoseconds


@dataclass(frozen=True, slots=True)
class Broken:
    """Which seals are broken: `started` is that of `out/`, `sent` that of `out/seal`."""

    started: bool
    sent: bool


@dataclass(frozen=True, slots=True)
class _Inode:
    number: int
    changed: int  # nanoseconds since 1970

    @classmethod
    def of(cls, path: Path) -> _Inode | None:
        """The inode at this path; None if there is none, or if an agent took away the folder's permissions."""
        try:
            found = path.lstat()
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return None
        return cls(found.st_ino, found.st_ctime_ns)

    def as_busybox_prints_it(self) -> str:
        """`stat -c '%i %z'` in UTC."""
        seconds, rest = divmod(self.changed, _SECOND)
        return f"{self.number} {datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}.{rest:09d} +0000"


def make(attempt: Path, owner: Owner | None) -> None:
    """Create `out/` with its seals, owned by `owner`, and record them. Idempotent.

    An `out/` without a record was never mounted into a container: it is created again.
    """
    if os.path.lexists(attempt / NOTE):
        return
    out, seal = attempt / "out", attempt / "out" / SEAL
    remove_tree(out)
    out.mkdir(mode=0o700)
    seal.touch(mode=0o600)
    if owner is not None:
        for made in (seal, out):
            os.chown(made, *owner, follow_symlinks=False)
    whole = [_Inode.of(path) for path in (out, seal)]
    (attempt / NOTE).symlink_to(" ".join(f"{i.number}:{i.changed}" for i in whole if i is not None))
    folder = os.open(attempt, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def broken(attempt: Path) -> Broken:
    """Which of an attempt's seals are broken. Both are if there is no record of them, or if `out` is gone."""
    noted = _noted(attempt)
    if noted is None:
        return Broken(started=True, sent=True)
    out, seal = (_Inode.of(path) for path in (attempt / "out", attempt / "out" / SEAL))
    if out is None:
        return Broken(started=True, sent=True)
    return Broken(started=out != noted[0], sent=seal != noted[1])


def is_untouched(attempt: Path) -> bool:
    """Whether nothing can have run for the attempt yet: its seals do not exist yet, or neither is broken."""
    return not os.path.lexists(attempt / NOTE) or broken(attempt) == Broken(started=False, sent=False)


def for_supervisor(attempt: Path) -> bytes:
    """The two unbroken seals, one per line, as the supervisor prints them. Raises OSError without a record of them."""
    noted = _noted(attempt)
    if noted is None:
        raise FileNotFoundError(f"{attempt / NOTE} is missing or broken")
    return "".join(f"{inode.as_busybox_prints_it()}\n" for inode in noted).encode()


def _noted(attempt: Path) -> tuple[_Inode, _Inode] | None:
    try:
        out, seal = os.readlink(attempt / NOTE).split(" ")
        return _parse(out), _parse(seal)
    except (OSError, ValueError):
        return None


def _parse(text: str) -> _Inode:
    number, changed = text.split(":")
    return _Inode(int(number), int(changed))
