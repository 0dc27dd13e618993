"""The start gate: limits how many containers this node starts concurrently, and how many are running.

A run that finds it full waits in a queue (plan/line.py) and is woken when it is admitted. The queue need not survive
the process: a waiting run has its place recorded in its status, from which `stand` restores it. Runs are known by UID
only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stromboli.plan.line import Line, Waiter


class StartGate:
    """The gate of this node. At most `starts` runs start concurrently, and at most `most` are starting or running; None
    for no limit.

    `wake` is called with the UID of a run that is admitted from the queue: its next `enter` succeeds.
    """

    def __init__(self, starts: int, most: int | None, wake: Callable[[str], None]) -> None:
        self.starts = starts
        self.most = most
        self._wake = wake
        self._line = Line()
        self._let_in: set[str] = set()
        self._at_work: set[str] = set()

    def stand(self, waiter: Waiter) -> None:
        """Restore a run's place in the queue from its status, unless it has been admitted already."""
        if waiter.uid not in self._let_in and waiter.uid not in self._at_work:
            self._line.add(waiter)

    def at_work(self, uid: str) -> None:
        """Record that its container has been started, possibly by a previous operator process."""
        self._at_work.add(uid)

    def enter(self, waiter: Waiter) -> int | None:
        """None if it may start now; otherwise its place in the queue, which it has joined."""
        if waiter.uid in self._let_in:
            return None
        self._line.add(waiter)
        place = self._line.place(waiter.uid)
        if place > self._free():
            return place
        self._admit(waiter)
        return None

    def enter_again(self, uid: str) -> None:
        """Admit a run without waiting, since it was admitted before and its start is to be completed or repeated."""
        self._line.remove(uid)
        self._let_in.add(uid)

    def started(self, uid: str) -> None:
        """Its container is running."""
        self._at_work.add(uid)
        self._leave(uid)

    def ended(self, uid: str) -> None:
        """It has no running container here and does not wait for a start."""
        self._at_work.discard(uid)
        self._line.remove(uid)
        self._leave(uid)

    @contextmanager
    def reconciling(self, uid: str) -> Iterator[None]:
        """During one reconcile pass of a run: if it is admitted but does not start, it makes room for the next."""
        waited = uid in self._line  # so it had not been admitted
        try:
            yield
        finally:
            # A run that was queued before this pass and admitted during it starts in its next pass.
            if uid in self._let_in and not waited:
                self._leave(uid)

    def forget_all_but(self, namespaces: set[str]) -> None:
        """Forget all namespaces but these, since the others have no runs any more."""
        self._line.forget_all_but(namespaces)

    def _free(self) -> int:
        free = self.starts - len(self._let_in)
        return free if self.most is None else min(free, self.most - len(self._let_in | self._at_work))

    def _admit(self, waiter: Waiter) -> None:
        self._line.remove(waiter.uid)
        self._line.start(waiter.namespace)
        self._let_in.add(waiter.uid)

    def _leave(self, uid: str) -> None:
        """Free its place and admit the next runs."""
        self._let_in.discard(uid)
        while self._free() > 0 and (waiter := self._line.first()) is not None:
            self._admit(waiter)
            self._wake(waiter.uid)
