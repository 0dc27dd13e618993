"""What the binds of a stack mount, as it was found on the node."""

from __future__ import annotations

from dataclasses import dataclass

Identity = tuple[int, int]
"""Device and inode: what a file or folder still has when it is renamed, and nothing else has."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file or folder that is allowed; `path` has no links.

    `identity` is None for a folder that is still to be created, which may be done only in `beneath`, a folder that is
    allowed and there.
    """

    path: str
    folder: bool
    identity: Identity | None
    beneath: str
