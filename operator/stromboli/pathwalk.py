"""Opens a path one name at a time. What the path leads to is known by the way that was really taken.

Resolving a path and opening the result are two steps, between which somebody who may write in one of its folders can
put a link there. Here each name is opened in the folder that is open already, without following links; a link's target
is read and walked in the same way. `..` and the kernel's own links (/proc/self/fd) are never left to the kernel. So a
path below an allowed folder has been reached through that folder.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

MAX_LINKS = 40  # as the kernel
MAX_STEPS = 5_000  # names opened for one path; a path of the greatest length has 2,048
_PLACE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC

Touching = Callable[[str], AbstractContextManager[object]]
"""What surrounds each access, given the path that is accessed: `hostfiles.toucher`."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a path leads to, opened as a place only (O_PATH): nothing was read, and no pipe or device noticed.

    `path` has no links. `descriptor` is closed by whoever walked.
    """

    path: str
    descriptor: int
    info: os.stat_result

    @property
    def regular(self) -> bool:
        return stat.S_ISREG(self.info.st_mode)

    @property
    def folder(self) -> bool:
        return stat.S_ISDIR(self.info.st_mode)


@contextmanager
def walked(path: str, *, root: str = "/", touching: Touching = nullcontext) -> Iterator[Place]:
    """The place that an absolute path leads to; links and `..` stay below `root`, whose own path may have links.

    `path` of the place begins at `root`. Raises OSError, whose `filename` is where the path leads, without links as far
    as it was walked.
    """
    place = _walk(path, root, touching)
    try:
        yield place
    finally:
        os.close(place.descriptor)


def reopened(descriptor: int, flags: int) -> int:
    """A descriptor for reading the place that is open as a place. Raises OSError."""
    return os.open(f"/proc/self/fd/{descriptor}", flags | os.O_CLOEXEC)


def _walk(path: str, root: str, touching: Touching) -> Place:
    rest, names = path.split("/")[::-1], list[str]()
    links = steps = 0
    here = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while rest:
            part = rest.pop()
            if part in ("", "."):
                continue
            if part == "..":  # from the beginning: where `here` lies by now is not known
                rest += names[-2::-1]
                names.clear()
                here = _instead(here, os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
                continue
            steps += 1
            way = "/" + "/".join((*names, part, *rest[::-1]))
            if steps > MAX_STEPS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), way)
            try:
                with touching("/" + "/".join((*names, part))):
                    below = _opened(part, here)
                    target = _target(below)
            except OSError as error:
                raise OSError(error.errno, error.strerror, way) from error
            if target is None:
                names.append(part)
                here = _instead(here, below)
                continue
            os.close(below)
            links += 1
            if links > MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), way)
            if target.startswith("/"):
                names.clear()
                here = _instead(here, os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
            rest += target.split("/")[::-1]
        return Place("/" + "/".join(names), here, os.fstat(here))
    except BaseException:
        os.close(here)
        raise


def _opened(name: str, folder: int) -> int:
    """A name of an open folder, as a place. That it is asked for a folder first has autofs mount what belongs there."""
    try:
        return os.open(name, _PLACE | os.O_DIRECTORY, dir_fd=folder)
    except NotADirectoryError:
        return os.open(name, _PLACE, dir_fd=folder)


def _target(descriptor: int) -> str | None:
    """The target of a link; None for anything else. An empty one does not exist on Linux."""
    try:
        return os.readlink("", dir_fd=descriptor) if stat.S_ISLNK(os.fstat(descriptor).st_mode) else None
    except BaseException:
        os.close(descriptor)
        raise


def _instead(old: int, new: int) -> int:
    os.close(old)
    return new
