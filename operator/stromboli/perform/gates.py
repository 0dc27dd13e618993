"""The preconditions of each start: an ordered list of gates, which reads as the specification.

The spec comes first, then today's policies, the run's turn in its session, lookups on the node and in the cluster, and
the start gate last. A gate that stops the run saves the lookups of the later ones: no image is pulled that the policies
do not admit. The first gate that does not let the run go on decides.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from pydantic import ValidationError

from stromboli.errors import (
    ClusterUnavailable,
    ImageMissing,
    LocalFailure,
    PodmanError,
    PodmanUnavailable,
    PullFailed,
    Refused,
)
from stromboli.kube.client import Cluster
from stromboli.models.agentrun import AgentRunSpec
from stromboli.models.run import Run
from stromboli.models.sentences import sentence
from stromboli.node.cli import CLIMounts
from stromboli.node.gate import Gate as StartGate
from stromboli.node.images import Images
from stromboli.observe import gateway, hostpaths, policy, references, sessions
from stromboli.observe.schemas import Schemas
from stromboli.observe.sessions import Leaving, Queues
from stromboli.perform.candidate import Candidate
from stromboli.perform.report import Reporter
from stromboli.plan import admission, compatibility, request
from stromboli.plan import images as rules
from stromboli.plan.compatibility import CLINeeds
from stromboli.plan.verdict import GO_ON, STOPPING, GoOn, Refuse, Stop, Wait, verdict
from stromboli.podman.images import ImageInfo
from stromboli.reasons import Reason
from stromboli.settings import Settings
from stromboli.status.run import waiter

log = logging.getLogger(__name__)

Verdict = GoOn | Stop
Gate = Callable[[Candidate], Awaitable[Verdict]]


def parse(run: Run) -> AgentRunSpec:
    """The typed spec. Raises Refused(InvalidSpec)."""
    try:
        return AgentRunSpec.model_validate(run.spec)
    except ValidationError as e:
        raise Refused(Reason.InvalidSpec, sentence(e)) from e


@dataclass(frozen=True, slots=True)
class Gates:
    """The gates of this node. `idle` is called with the UID of a session that is still held by a run that has ended."""

    cluster: Cluster
    settings: Settings
    images: Images
    mounts: CLIMounts
    schemas: Schemas
    queues: Queues
    start_gate: StartGate
    reporter: Reporter
    idle: Callable[[str], None]

    @property
    def early(self) -> Sequence[Gate]:
        """The verdict on a run that has been queued before, without any lookups."""
        return (self.turn_again, self.line)

    @property
    def lasting(self) -> Sequence[Gate]:
        """What must still hold while something is done for the run beside its turns: a policy may have changed."""
        return (self.spec, self.policies, self.volumes)

    @property
    def all(self) -> Sequence[Gate]:
        """The gates in their order."""
        return (
            self.spec,
            self.policies,
            self.node,
            self.turn,
            self.schema,
            self.volumes,
            at_once(self.gateway, self.prompt, self.credentials, self.cli, self.image),
            self.inside,
            self.user,
            self.start,
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
            self.idle(error.uid)
        if isinstance(error, PodmanError | PodmanUnavailable):
            self.mounts.doubt()
        if isinstance(error, LocalFailure | OSError):  # the operator's own folders: log that too
            log.warning("%s: %s", run.label, error)

    # --- the gates, in their order ---

    async def turn_again(self, candidate: Candidate) -> Verdict:
        """Whether the run's turn in its session has come, as far as this operator knows."""
        if candidate.run.status.reason == Reason.Queued:
            await self.queues.await_turn_again(candidate.run)
        return GO_ON

    async def line(self, candidate: Candidate) -> Verdict:
        """Whether the start gate lets it in, if it is in this node's line."""
        return await self.start(candidate) if candidate.run.status.is_in_line else GO_ON

    async def spec(self, candidate: Candidate) -> Verdict:
        """The spec is valid, alone and together with its session's template."""
        candidate.spec, candidate.named = parse(candidate.run), None
        if candidate.spec.session is not None:
            found = await sessions.named(self.cluster, candidate.run, candidate.spec, candidate.spec.session)
            candidate.spec, candidate.named = found.spec, found
        return GO_ON

    async def policies(self, candidate: Candidate) -> Verdict:
        """Every policy of the namespace allows it now."""
        candidate.policy = await policy.effective(self.cluster, self.settings, candidate.run.namespace)
        candidate.request = request.build(candidate.spec, candidate.policy)
        candidate.timeout = candidate.request.timeout
        return GO_ON

    async def node(self, candidate: Candidate) -> Verdict:
        """The session and its parent are on this node, or on none yet."""
        if (named := candidate.named) is not None:
            for session in filter(None, (named.obj, named.parent)):
                sessions.check_node(session, self.settings.node)
        return GO_ON

    async def turn(self, candidate: Candidate) -> Verdict:
        """It is the run's turn in the session, and in the one that it forks."""
        if (named := candidate.named) is not None:
            await self.queues.await_turn(candidate.run, named.obj, named.name)
            if named.parent is not None:
                await self.queues.await_turn(candidate.run, named.parent, named.parent.name)
        return GO_ON

    async def schema(self, candidate: Candidate) -> Verdict:
        """The JSON schema is one that the CLI accepts."""
        claude = candidate.request.claude
        if claude.json_schema is not None:
            text = await self.schemas.prepared(claude.json_schema, candidate.run.namespace)
            claude = claude.model_copy(update={"json_schema": text})
            candidate.request = replace(candidate.request, claude=claude)
        return GO_ON

    async def volumes(self, candidate: Candidate) -> Verdict:
        """The host folders exist, and their real paths are allowed."""
        candidate.volumes = await hostpaths.resolve(candidate.request, candidate.policy)
        return GO_ON

    async def gateway(self, candidate: Candidate) -> Verdict:
        """The gateway's socket exists."""
        socket = candidate.request.gateway_socket
        candidate.gateway = await gateway.folder(socket, self.settings.podman_socket)
        return GO_ON

    async def prompt(self, candidate: Candidate) -> Verdict:
        candidate.prompt = await references.prompt(self.cluster, candidate.run.namespace, candidate.spec)
        return GO_ON

    async def credentials(self, candidate: Candidate) -> Verdict:
        candidate.credentials = await references.credentials(self.cluster, self.settings, candidate.policy)
        return GO_ON

    async def cli(self, candidate: Candidate) -> Verdict:
        """The Claude CLI is mounted on the node, unless images bring their own."""
        candidate.cli = await self.mounts.ready(candidate.policy.cli, candidate.run.uid)
        return GO_ON

    async def image(self, candidate: Candidate) -> Verdict:
        """The image is on the node: for a session, the one that it began with, as long as that exists."""
        pinned = candidate.named.pinned if candidate.named is not None else None
        found = await self.images.by_id(pinned) if pinned else None
        candidate.image = found or await self._resolved(candidate)
        return GO_ON

    async def inside(self, candidate: Candidate) -> Verdict:
        """The CLI can run in the image."""
        needs = candidate.cli.needs if candidate.cli is not None else CLINeeds()
        facts = candidate.facts = await self.images.facts(candidate.image, needs)
        own = candidate.cli is None
        fits = compatibility.judge_own_cli(facts) if own else compatibility.judge(facts, needs)
        if not fits.ok or facts.user is None:
            return Refuse(Reason.ImageIncompatible, fits.message)
        candidate.user = facts.user
        return GO_ON

    async def user(self, candidate: Candidate) -> Verdict:
        """The commands of the run's user have a shell."""
        if candidate.request.hooks and not candidate.facts.has_shell:
            return Refuse(
                Reason.ImageIncompatible,
                "the image has no /bin/sh, which the commands of spec.lifecycle need; use an image that has one, or "
                "leave the hooks out",
            )
        return GO_ON

    async def start(self, candidate: Candidate) -> Verdict:
        """The node has room for one more start. An attempt that is already recorded does not wait again."""
        run = candidate.run
        if run.status.attempts:
            self.start_gate.enter_again(run.uid)
            return GO_ON
        place = self.start_gate.enter(waiter(run, self.reporter.moment(run)))
        if place is None:
            return GO_ON
        limits = f"{self.start_gate.starts} start at once"
        limits += f", and at most {self.start_gate.most} are at work" if self.start_gate.most is not None else ""
        message = f"place {place} in the line to start on node {self.settings.node}, where {limits}"
        return Wait(Reason.Queued, message, LINE_RECHECK, in_line=True)

    async def _resolved(self, candidate: Candidate) -> ImageInfo:
        """The image that the reference names now. Raises as `Images.resolve`."""
        wanted = candidate.request.image
        try:
            return await self.images.resolve(wanted, candidate.policy.pull_policy, candidate.run.uid)
        except PullFailed as problem:
            if hint := await self._local_twin(candidate):
                raise PullFailed(f"{problem}; {hint}", permanent=problem.permanent) from problem
            raise
        except ImageMissing as problem:
            if hint := await self._local_twin(candidate):
                raise ImageMissing(f"{problem}; {hint}") from problem
            raise

    async def _local_twin(self, candidate: Candidate) -> str:
        """What to write instead, if the node has the image under the name that Podman gives to local builds.

        Nothing is suggested that the policies do not admit.
        """
        twin = rules.local_twin(candidate.request.image)
        if twin is None or not admission.is_admitted(twin, candidate.policy):
            return ""
        if await self.images.on_node(twin) is None:
            return ""
        return f"{twin} is on the node: write that if it is meant"


LINE_RECHECK = 60.0  # seconds; a run that makes room wakes the next


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
