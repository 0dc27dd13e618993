"""Classifies start failures that the container's own configuration causes, by the messages of the OCI runtime and of
Podman.

Podman passes the runtime's message on unchanged, with the same few causes for all of them, so a table tells them apart.
A message that matches no row counts as a transient problem of the node. The rows for runc were observed (1.1.5), those
for crun are from its source; each row for runc, and each of Podman's own (4.3.1), has a contract test.
"""

from __future__ import annotations

import re

from stromboli import bounds
from stromboli.errors import PodmanError, TooLittleMemory, Unmountable, Unstartable

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
# A rootless Podman has no network without /dev/net/tun; what 4.3 has then left incomplete, it does not complete later.
NO_NETWORK = r"slirp4netns failed: .*/dev/net/tun|for rootless netns"
# Ends of messages. The first two are what Podman makes of a runtime's words about a program that cannot be executed.
_FOR_GOOD = re.compile(
    r"(?:OCI runtime attempted to invoke a command that was not found"
    r"|OCI permission denied"
    r"|no matching entries in (?:passwd|group) file"
    r'|workdir ".*" does not exist on container [0-9a-f]+'
    r"|listen (?:tcp|udp)[46]? \S+: bind: (?:address already in use|cannot assign requested address|permission denied)"
    r")\s*$",
    re.S,
)


def classified(message: str, text: str, status: int) -> PodmanError | None:
    """The error for a runtime's `message` if it matches a row, else None; `text` is the message for users."""
    for pattern in _MOUNTS:
        if found := pattern.search(message):
            return Unmountable(text, status, _path(found["target"]), found["why"].lower())
    if _MEMORY.search(message):
        return TooLittleMemory(text, status)
    if _FOR_GOOD.search(message) or re.search(NO_NETWORK, message):
        return Unstartable(text, status)
    return None


def _path(written: str) -> str:
    """The mount target as in the create body: runc quotes it like Go's %q, crun leaves out the leading slash."""
    if written.startswith('"'):
        try:
            return str(bounds.json_document(written, bounds.ANSWER))
        except ValueError:  # a Go escape that JSON does not have
            return written[1:-1]
    return "/" + written.lstrip("/")
