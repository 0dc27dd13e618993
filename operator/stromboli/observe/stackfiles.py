"""The files of the node that a stack is made of: the compose files, `.env`, env files, and what these name.

They are read for a user by a process that may read more than the user. So a file is read only if every policy allows
its place, where all links lead; only if it is a regular file, which is known before it is opened; and only if it stays
the same while it is read. What was looked at is what is read: see pathwalk.py.

All of this blocks, and is called within `hostfiles.in_time`.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass

from stromboli import pathwalk
from stromboli.errors import Unreadable, Waiting
from stromboli.observe import hostfiles
from stromboli.observe.allowed import NOT_THERE, Allowed
from stromboli.pathwalk import Place
from stromboli.plan import volumes
from stromboli.plan.policy import VolumeList
from stromboli.reasons import Reason

MOST_FILES = 1_000
MOST_BYTES = 32 * 1024 * 1024  # of all files of a stack together
ATTEMPTS = 3  # to read a file that changes meanwhile
SETTLED = 0.05  # seconds since its last change after which a file counts as written
# Trees of the kernel: nothing there is a file of a project, and some of it is the operator's own.
_KERNELS = ("/proc", "/sys")
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class NodeFiles:
    """The files of one stack, as `compose.files.Files`: each is read once, and is missing for good if it was missing.

    For one thread.
    """

    def __init__(self, lists: Sequence[VolumeList]) -> None:
        """`lists` are those of all policies (`Effective.volumes`)."""
        self._allowed = Allowed.of(lists)
        self._touching = hostfiles.toucher()
        self._known: dict[str, bytes | Unreadable] = {}
        self._size = 0

    def read(self, path: str, longest: int) -> bytes:
        """As in `compose.files.Files`. Raises Unreadable, Waiting, Unanswered."""
        if path not in self._known:
            if len(self._known) >= MOST_FILES:
                raise Unreadable(f"is one too many: a stack may read {MOST_FILES} files")
            try:
                self._known[path] = self._read(path, longest)
            except Unreadable as problem:
                self._known[path] = problem
        known = self._known[path]
        if isinstance(known, Unreadable):
            raise known.with_traceback(None)  # it would grow
        if len(known) > longest:
            raise _too_long(longest)
        return known

    def _read(self, path: str, longest: int) -> bytes:
        for attempt in range(ATTEMPTS):
            if attempt > 0:
                time.sleep(SETTLED)
            try:
                with pathwalk.walked(path, touching=self._touching) as place:
                    self._check(path, place)
                    with self._touching(place.path):
                        content = _content(place, longest)
            except OSError as error:
                raise self._problem(path, error) from error
            except ValueError as error:  # a NUL, or what is no character
                raise Unreadable("has a name that no file can have") from error
            if content is not None:
                self._size += len(content)
                if self._size > MOST_BYTES:
                    raise Unreadable(f"is one too many: the files of a stack may have {MOST_BYTES} bytes together")
                return content
        raise Unreadable("was changed while it was read: try again")

    def _check(self, path: str, place: Place) -> None:
        if why := self._outside(path, place.path):
            raise Unreadable(why, permitted=False)
        if not place.regular:
            raise Unreadable(f"is {kind(place)}, not a regular file")

    def _outside(self, path: str, real: str) -> str | None:
        return outside(path, real, self._allowed, read_only=True)

    def _problem(self, path: str, error: OSError) -> Unreadable:
        """Raises Waiting if it is the file system's own trouble."""
        if error.errno == errno.EWOULDBLOCK:  # somebody has a lease on it
            return Unreadable("is being changed: try again")
        led = volumes.normal(error.filename) if isinstance(error.filename, str) else path
        if why := self._outside(path, led):
            return Unreadable(why, permitted=False)
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return Unreadable("is not there", missing=True)
        if error.errno in NOT_THERE or error.errno == errno.EPERM:
            return Unreadable(f"cannot be read ({error.strerror})")
        said = f"{path} cannot be read ({error.strerror}); the run continues when it can"
        raise Waiting(Reason.WaitingForReference, said, 10.0) from error


def outside(path: str, real: str, allowed: Allowed, *, read_only: bool) -> str | None:
    """Why a stack may not use what `path` leads to, which is `real`, as a predicate; None if it may.

    Where links lead outside of what the user may read is not said: anybody can make one, to the kernel's in /proc even.
    """
    why = allowed.forbidden(real, read_only=read_only)
    if why is None and any(real == tree or real.startswith(f"{tree}/") for tree in _KERNELS):
        why = "is the kernel's, and nothing of a project"
    if why is None or real == path:
        return why
    readable = allowed.forbidden(real, read_only=True) is None
    return f"leads to {real}, which {why}" if readable else f"leads by a link to a place that {why}"


def kind(place: Place) -> str:
    """What is there, for a message, if it is no regular file."""
    return _KINDS.get(stat.S_IFMT(place.info.st_mode), "something else")


@dataclass(frozen=True, slots=True)
class _Version:
    """What changes with each change of a file."""

    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, descriptor: int) -> _Version:
        info = os.fstat(descriptor)
        return cls(info.st_size, info.st_mtime_ns, info.st_ctime_ns)


def _content(place: Place, longest: int) -> bytes | None:
    """The content of a regular file; None if it changed meanwhile, or a moment ago. Raises Unreadable, OSError.

    A write sets the times of a file before it writes, and one of several may leave half a file for a moment. So equal
    times before and after are not enough.
    """
    file = pathwalk.reopened(place.descriptor, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    with open(file, "rb", buffering=0) as reading:
        before = _Version.of(file)
        if before.size > longest:
            raise _too_long(longest)
        content = bytearray()
        while len(content) <= before.size and (piece := reading.read(before.size + 1 - len(content))):
            content += piece
        unchanged = _Version.of(file) == before and len(content) == before.size
    settled = not 0 <= time.time() - before.changed / 1e9 < SETTLED
    return bytes(content) if unchanged and settled else None


def _too_long(longest: int) -> Unreadable:
    return Unreadable(f"is too large: at most {longest} bytes")
