"""Limits an attempt's `out/` to its records, after the attempt has ended. Blocking: call it in a thread.

How much an agent may write there before that is in usage.py.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import get_args

from stromboli.attempt.removal import remove_tree
from stromboli.models.lifecycle import HookKind

# Bytes. A record that the agent made larger is truncated to its end: records.py reads no further back.
MAX_RECORD = 10 * 1024 * 1024

_RECORD = re.compile(rf"record|seal|(stdout|stderr|({'|'.join(get_args(HookKind))})\.[0-9]{{1,4}})(\.(old|from))?")
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CUT = ".cut"


def tidy(out: Path) -> None:
    """Remove everything but records from `out/`, and truncate records that are too large to their end.

    Only for an attempt that has ended. Idempotent. Raises OSError for what cannot be removed.
    """
    try:
        entries = os.scandir(out)
    except FileNotFoundError:
        return
    with entries:  # one after the other: the names of all the files that an agent can make may take too much memory
        for entry in entries:
            path = out / entry.name
            found = path.lstat()
            if not (_RECORD.fullmatch(entry.name) and stat.S_ISREG(found.st_mode)):
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
