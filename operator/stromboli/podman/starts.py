"""Classifies start failures that the container's own configuration causes, by the OCI runtime's error messages.

Podman passes the runtime's message on unchanged, with the same cause for all of them, so a table tells them apart. A
message that matches no row counts as a transient problem of the node. The rows for runc were observed (1.1.5), those
for crun are from its source; each row for runc has a contract test.
"""

from __future__ import annotations

import re

from stromboli import bounds
from stromboli.errors import PodmanError, TooLittleMemory, Unmountable

# strerror() of ENOTDIR, EISDIR, ENAMETOOLONG, ELOOP, EROFS: the source cannot be mounted at this target.
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
    """The error for a runtime's `message` if it matches a row, else None; `text` is the message for users."""
    for pattern in _MOUNTS:
        if found := pattern.search(message):
            return Unmountable(text, status, _path(found["target"]), found["why"].lower())
    return TooLittleMemory(text, status) if _MEMORY.search(message) else None


def _path(written: str) -> str:
    """The mount target as in the create body: runc quotes it like Go's %q, crun leaves out the leading slash."""
    if written.startswith('"'):
        try:
            return str(bounds.json_document(written, bounds.ANSWER))
        except ValueError:  # a Go escape that JSON does not have
            return written[1:-1]
    return "/" + written.lstrip("/")
