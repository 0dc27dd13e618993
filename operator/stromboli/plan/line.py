"""Who starts next where more want to start than may at once. Pure: a structure in memory, and its order.

Within a namespace the order is that of creation. Namespaces take turns, so that a thousand runs of one do not hold up
the one run of another: whichever started something longest ago is next.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field


@dataclass(frozen=True, order=True, slots=True)
class Waiter:
    """Somebody who waits. `created` is the creation time of its object, in whole seconds; `since` is when it was first
    seen, which decides between those of one second. Both are RFC 3339 in UTC, so that they compare as text.
    """

    created: str
    since: str
    uid: str
    namespace: str = field(compare=False)


class Line:
    """Everybody who waits on one node."""

    def __init__(self) -> None:
        self._waiters: dict[str, Waiter] = {}
        self._queues: dict[str, list[Waiter]] = {}
        self._turns: dict[str, int] = {}  # namespace → the number of its last start
        self._starts = 0

    def __len__(self) -> int:
        return len(self._waiters)

    def __contains__(self, uid: str) -> bool:
        return uid in self._waiters

    def add(self, waiter: Waiter) -> None:
        """Stand in line; whoever does so already keeps the place."""
        if waiter.uid not in self._waiters:
            self._waiters[waiter.uid] = waiter
            insort(self._queues.setdefault(waiter.namespace, []), waiter)

    def remove(self, uid: str) -> None:
        """Leave the line; without effect for somebody who is not in it."""
        if (waiter := self._waiters.pop(uid, None)) is None:
            return
        queue = self._queues[waiter.namespace]
        del queue[bisect_left(queue, waiter)]
        if not queue:
            del self._queues[waiter.namespace]

    def place(self, uid: str) -> int:
        """The place of somebody in the line, from 1 on, if nobody comes or leaves but those who start."""
        own = self._waiters[uid]
        ahead = bisect_left(self._queues[own.namespace], own)  # as many rounds come before its own
        before = (ns for ns in self._queues if ns != own.namespace)
        mine = self._turn(own.namespace)
        return 1 + ahead + sum(min(len(self._queues[ns]), ahead + (self._turn(ns) < mine)) for ns in before)

    def first(self) -> Waiter | None:
        """Who is next."""
        namespace = min(self._queues, key=self._turn, default=None)
        return None if namespace is None else self._queues[namespace][0]

    def start(self, namespace: str) -> None:
        """A namespace has had its turn."""
        self._starts += 1
        self._turns[namespace] = self._starts

    def forget_all_but(self, namespaces: set[str]) -> None:
        """Of namespaces that have nothing any more, the last turn is of no use."""
        self._turns = {ns: turn for ns, turn in self._turns.items() if ns in namespaces}

    def _turn(self, namespace: str) -> tuple[int, Waiter]:
        """The order of the turns: who has had none comes first, and of those who is oldest."""
        return self._turns.get(namespace, 0), self._queues[namespace][0]
