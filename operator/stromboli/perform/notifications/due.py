"""Which ends of runs are still to be reported by this node's operator, with a small record of each.

The store reports finished runs; deliveries.py does the rest. All of it can be made anew from the cluster at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from stromboli.errors import InvalidInput
from stromboli.grammar import receiver
from stromboli.models.objects import text
from stromboli.models.run import NotificationEntry, Run, RunStatus


@dataclass(frozen=True, slots=True)
class Due:
    """A run whose end is to be reported to `receiver`, a scheme and a host, and what has become of that."""

    namespace: str
    name: str
    receiver: str
    told: NotificationEntry | None


class AllDue:
    """Those of the runs of one node. `wake` is called with the UID of each that is new, or has changed."""

    def __init__(
        self, node: str, wake: Callable[[str], None], observe: Callable[[str], None] = lambda result: None
    ) -> None:
        """`observe` is told what has become of each attempt: `delivered`, `retried` or `given_up`."""
        self._node = node
        self._wake = wake
        self._observe = observe
        self._due: dict[str, Due] = {}
        self._unwritable: dict[str, Mapping[str, Any]] = {}  # what the cluster should say of a notification, by UID

    def __len__(self) -> int:
        return len(self._due)

    def get(self, uid: str) -> Due | None:
        return self._due.get(uid)

    def ended(self, run: Run) -> None:
        """A finished run, as it was read."""
        run = self.known(run)
        self._count(run)
        if not run.awaits_notification or run.status.node != self._node or run.is_being_deleted:
            self._drop(run.uid)
            return
        new = Due(run.namespace, run.name, _shown(text(run.notify.get("url"))), run.status.notification)
        if self._due.get(run.uid) != new:
            self._due[run.uid] = new
            self._wake(run.uid)

    def remember(self, run: Run, notification: Mapping[str, Any]) -> None:
        """What has become of a run's notification cannot be written. While this process lives, it is known here."""
        self._unwritable[run.uid] = notification
        self.ended(run)

    def known(self, run: Run) -> Run:
        """The run with what is known here."""
        found = self._unwritable.get(run.uid)
        return run if found is None else replace(run, status=RunStatus({**run.status.wire, "notification": found}))

    def wrote(self, uid: str) -> None:
        """The run's status says all that is known."""
        self._unwritable.pop(uid, None)

    def gone(self, uid: str) -> None:
        """A run that no longer exists."""
        self.wrote(uid)
        self._drop(uid)

    def _count(self, run: Run) -> None:
        """An attempt is over if there is one more than was known while it was due."""
        due, told = self._due.get(run.uid), run.status.notification
        if due is None or told is None or told.attempts <= (due.told.attempts if due.told is not None else 0):
            return
        if told.delivered is not None:
            self._observe("delivered")
        else:
            self._observe("given_up" if told.is_over else "retried")

    def _drop(self, uid: str) -> None:
        if self._due.pop(uid, None) is not None:
            self._wake(uid)


def _shown(url: str) -> str:
    try:
        return receiver.parse(url).shown
    except InvalidInput:
        return ""
