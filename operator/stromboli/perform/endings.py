"""The end of a run: written into its status however full its object is, announced in an event, and cleaned up after."""

from __future__ import annotations

import logging
from typing import Any

from stromboli.errors import ClusterUnavailable, PodmanError, PodmanUnavailable, Rejected
from stromboli.node.cleanup import Cleaner
from stromboli.perform.notify import Notifier
from stromboli.perform.report import Reporter
from stromboli.perform.sessions import Sessions
from stromboli.reasons import Reason
from stromboli.status import run as states
from stromboli.status.run import Status

log = logging.getLogger(__name__)
Object = dict[str, Any]


class Endings:
    """Ends runs."""

    def __init__(self, reporter: Reporter, notifier: Notifier, turns: Sessions, cleaner: Cleaner) -> None:
        self._reporter = reporter
        self._notifier = notifier
        self._turns = turns
        self._cleaner = cleaner

    async def conclude(self, obj: Object, status: Status, reason: Reason, message: str, everything: str) -> None:
        """The run has ended at `reason`, with all else that `status` tells; `everything` says where its output is.

        Raises Conflict, ClusterUnavailable.
        """
        try:
            await self._reporter.at(obj, status, reason, message)
        except Rejected as error:
            log.warning("%s: its answer is left out of its status: %s", _label(obj), error)
            message = f"{message}; the answer could not be written down: {error}"
            message = f"{message}; {everything}" if everything else message
            await self._barely(obj, status, reason, message)
        self._notifier.tell(obj, reason, message, warning=reason.status == "False")

    async def gone(self, uid: str) -> None:
        """A run or a session is deleted: nothing of it stays, here or in sessions that outlive it.

        Raises ClusterUnavailable, PodmanError, PodmanUnavailable, OSError.
        """
        await self._cleaner.deleted(uid)
        await self._turns.left_by(uid)
        self._turns.forget(uid)

    async def leave(self, obj: Object) -> None:
        """What a run that has ended needs no more goes: all of it, or its turn in a session that stays."""
        try:
            if states.is_kept(obj):
                await self._turns.leave(obj)
            else:
                await self._cleaner.finished(obj["metadata"]["uid"])
            await self._cleaner.tidy(states.session_of(obj), obj["metadata"]["uid"])
        except (PodmanError, PodmanUnavailable, ClusterUnavailable, Rejected) as error:
            log.warning("%s: what it leaves behind is left to the sweep: %s", _label(obj), error)

    async def _barely(self, obj: Object, status: Status, reason: Reason, message: str) -> None:
        """Write how the run ended, and nothing else. Where its object is so full that not even that fits, the event
        says it, and what it has on the node goes all the same.
        """
        bare = {k: v for k, v in status.items() if k not in ("result", "usage", "steps")}
        try:
            await self._reporter.at(obj, bare, reason, message)
        except Rejected as error:
            log.warning("%s has ended (%s), which its status has no room for: %s", _label(obj), reason, error)


def _label(obj: Object) -> str:
    return f"{obj['metadata']['namespace']}/{obj['metadata']['name']}"
