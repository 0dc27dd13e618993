"""What a runtime says when it cannot start a container, where it is about what the container was asked to be.

Podman passes a runtime's words on as they are, behind one cause for all of them. So they are told apart here, by a
table: what fits no row is the node's own trouble, which passes. The rows of runc were seen (1.1.5), those of crun are
from its source; each row of runc's has a contract test.
"""

from __future__ import annotations

import re

from stromboli import bounds
from stromboli.errors import PodmanError, TooLittleMemory, Unmountable

# strerror() of ENOTDIR, EISDIR, ENAMETOOLONG, ELOOP, EROFS; what is to be mounted and its place do not go together.
_MISFITS = (
    "not a directory",
    "is a directory",
    "file name too long",
    "too many levels of symbolic links",
    "read-only file system",
)
_WHY = f"(?P<why>{'|'.join(_MISFITS)})"
_END = r"(?:: OCI [a-z ]+)?\s*$"
_MOUNTS = (
    re.compile(
        rf'error mounting "(?:[^"\\]|\\.)*" to rootfs at (?P<target>"(?:[^"\\]|\\.)*"): .*{_WHY}{_END}', re.S | re.I
    ),
    re.compile(rf"crun: mount `[^`]*` to `(?P<target>[^`]*)`: {_WHY}{_END}", re.S | re.I),
)
_MEMORY = re.compile(r"unable to set memory limit to \d+ \(current usage|memory limit too low", re.I)


def classified(message: str, text: str, status: int) -> PodmanError | None:
    """The error for a runtime's `message`, if a row fits; `text` is what a person is told."""
    for pattern in _MOUNTS:
        if found := pattern.search(message):
            return Unmountable(text, status, _path(found["target"]), found["why"].lower())
    return TooLittleMemory(text, status) if _MEMORY.search(message) else None


def _path(written: str) -> str:
    """The place as the create body had it: runc quotes it as Go does, crun leaves out the first slash."""
    if written.startswith('"'):
        try:
            return str(bounds.json_document(written, bounds.ANSWER))
        except ValueError:  # an escape of Go's that JSON has not
            return written[1:-1]
    return "/" + written.lstrip("/")
