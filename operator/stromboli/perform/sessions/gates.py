"""The gates about the session that a run names: it is on this node, and it is the run's turn in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stromboli.observe import sessions
from stromboli.observe.sessions import Queues
from stromboli.perform.candidate import Candidate
from stromboli.plan.verdict import GO_ON, Verdict
from stromboli.reasons import Reason


@dataclass(frozen=True, slots=True)
class SessionGates:
    """The gates of the sessions on the node of this name. `idle` is called with the UID of a session that is still held
    by a run that has ended.
    """

    queues: Queues
    on_node: str
    idle: Callable[[str], None]

    async def node(self, candidate: Candidate) -> Verdict:
        """The session and its parent are on this node, or on none yet."""
        if (named := candidate.named) is not None:
            for session in filter(None, (named.obj, named.parent)):
                sessions.check_node(session, self.on_node)
        return GO_ON

    async def turn(self, candidate: Candidate) -> Verdict:
        """It is the run's turn in the session, and in the one that it forks."""
        if (named := candidate.named) is not None:
            await self.queues.await_turn(candidate.run, named.obj, named.name)
            if named.parent is not None:
                await self.queues.await_turn(candidate.run, named.parent, named.parent.name)
        return GO_ON

    async def turn_again(self, candidate: Candidate) -> Verdict:
        """Whether the run's turn has come, as far as this operator knows."""
        if candidate.run.status.reason == Reason.Queued:
            await self.queues.await_turn_again(candidate.run)
        return GO_ON
