"""Access to /dev/net/tun for the users of tests, which a rootless Podman's networks need: by the device's access list.

Several tests may run side by side, each with a user of its own, so each adds its user to the list, and takes only that
one off it again.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DEVICE = Path("/dev/net/tun")
_ACL = "system.posix_acl_access"
# The format of linux/posix_acl_xattr.h.
_HEADER, _ENTRY = struct.Struct("<I"), struct.Struct("<HHI")
_VERSION = 2
_OWNER, _NAMED, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x10, 0x20
_NOBODY = 0xFFFFFFFF
_READ_WRITE = 6


@contextmanager
def usable(uid: int, device: Path = DEVICE) -> Iterator[None]:
    """For the block, this user can open the device. Nobody else gets access."""
    if device.stat().st_mode & 0o006 == 0o006:
        yield
        return
    _change(device, add=uid)
    try:
        yield
    finally:
        _change(device, remove=uid)


def _change(device: Path, *, add: int | None = None, remove: int | None = None) -> None:
    folder = os.open(device.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        others, users = _access(device)
        _set(device, others, users - {remove} | ({add} if add is not None else set()))
    finally:
        os.close(folder)


def _access(device: Path) -> tuple[dict[int, int], set[int]]:
    """What owner, group and all others may do, by tag; the users on the list."""
    mode = stat.S_IMODE(device.stat().st_mode)
    try:
        packed = os.getxattr(device, _ACL)
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise
        return {_OWNER: mode >> 6 & 7, _GROUP: mode >> 3 & 7, _OTHER: mode & 7}, set()
    entries = list(_ENTRY.iter_unpack(packed[_HEADER.size :]))
    rights = {tag: right for tag, right, _ in entries if tag in (_OWNER, _GROUP, _OTHER)}
    return rights, {uid for tag, _, uid in entries if tag == _NAMED}


def _set(device: Path, rights: dict[int, int], users: set[int]) -> None:
    """A list without a user on it is none: the kernel keeps it as the device's mode."""
    named = [(_NAMED, _READ_WRITE, uid) for uid in sorted(users)]
    mask = [(_MASK, rights[_GROUP] | _READ_WRITE, _NOBODY)] if named else []
    entries = [
        (_OWNER, rights[_OWNER], _NOBODY),
        *named,
        (_GROUP, rights[_GROUP], _NOBODY),
        *mask,
        (_OTHER, rights[_OTHER], _NOBODY),
    ]
    os.setxattr(device, _ACL, _HEADER.pack(_VERSION) + b"".join(_ENTRY.pack(*entry) for entry in entries))
