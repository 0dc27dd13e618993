"""What the watches of the cluster have heard, by kind. kopf keeps them going; its HTTP session reports here."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

PATIENCE = 15.0  # seconds for which a watch may fail before that counts
# A watch that hears nothing is begun anew every 70 s (handlers/watches.py); twice that, and a margin.
SILENT = 150.0
STUCK = 300.0  # seconds without even an attempt


@dataclass(slots=True)
class _Watch:
    """One kind's watch: when it last did anything, when it last heard anything, and since when it fails."""

    active: float
    heard: float
    failing: float | None = None
    why: str = ""


class Watched:
    """The watches of `kinds`. Whatever else is asked, such as what the cluster serves, concerns all of them."""

    def __init__(self, kinds: Sequence[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._watches = {kind: _Watch(clock(), clock()) for kind in kinds}

    def begin(self) -> None:
        """They are started now."""
        now = self._clock()
        for watch in self._watches.values():
            watch.active = watch.heard = now

    def asked(self, path: str) -> None:
        """A request is made."""
        for watch in self._of(path):
            watch.active = self._clock()

    def heard(self, path: str) -> None:
        """An answer has arrived, or a piece of one."""
        for watch in self._of(path):
            watch.active = watch.heard = self._clock()
            watch.failing = None

    def failed(self, path: str, why: str) -> None:
        """A request was refused, or not answered."""
        for watch in self._of(path):
            watch.active = self._clock()
            watch.failing = watch.failing if watch.failing is not None else watch.active
            watch.why = why

    def refused(self) -> str | None:
        """The watch that cannot be begun, and why, as a sentence."""
        for kind, watch in self._watches.items():
            if watch.failing is not None and (lasts := self._clock() - watch.failing) > PATIENCE:
                return f"{kind} cannot be watched for {lasts:.0f} s: {watch.why}"
        return None

    def silent(self) -> str | None:
        """The watch that hears nothing, although nobody says why."""
        for kind, watch in self._watches.items():
            if watch.failing is None and (lasts := self._clock() - watch.heard) > SILENT:
                return f"nothing was heard of {kind} for {lasts:.0f} s; the watch is begun anew"
        return None

    def stuck(self) -> str | None:
        """The watch that does nothing at all any more: a new process is what helps."""
        for kind, watch in self._watches.items():
            if (lasts := self._clock() - watch.active) > STUCK:
                return f"the watch of {kind} has done nothing for {lasts:.0f} s"
        return None

    def _of(self, path: str) -> list[_Watch]:
        kind = path.rpartition("/")[2]
        return [self._watches[kind]] if kind in self._watches else list(self._watches.values())
