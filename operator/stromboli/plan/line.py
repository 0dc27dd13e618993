"""The node's start queue: which run starts next if there are more than may start at once. Pure.

Within a namespace, runs start in the order of creation. Namespaces take turns, so that a thousand runs of one do not
delay the single run of another: the namespace whose last start is the oldest is next.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field


@dataclass(frozen=True, order=True, slots=True)
class Waiter:
    """A waiting run. `created` is the creation time of its object, in whole seconds; `since` is when it was first
    seen, which decides between those of one second. Both are RFC 3339 in UTC, so that they compare as text.
    """

    created: str
    since: str
    uid: str
    namespace: str = field(compare=False)


class Line:
    """The runs that wait on one node."""

    def __init__(self) -> None:
        self._waiters: dict[str, Waiter] = {}
        self._queues: dict[str, list[Waiter]] = {}
        self._last_starts: dict[str, int] = {}  # namespace → the number of its last start
        self._starts = 0

    def __len__(self) -> int:
        return len(self._waiters)

    def __contains__(self, uid: str) -> bool:
        return uid in self._waiters

    def add(self, waiter: Waiter) -> None:
        """Add a run; one that is already in the line keeps its place."""
        if waiter.uid not in self._waiters:
            self._waiters[waiter.uid] = waiter
            insort(self._queues.setdefault(waiter.namespace, []), waiter)

    def remove(self, uid: str) -> None:
        """Remove a run; no effect if it is not in the line."""
        if (waiter := self._waiters.pop(uid, None)) is None:
            return
        queue = self._queues[waiter.namespace]
        del queue[bisect_left(queue, waiter)]
        if not queue:
            del self._queues[waiter.namespace]

    def place(self, uid: str) -> int:
        """The place of a run in the line, from 1 on, assuming that nothing changes except by starts."""
        own = self._waiters[uid]
        ahead = bisect_left(self._queues[own.namespace], own)  # that many rounds come before its own
        before = (ns for ns in self._queues if ns != own.namespace)
        mine = self._order(own.namespace)
        return 1 + ahead + sum(min(len(self._queues[ns]), ahead + (self._order(ns) < mine)) for ns in before)

    def first(self) -> Waiter | None:
        """Who is next."""
        namespace = min(self._queues, key=self._order, default=None)
        return None if namespace is None else self._queues[namespace][0]

    def start(self, namespace: str) -> None:
        """A run of this namespace starts: the other namespaces come first now."""
        self._starts += 1
        self._last_starts[namespace] = self._starts

    def forget_all_but(self, namespaces: set[str]) -> None:
        """Forget the last starts of namespaces without runs."""
        self._last_starts = {ns: start for ns, start in self._last_starts.items() if ns in namespaces}

    def _order(self, namespace: str) -> tuple[int, Waiter]:
        """The sort key: namespaces without any start come first, and of those the one with the oldest run."""
        return self._last_starts.get(namespace, 0), self._queues[namespace][0]
