"""Limits an attempt's `out/`: its size while an agent can write there, and its contents to records after the end.

The folder is on the node's disk, and the agent can write in it. The supervisor bounds what it writes itself;
node/guard.py watches the rest, which is removed at the end. Blocking: call it in a thread.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import get_args

from stromboli.attempt.removal import remove_tree
from stromboli.models.lifecycle import HookKind

MAX_OUT = 256 * 1024 * 1024  # bytes of disk: more than the records of as many hooks as a spec can have
MAX_ENTRIES = 4096
# Bytes. A record that the agent made larger is truncated to its end: records.py reads no further back.
MAX_RECORD = 10 * 1024 * 1024

_RECORD = re.compile(rf"record|seal|(stdout|stderr|({'|'.join(get_args(HookKind))})\.[0-9]{{1,4}})(\.old)?")
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CUT = ".cut"


def is_too_large(out: Path) -> bool:
    """Whether `out/` exceeds MAX_OUT bytes of disk or MAX_ENTRIES entries. Follows no symlink."""
    total = seen = 0
    left = [os.fspath(out)]
    while left:
        try:
            with os.scandir(left.pop()) as entries:
                for entry in entries:
                    seen += 1
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if total > MAX_OUT or seen > MAX_ENTRIES:
                        return True
                    if entry.is_dir(follow_symlinks=False):
                        left.append(entry.path)
        except OSError:  # it is gone, or an agent took away its permissions
            continue
    return False


def tidy(out: Path) -> None:
    """Remove everything but records from `out/`, and truncate records that are too large to their end.

    Only for an attempt that has ended. Idempotent. Raises OSError for what cannot be removed.
    """
    try:
        names = os.listdir(out)
    except FileNotFoundError:
        return
    for name in names:
        path = out / name
        found = path.lstat()
        if not (_RECORD.fullmatch(name) and stat.S_ISREG(found.st_mode)):
            remove_tree(path)
        elif found.st_blocks * 512 > MAX_RECORD + 1024 * 1024:
            _cut(path)


def _cut(path: Path) -> None:
    """Replace a file by a copy of its end that belongs to the operator: the agent's file may belong to any user."""
    new = path.with_name(_CUT)
    descriptor = os.open(path, _READ)
    try:
        end = os.pread(descriptor, MAX_RECORD, max(os.fstat(descriptor).st_size - MAX_RECORD, 0))
    finally:
        os.close(descriptor)
    with os.fdopen(os.open(new, _NEW, 0o600), "wb") as file:
        file.write(end)
    new.replace(path)
