"""The finished runs that there are, with a small record of each. The store reports them; expiry.py deletes them.

When a run ended is kept as a moment of the clock that counts from the machine's start, also while it is suspended: a
wall clock that is set afterwards changes no deadline. Only after a restart of the operator is it all there is.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from stromboli.models.run import Run
from stromboli.plan.expiry import Finished
from stromboli.plan.notify import KEPT

SET = 1.0  # seconds by which the wall clock differs once somebody has set it, and does not just run a little faster


def _wall() -> float:
    return datetime.now(UTC).timestamp()


def _steady() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass
class Clock:
    """A wall clock that may jump, and a steady one that nobody sets; both in seconds."""

    wall: Callable[[], float] = _wall
    steady: Callable[[], float] = _steady
    _ahead: float | None = None  # the wall clock, of the steady one

    def moment(self, shown: datetime) -> float:
        """When the wall clock showed that time, on the steady one; now, if it has not shown it yet.

        Two times are as far apart as their moments, unless the clock was set in between.
        """
        now = self.steady()
        ahead = self.wall() - now
        if self._ahead is None or abs(ahead - self._ahead) >= SET:
            self._ahead = ahead
        return min(shown.timestamp() - self._ahead, now)


class History:
    """The finished runs of all namespaces. `news` is set when one has ended, has changed or is gone."""

    def __init__(self, node: str, clock: Clock | None = None) -> None:
        self._node = node
        self._clock = clock or Clock()
        self._runs: dict[str, dict[str, Finished]] = {}
        self._namespaces: dict[str, str] = {}  # by the UID of the run
        self._changed: set[str] = set()
        self.news = asyncio.Event()

    def __len__(self) -> int:
        return len(self._namespaces)

    def now(self) -> float:
        """The moment that it is."""
        return self._clock.steady()

    def ended(self, run: Run) -> None:
        """A finished run, as it was read. One whose status does not say when it ended is never deleted."""
        completed = run.status.completed
        if completed is None or run.is_being_deleted:
            self.gone(run.uid)
            return
        known = self._runs.get(run.namespace, {}).get(run.uid)
        moment = known.ended if known and known.completed == completed else self._clock.moment(completed)
        new = Finished(
            uid=run.uid,
            name=run.name,
            version=run.version,
            completed=completed,
            ended=moment,
            ttl=run.ttl,
            ours=run.status.node in ("", self._node),
            held=moment + KEPT if run.awaits_notification else -math.inf,
        )
        if new != known:
            self._runs.setdefault(run.namespace, {})[run.uid] = new
            self._namespaces[run.uid] = run.namespace
            self._tell(run.namespace)

    def gone(self, uid: str) -> None:
        """A run that no longer exists, or is being deleted."""
        namespace = self._namespaces.pop(uid, None)
        if namespace is None:
            return
        runs = self._runs[namespace]
        del runs[uid]
        if not runs:
            del self._runs[namespace]
        self._tell(namespace)

    def knows(self, uid: str) -> bool:
        return uid in self._namespaces

    def of(self, namespace: str) -> Collection[Finished]:
        """The finished runs of a namespace."""
        return tuple(self._runs.get(namespace, {}).values())

    def has(self, one: Finished) -> bool:
        """Whether that is the newest that is known of the run."""
        return self._runs.get(self._namespaces.get(one.uid, ""), {}).get(one.uid) == one

    def namespaces(self) -> set[str]:
        """Those that have finished runs."""
        return set(self._runs)

    def take_changed(self) -> set[str]:
        """The namespaces of which something has changed since the last call."""
        changed, self._changed = self._changed, set()
        self.news.clear()
        return changed

    def _tell(self, namespace: str) -> None:
        self._changed.add(namespace)
        self.news.set()
