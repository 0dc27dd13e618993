"""Notices that files of an attempt's `out/` have changed, or that it is over, for those who follow its outputs.

Each attempt that is followed has one watch, however many follow it, and no other has one. It looks at the files' inodes
and sizes every LOOK seconds, which takes microseconds; inotify would need a descriptor for each, and says nothing of
what a container does through some storage drivers.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stromboli.supervision import spawn

LOOK = 0.05  # seconds

_Seen = dict[str, tuple[int, int] | None]


class Watch:
    """The watch of one folder, and of what `also` returns."""

    def __init__(self, out: Path, also: Callable[[], bool]) -> None:
        self._out = out
        self._also = also
        self._also_seen = False
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

    def add(self, names: Iterable[str]) -> None:
        """Look at these files, too."""
        for name in names:
            self._names[name] += 1
            self._seen.setdefault(name, self._look_at(name))  # one who has followed for longer must not miss a change
        if self._looking is None:
            self._looking = spawn(self._look(), f"the watch of {self._out}")

    def remove(self, names: Iterable[str]) -> None:
        """One of those who asked for these files does no longer."""
        self._names.subtract(names)
        self._names += Counter()  # without those that are 0
        if not self._names and self._looking is not None:
            self._looking.cancel()
            self._looking = None

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK)
            found = {name: self._look_at(name) for name in self._names}
            also = self._also()
            if also != self._also_seen or found != {name: self._seen.get(name) for name in found}:
                self._changed.set()
                self._changed = asyncio.Event()
            self._seen, self._also_seen = found, also

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
    def of(self, out: Path, names: Collection[str], also: Callable[[], bool]) -> Iterator[Watch]:
        """The watch of this folder, which looks at these files and at others that were asked for, inside the block.

        Whoever asks for the same folder passes an `also` that returns the same.
        """
        watch = self._watches.setdefault(out, Watch(out, also))
        watch.add(names)
        try:
            yield watch
        finally:
            watch.remove(names)
            if not watch.followers:
                self._watches.pop(out, None)
