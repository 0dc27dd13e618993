"""Removes a folder that an agent could write in, however deep, wide or locked by permissions its contents are.

`shutil.rmtree` recurses and keeps a descriptor open for each level (Python 3.11), so it fails on a few thousand nested
folders, and the attempt's folder would stay forever. Here, nested folders are moved up to the top level instead, which
needs neither recursion nor more than two descriptors. No symlink is followed. Blocking: call it in a thread; one call
takes at most SECONDS, and the next one continues where it stopped.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SECONDS = 60.0
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: Path) -> None:
    """Remove `path` and everything below it. Idempotent. Raises OSError for what cannot be removed.

    After SECONDS that is a TimeoutError: part of the tree is still there.
    """
    ends = time.monotonic() + SECONDS
    try:
        if not stat.S_ISDIR(path.lstat().st_mode):
            path.unlink()
            return
        with _opened(path) as top:
            _empty(top, ends)
        path.rmdir()
    except FileNotFoundError:
        return


def _empty(top: int, ends: float) -> None:
    """Move the contents of each folder in `top` up into `top`, until no folder is left."""
    numbers = itertools.count()
    while folders := _unlink_files(top, ends):
        for name in folders:
            with _opened(name, top) as folder:
                for below in _unlink_files(folder, ends):
                    _own(below, folder)
                    os.rename(below, _free_name(numbers, top), src_dir_fd=folder, dst_dir_fd=top)
            os.rmdir(name, dir_fd=top)


def _unlink_files(folder: int, ends: float) -> list[str]:
    """Remove everything in `folder` but its folders; returns the names of those."""
    folders = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if time.monotonic() > ends:
                raise TimeoutError(errno.ETIMEDOUT, f"more than can be removed in {SECONDS:.0f} s")
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            else:
                os.unlink(entry.name, dir_fd=folder)
    return folders


def _free_name(numbers: Iterator[int], top: int) -> str:
    for number in numbers:
        try:
            os.lstat(f".{number}", dir_fd=top)
        except FileNotFoundError:
            return f".{number}"
    raise AssertionError("the numbers do not end")


@contextmanager
def _opened(name: str | Path, parent: int | None = None) -> Iterator[int]:
    """A folder's descriptor; the folder is made accessible first."""
    _own(name, parent)
    folder = os.open(name, _FOLDER, dir_fd=parent)
    try:
        yield folder
    finally:
        os.close(folder)


def _own(name: str | Path, parent: int | None) -> None:
    """Restore the permissions that emptying and moving a folder requires (root needs none)."""
    if os.geteuid() == 0:
        return
    # Through a descriptor, since chmod by name would follow a symlink.
    handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        os.chmod(f"/proc/self/fd/{handle}", 0o700)
    finally:
        os.close(handle)
