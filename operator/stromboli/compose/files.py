"""How compose files, and files that they name, are read. The operator's way is in observe/, tests have their own."""

from __future__ import annotations

from typing import Protocol

from stromboli.errors import Unreadable


class Files(Protocol):
    """The files of a project. Each file is read once, however often it is asked for: what is checked is what runs."""

    def read(self, path: str, longest: int) -> bytes:
        """The bytes of a regular file, at most `longest`.

        `path` is absolute, without `.` or `..`. Raises Unreadable: not there, not a regular file, longer than
        `longest`, or outside the folders that policies allow.
        """
        ...


class NoFiles:
    """The files of a stack that is written into the run, or comes from a ConfigMap: none."""

    def read(self, path: str, longest: int) -> bytes:
        raise Unreadable(
            "cannot be read: a stack that is not a file on the node can name no files; use environment.path"
        )
