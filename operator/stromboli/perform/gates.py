"""The preconditions of each start: an ordered list of gates, which reads as the specification.

The spec comes first, then today's policies, the run's turn in its session, lookups on the node and in the cluster, and
the start gate last. A gate that stops the run saves the lookups of the later ones: no image is pulled that the policies
do not admit. The first gate that does not let the run go on decides.

Here: the order, and what becomes of an error. The gates themselves: lookups.py, sessions/gates.py, stacks/gates.py,
run_images.py and start_line.py.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from stromboli.errors import ClusterUnavailable, LocalFailure, PodmanError, PodmanUnavailable
from stromboli.models.run import Run
from stromboli.observe.sessions import Leaving
from stromboli.perform.candidate import Candidate
from stromboli.perform.lookups import Lookups
from stromboli.perform.run_images import RunImages
from stromboli.perform.sessions.gates import SessionGates
from stromboli.perform.stacks.gates import StackGates
from stromboli.perform.start_line import StartLine
from stromboli.plan.verdict import GO_ON, STOPPING, GoOn, Verdict, verdict

log = logging.getLogger(__name__)

Gate = Callable[[Candidate], Awaitable[Verdict]]


@dataclass(frozen=True, slots=True)
class Gates:
    """The gates of this node."""

    lookups: Lookups
    sessions: SessionGates
    images: RunImages
    stacks: StackGates
    start_line: StartLine

    @property
    def early(self) -> Sequence[Gate]:
        """The verdict on a run that has been queued before, without any lookups."""
        return (self.sessions.turn_again, self.start_line.start_again)

    @property
    def lasting(self) -> Sequence[Gate]:
        """What must still hold while work goes on for the run beside its passes: a policy may have changed."""
        lookup = self.lookups
        return (lookup.spec, lookup.policies, lookup.volumes)

    @property
    def all(self) -> Sequence[Gate]:
        """The gates in their order."""
        lookup, session, image, stack = self.lookups, self.sessions, self.images, self.stacks
        return (
            lookup.spec,
            lookup.policies,
            session.node,
            session.turn,
            lookup.schema,
            lookup.volumes,
            stack.stack,
            at_once(lookup.llm_gateway, lookup.prompt, lookup.credentials, lookup.taken, image.cli, stack.services),
            image.image,
            image.inside,
            image.user,
            self.start_line.start,
        )

    async def through(self, candidate: Candidate, gates: Sequence[Gate]) -> Verdict:
        """Ask one gate after the other. Raises Conflict."""
        for gate in gates:
            try:
                said = await gate(candidate)
            except (*STOPPING, ClusterUnavailable) as error:
                self.heed(candidate.run, error)
                said = verdict(error)
            if not isinstance(said, GoOn):
                return said
        return GO_ON

    def heed(self, run: Run, error: Exception) -> None:
        """Check what may have caused an error: a session that a run has not left, the CLI's mount. Log what matters."""
        if isinstance(error, Leaving):
            self.sessions.idle(error.uid)
        if isinstance(error, PodmanError | PodmanUnavailable):
            self.images.doubt_cli()
        if isinstance(error, LocalFailure | OSError):  # the operator's own folders: log that too
            log.warning("%s: %s", run.label, error)


def at_once(*gates: Gate) -> Gate:
    """All of these run concurrently; of those that do not let the run go on, the first decides."""

    async def gate(candidate: Candidate) -> Verdict:
        found = await asyncio.gather(*(each(candidate) for each in gates), return_exceptions=True)
        for said in found:
            if isinstance(said, BaseException):
                raise said
            if not isinstance(said, GoOn):
                return said
        return GO_ON

    return gate
