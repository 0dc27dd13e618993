"""The interface through which this package reads an image's files.

An opener serves one image, resolves symlinks inside its root and never outside, and never executes anything. The
implementation over Podman is in `container.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from stromboli.inspection.openfile import OpenFile

# What Podman sets if the image has no PATH of its own.
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Found:
    """What a path resolves to. `path` is the resolved path inside the image."""

    path: str
    size: int
    regular: bool
    executable: bool
    directory: bool = False


class Looker(Protocol):
    """Stats paths in one root, without opening anything. Connection errors propagate."""

    async def stat(self, path: str) -> Found | None:
        """What an absolute path resolves to; None if nothing is there, or for a dangling symlink."""


class Opener(Looker, Protocol):
    """The files of one image. Connection errors propagate; an absent file is None."""

    async def is_circle(self, path: str) -> bool:
        """Whether a path for which `stat` returned None is a symlink loop."""

    async def read(self, path: str, limit: int) -> bytes | None:
        """The first `limit` bytes of the regular file at a path that `stat` resolved; None if it is gone."""

    def open(self, path: str, limit: int) -> AbstractAsyncContextManager[OpenFile | None]:
        """The first `limit` bytes of the regular file that a path resolves to, to be read at any offset.

        None if something else or nothing is there. Nothing but regular files is ever opened.
        """

    async def names(self, path: str) -> frozenset[str] | None:
        """What is in the folder that a path resolves to; empty if no folder is there.

        None if it cannot be known at a bearable cost: there are too many, or over the archive API, which can list
        names only by sending the content too, too much content.
        """

    async def files(self, path: str, limit: int) -> Mapping[str, bytes]:
        """The regular files directly in the folder that a path resolves to, by name, at most `limit` bytes of each.

        Empty if no folder is there, or if `names` of it would be None.
        """


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """The part of an image's configuration that decides which of its files are looked at."""

    user: str = ""
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    path: str = DEFAULT_PATH


async def executable(opener: Opener, path: str) -> Found | None:
    """The program at a path; None if there is no executable regular file."""
    found = await opener.stat(path)
    return found if found and found.regular and found.executable else None


async def program(opener: Opener, name: str, path: str) -> Found | None:
    """Look up a program: an absolute path as it is, a bare name in the directories of `path` (as in PATH)."""
    if name.startswith("/"):
        return await executable(opener, name)
    if not name or "/" in name:
        return None
    for directory in dict.fromkeys(d.rstrip("/") for d in path.split(":") if d.startswith("/")):
        if found := await executable(opener, f"{directory}/{name}"):
            return found
    return None
