"""The folders of this node that policies allow (`volumes.allowed`), with the links in their own paths resolved."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass, replace

from stromboli.errors import Refused, Unanswered
from stromboli.observe import hostfiles
from stromboli.plan import volumes
from stromboli.plan.policy import VolumeList
from stromboli.plan.volumes import Volume

# What the spec can be blamed for; any other error of a file system may pass.
NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.ENAMETOOLONG)


@dataclass(frozen=True, slots=True)
class Allowed:
    """Each policy's folders. Those on file systems that do not respond, which are in `silent`, are left out."""

    lists: tuple[VolumeList, ...]
    silent: tuple[Unanswered, ...]

    @classmethod
    def of(cls, lists: Sequence[VolumeList]) -> Allowed:
        """Blocks while it resolves the paths: an administrator may have allowed a link."""
        found, silent = list[VolumeList](), list[Unanswered]()
        for rules in lists:
            folders = []
            for path, read_only in rules.folders:
                try:
                    folders.append((hostfiles.real(path, strict=False), read_only))
                except Unanswered as problem:
                    silent.append(problem)
            found.append(replace(rules, folders=tuple(folders)))
        return cls(tuple(found), tuple(silent))

    def judge(self, volume: Volume) -> None:
        """Check a volume whose host path is resolved.

        Raises Refused(PolicyViolation), and Unanswered if a folder that may allow it does not respond.
        """
        try:
            volumes.judge(volume, self.lists)
        except Refused as refusal:
            if self.silent:
                raise self.silent[0] from refusal
            raise

    def forbidden(self, path: str, *, read_only: bool) -> str | None:
        """As `volumes.forbidden`, for a resolved path. Raises Unanswered like `judge`."""
        why = volumes.forbidden(path, self.lists, read_only=read_only)
        if why is not None and self.silent:
            raise self.silent[0]
        return why
