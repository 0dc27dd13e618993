"""Creates the folders of the node that a stack mounts and that are missing, as Compose does.

Only in a folder that a policy allows, and by the way through open folders: a link that was put there meanwhile is never
followed. Blocking.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import nullcontext
from dataclasses import replace

from stromboli.errors import ComposeProblem
from stromboli.pathwalk import Touching, reopened
from stromboli.plan.stack.sources import Source

MODE = 0o755
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# What only a change since the look explains.
_CHANGED = (errno.ENOTDIR, errno.ELOOP, errno.ENOENT)


def made(at: str, source: Source, touching: Touching = nullcontext) -> Source:
    """The source with its folder created, and thus with an identity; nothing is done if it has one.

    `at` is the bind's key. Raises ComposeProblem, and OSError if the file system is full, for example.
    """
    if source.identity is not None:
        return source
    try:
        with touching(source.path):
            return replace(source, identity=_made(source))
    except OSError as error:
        if error.errno in _CHANGED:
            raise ComposeProblem(f"{at}.source", f"{source.path} was changed meanwhile: try again") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            said = f"{source.path} is not there and cannot be created ({error.strerror}); create it first"
            raise ComposeProblem(f"{at}.source", said) from error
        raise


def _made(source: Source) -> tuple[int, int]:
    above = source.beneath.strip("/").count("/") + 1 if source.beneath != "/" else 0
    here = os.open("/", _FOLDER)
    try:
        for depth, name in enumerate(source.path.strip("/").split("/")):
            below = _below(here, name, create=depth >= above)
            os.close(here)
            here = below
        info = os.fstat(here)
        return info.st_dev, info.st_ino
    finally:
        os.close(here)


def _below(folder: int, name: str, *, create: bool) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=folder)
    except FileNotFoundError:
        if not create:
            raise
    try:
        os.mkdir(name, MODE, dir_fd=folder)
    except FileExistsError:  # somebody else was first: it is theirs, if it is a folder
        return os.open(name, _FOLDER, dir_fd=folder)
    below = os.open(name, _FOLDER, dir_fd=folder)
    try:
        _open_up(below)
    except BaseException:  # whatever it is, the descriptor is not left open
        os.close(below)
        raise
    return below


def _open_up(folder: int) -> None:
    """Give a folder that was just created the mode that the operator's umask has kept from it.

    Only to an empty one of the operator's own: by now, another may be in its place.
    """
    opened = reopened(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        info = os.fstat(opened)
        if info.st_uid == os.geteuid() and not os.listdir(opened):
            os.fchmod(opened, stat.S_IMODE(info.st_mode) | MODE)
    finally:
        os.close(opened)
