"""Notices that files of an attempt's `out/` have changed, for those who follow its outputs.

Each attempt that is followed has one watch, however many follow it, and no other has one. It looks at the files' inodes
and sizes every LOOK seconds, which takes microseconds; inotify would need a descriptor for each, and says nothing of
what a container does through some storage drivers.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stromboli.supervision import spawn

LOOK = 0.05  # seconds

_Seen = dict[str, tuple[int, int] | None]


class Watch:
    """The watch of one folder."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._names: Counter[str] = Counter()
        self._seen: _Seen = {}
        self._changed = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    @property
    def now(self) -> asyncio.Event:
        """An event that is set once something changes after this moment."""
        return self._changed

    @property
    def followers(self) -> int:
        return self._names.total()

    def add(self, name: str) -> None:
        """Look at this file, too."""
        self._names[name] += 1
        self._seen.setdefault(name, self._look_at(name))  # one who has followed for longer must not miss a change
        if self._looking is None:
            self._looking = spawn(self._look(), f"the watch of {self._out}")

    def remove(self, name: str) -> None:
        """One of those who asked for this file does no longer."""
        self._names[name] -= 1
        self._names += Counter()  # without those that are 0
        if not self._names and self._looking is not None:
            self._looking.cancel()
            self._looking = None

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK)
            found = {name: self._look_at(name) for name in self._names}
            if found != {name: self._seen.get(name) for name in found}:
                self._changed.set()
                self._changed = asyncio.Event()
            self._seen = found

    def _look_at(self, name: str) -> tuple[int, int] | None:
        try:
            found = os.lstat(self._out / name)
        except OSError:
            return None
        return found.st_ino, found.st_size


class Watches:
    """The watches of one operator, in one event loop."""

    def __init__(self) -> None:
        self._watches: dict[Path, Watch] = {}

    def __len__(self) -> int:
        return len(self._watches)

    @contextmanager
    def of(self, out: Path, name: str) -> Iterator[Watch]:
        """The watch of this folder, which looks at this file and at others that were asked for, inside the block."""
        watch = self._watches.setdefault(out, Watch(out))
        watch.add(name)
        try:
            yield watch
        finally:
            watch.remove(name)
            if not watch.followers:
                self._watches.pop(out, None)
