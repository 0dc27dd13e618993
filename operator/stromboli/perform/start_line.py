"""The last gate: the node has room for one more start. Who waits for it is in the line of node/start_gate.py."""

from __future__ import annotations

from dataclasses import dataclass

from stromboli.node.start_gate import StartGate
from stromboli.observe.sessions import moment
from stromboli.perform.candidate import Candidate
from stromboli.plan.verdict import GO_ON, Verdict, Wait
from stromboli.reasons import Reason
from stromboli.status.run import waiter

LINE_RECHECK = 60.0  # seconds; a run that makes room wakes the next


@dataclass(frozen=True, slots=True)
class StartLine:
    """The start gate of the node of this name."""

    gate: StartGate
    node: str

    async def start_again(self, candidate: Candidate) -> Verdict:
        """Whether the start gate admits it, if it is in this node's line."""
        return await self.start(candidate) if candidate.run.status.is_in_line else GO_ON

    async def start(self, candidate: Candidate) -> Verdict:
        """The node has room for one more start. An attempt that is already recorded does not wait again, nor does one
        that follows it at once; a run that has rested between two attempts has given its place away.
        """
        run = candidate.run
        if run.status.attempts and not run.status.is_between_attempts:
            self.gate.enter_again(run.uid)
            return GO_ON
        place = self.gate.enter(waiter(run, moment(run, self.node)))
        if place is None:
            return GO_ON
        limits = f"{self.gate.starts} start at once"
        limits += f", and at most {self.gate.most} are at work" if self.gate.most is not None else ""
        message = f"place {place} in the line to start on node {self.node}, where {limits}"
        return Wait(Reason.Queued, message, LINE_RECHECK, in_line=True)
