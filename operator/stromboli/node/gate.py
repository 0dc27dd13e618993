"""The start gate: how many containers this node starts at once, and how many it has at work.

Whoever finds it full stands in a line (plan/line.py) and is woken when it is let in. Nothing of the line has to
survive the process: who stood in it says so in its status, and is put back by `stand`. Knows runs by their UIDs only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stromboli.plan.line import Line, Waiter


class Gate:
    """Of this node. `starts` may start at once; `most` may be at work, starting ones included, None for any number.

    `wake` is called with the UID of somebody who is let in: its next `enter` goes through.
    """

    def __init__(self, starts: int, most: int | None, wake: Callable[[str], None]) -> None:
        self.starts = starts
        self.most = most
        self._wake = wake
        self._line = Line()
        self._let_in: set[str] = set()
        self._at_work: set[str] = set()

    def stand(self, waiter: Waiter) -> None:
        """Stand in line as a status says, unless it is further by now."""
        if waiter.uid not in self._let_in and waiter.uid not in self._at_work:
            self._line.add(waiter)

    def at_work(self, uid: str) -> None:
        """Its container was started before, maybe by an operator before this one."""
        self._at_work.add(uid)

    def enter(self, waiter: Waiter) -> int | None:
        """None where it may start now; else its place in the line, in which it stands from now on."""
        if waiter.uid in self._let_in:
            return None
        self._line.add(waiter)
        place = self._line.place(waiter.uid)
        if place > self._free():
            return place
        self._admit(waiter)
        return None

    def enter_again(self, uid: str) -> None:
        """Somebody who was let in before, and whose start is to be completed or repeated, does not wait again."""
        self._line.remove(uid)
        self._let_in.add(uid)

    def started(self, uid: str) -> None:
        """Its container runs."""
        self._at_work.add(uid)
        self._leave(uid)

    def ended(self, uid: str) -> None:
        """Nothing of it is at work here, and it wants no start."""
        self._at_work.discard(uid)
        self._line.remove(uid)
        self._leave(uid)

    @contextmanager
    def turn(self, uid: str) -> Iterator[None]:
        """Whoever is let in has to start within its turn, or make room for the next."""
        was_let_in = uid in self._let_in
        waited = uid in self._line
        try:
            yield
        finally:
            # Let in while the turn was on its way, and having stood in line all the time, it starts in its next.
            if uid in self._let_in and (was_let_in or not waited):
                self._leave(uid)

    def forget_all_but(self, namespaces: set[str]) -> None:
        """Of namespaces that have no runs any more, nothing is remembered."""
        self._line.forget_all_but(namespaces)

    def _free(self) -> int:
        free = self.starts - len(self._let_in)
        return (
            free if self.most is None else min(free, self.most - len(self._let_in) - len(self._at_work - self._let_in))
        )

    def _admit(self, waiter: Waiter) -> None:
        self._line.remove(waiter.uid)
        self._line.start(waiter.namespace)
        self._let_in.add(waiter.uid)

    def _leave(self, uid: str) -> None:
        """Make room for the next."""
        self._let_in.discard(uid)
        while self._free() > 0 and (waiter := self._line.first()) is not None:
            self._admit(waiter)
            self._wake(waiter.uid)
