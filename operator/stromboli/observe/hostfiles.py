"""Access to files of the node that a spec or a policy names: never on the event loop, and with a time limit.

A thread that touches a file system whose server is gone (NFS, FUSE) hangs in the kernel and cannot be ended. So each
access has its own thread, and only a few may touch one mounted file system at a time, however many retries there are:
while they hang, further accesses to that mount fail immediately. Other mounts are not affected.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

from stromboli.apart import start
from stromboli.errors import Unanswered

P = ParamSpec("P")
T = TypeVar("T")

PATIENCE = 10.0  # seconds for one access
AT_ONCE = 4  # accesses at a time to one mount
MOUNTS = Path("/proc/self/mountinfo")
_MAX_LINKS = 40  # as the kernel
_ESCAPED = re.compile(r"\\([0-7]{3})")

_changed = threading.Condition()
_touching: dict[str, dict[int, float]] = {}  # by mount point: the threads that access it, and since when


async def in_time(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What a blocking function returns or raises; it must use `touching` for whatever can hang. Raises Unanswered."""
    work = start(function, *args, **kwargs)
    try:
        await asyncio.wait([work.found], timeout=PATIENCE)
        if work.found.done():
            return work.found.result()
    finally:
        work.found.cancel()  # no effect if it is done
    raise Unanswered(_touched_by(work.thread.ident))


@contextmanager
def touching(path: str) -> Iterator[None]:
    """For code that accesses the file system of `path`, in which all links are resolved. Raises Unanswered."""
    with toucher()(path):
        yield


def toucher() -> Callable[[str], AbstractContextManager[None]]:
    """`touching` for many paths: the kernel's table of mounts is read once, now."""
    points = _mount_points()
    return lambda path: _touching_mount(_mount_of(path, points))


@contextmanager
def _touching_mount(mount: str) -> Iterator[None]:
    me = threading.get_ident()
    ends = time.monotonic() + PATIENCE
    with _changed:
        while len(others := _touching.get(mount, {})) >= AT_ONCE or _hangs(others):
            left = ends - time.monotonic()
            if _hangs(others) or left <= 0 or not _changed.wait(left):
                raise Unanswered(mount)
        _touching.setdefault(mount, {})[me] = time.monotonic()
    try:
        yield
    finally:
        with _changed:
            del _touching[mount][me]
            if not _touching[mount]:
                del _touching[mount]
            _changed.notify_all()


def real(path: str, *, strict: bool) -> str:
    """Like `os.path.realpath`, with each step within `touching`. Raises Unanswered, and OSError if `strict`."""
    rest, links, here = path.split("/")[::-1], 0, "/"
    points = _mount_points()
    while rest:
        part = rest.pop()
        if part in ("", "."):
            continue
        if part == "..":
            here = os.path.dirname(here)
            continue
        below = os.path.join(here, part)
        try:
            with _touching_mount(_mount_of(below, points)):
                target = _target(below)
        except OSError:
            if strict:
                raise
            target = None
        if target is None:
            here = below
            continue
        links += 1
        if links > _MAX_LINKS:
            if strict:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            return below
        here = "/" if target.startswith("/") else here
        rest += target.split("/")[::-1]
    return here


def _target(path: str) -> str | None:
    """The target of a link; None if it is not a link. Raises OSError if nothing is there."""
    try:
        return os.readlink(path)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return None


def _hangs(threads: dict[int, float]) -> bool:
    return bool(threads) and time.monotonic() - min(threads.values()) > PATIENCE


def _touched_by(thread: int | None) -> str:
    with _changed:
        return next((mount for mount, threads in _touching.items() if thread in threads), "/")


def _mount_of(path: str, points: frozenset[str]) -> str:
    """The mount point that contains a path, from the kernel's table: accessing the path itself could hang."""
    while path not in points and path != "/":
        path = os.path.dirname(path)
    return path


def _mount_points() -> frozenset[str]:
    """proc_pid_mountinfo(5): the fifth field, with blanks and the like in octal."""
    fields = (line.split(" ") for line in MOUNTS.read_text(errors="surrogateescape").splitlines())
    return frozenset(_ESCAPED.sub(lambda m: chr(int(m[1], 8)), field[4]) for field in fields)
