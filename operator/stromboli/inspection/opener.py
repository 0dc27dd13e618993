"""How the files of an image are reached: what everything else in here reads through.

An opener answers for one image, resolves links inside its root and never outside, and never runs anything.
The one over Podman is in `container.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

# What Podman sets where an image has no PATH of its own.
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Found:
    """What stands at a path, after all links. `path` leads to it inside the image and is no link itself."""

    path: str
    size: int
    regular: bool
    executable: bool
    directory: bool = False


class Looker(Protocol):
    """What stands in one root, without opening any of it. Errors of the connection pass through."""

    async def stat(self, path: str) -> Found | None:
        """What an absolute path leads to; None if nothing is there, a dangling link included."""


class Opener(Looker, Protocol):
    """The files of one image. Errors of the connection pass through; an absent file is None."""

    async def is_circle(self, path: str) -> bool:
        """Whether a path at which nothing is found is a circle of links."""

    async def read(self, path: str, limit: int) -> bytes | None:
        """The first `limit` bytes of a regular file, by the path that `stat` found; None if it is none."""


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """The part of an image's configuration that decides which of its files are looked at."""

    user: str = ""
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    path: str = DEFAULT_PATH


async def executable(opener: Opener, path: str) -> Found | None:
    """The program at a path; None if there is nothing that could be executed."""
    found = await opener.stat(path)
    return found if found and found.regular and found.executable else None


async def program(opener: Opener, name: str, path: str) -> Found | None:
    """The program that a name means: an absolute path itself, a bare name by the directories of `path`."""
    if name.startswith("/"):
        return await executable(opener, name)
    if not name or "/" in name:
        return None
    for directory in dict.fromkeys(d.rstrip("/") for d in path.split(":") if d.startswith("/")):
        if found := await executable(opener, f"{directory}/{name}"):
            return found
    return None
