"""The gates about images: the run's image and that of the Claude CLI are on the node, and the one runs in the other."""

from __future__ import annotations

from dataclasses import dataclass

from stromboli.errors import ImageMissing, PullFailed
from stromboli.grammar.reference import Reference
from stromboli.node.cli import CLIMounts
from stromboli.node.images import Images
from stromboli.observe.pullsecrets import PullSecrets
from stromboli.observe.stacks import FIELD
from stromboli.perform.candidate import Candidate
from stromboli.plan import admission, compatibility
from stromboli.plan import images as rules
from stromboli.plan.compatibility import CLINeeds, ImageFacts
from stromboli.plan.verdict import GO_ON, Refuse, Verdict
from stromboli.podman.images import ImageInfo
from stromboli.reasons import Reason

_NO_SHELL = (
    "the image has no /bin/sh, which the commands of spec.lifecycle need; use an image that has one, or leave the "
    "hooks out"
)


@dataclass(frozen=True, slots=True)
class RunImages:
    """The images of this node's runs."""

    images: Images
    mounts: CLIMounts
    secrets: PullSecrets

    async def cli(self, candidate: Candidate) -> Verdict:
        """The Claude CLI is mounted on the node, unless images bring their own."""
        namespace, policy = candidate.run.namespace, candidate.policy
        tenant = self.secrets.tenant(namespace, None, policy.pull_secrets)
        candidate.cli = await self.mounts.ready(policy.cli, candidate.run.uid, tenant)
        return GO_ON

    async def image(self, candidate: Candidate) -> Verdict:
        """The image is on the node: for a session, the one that it began with, as long as that exists, since access to
        it was shown then. With a stack it is the service's, as the file has it now.
        """
        wanted, stack = candidate.request.image, candidate.stack
        if stack is not None:
            assert candidate.stack_images is not None
            candidate.image = candidate.stack_images.services[stack.selected.agent]
            return GO_ON
        assert wanted is not None, "only a stack leaves it open"
        pinned = candidate.named.pinned if candidate.named is not None else None
        found = await self.images.by_id(pinned) if pinned else None
        if found is not None and not self.images.access.visible_to(candidate.run.namespace, found):
            found = None
        candidate.image = found or await self._resolved(candidate, wanted)
        return GO_ON

    async def inside(self, candidate: Candidate) -> Verdict:
        """The CLI can run in the image."""
        needs = candidate.cli.needs if candidate.cli is not None else CLINeeds()
        user = candidate.stack.agent.user if candidate.stack is not None else None
        facts = candidate.facts = await self.images.facts(candidate.image, needs, user or "")
        own = candidate.cli is None
        fits = compatibility.judge_own_cli(facts) if own else compatibility.judge(facts, needs)
        if not fits.ok or facts.user is None:
            return Refuse(Reason.ImageIncompatible, _in_its_place(candidate, fits.message, facts))
        candidate.user = facts.user
        return GO_ON

    async def user(self, candidate: Candidate) -> Verdict:
        """The commands of the run's user have a shell."""
        if candidate.request.hooks and not candidate.facts.has_shell:
            return Refuse(Reason.ImageIncompatible, _in_its_place(candidate, _NO_SHELL, candidate.facts))
        return GO_ON

    def doubt_cli(self) -> None:
        """Check the CLI's mount before the next start."""
        self.mounts.doubt()

    def leave(self, run_uid: str) -> None:
        """The run no longer waits for a pull."""
        self.images.leave(run_uid)

    async def _resolved(self, candidate: Candidate, wanted: Reference) -> ImageInfo:
        """The image that the reference names now. Raises as `Images.resolve`."""
        policy = candidate.policy
        own = candidate.spec.image_pull_secrets
        tenant = self.secrets.tenant(candidate.run.namespace, own, policy.pull_secrets)
        try:
            return await self.images.resolve(wanted, policy.pull_policy, candidate.run.uid, tenant)
        except PullFailed as problem:
            if hint := await self._local_twin(candidate, wanted):
                raise PullFailed(f"{problem}; {hint}", problem.problem) from problem
            raise
        except ImageMissing as problem:
            if hint := await self._local_twin(candidate, wanted):
                raise ImageMissing(f"{problem}; {hint}") from problem
            raise

    async def _local_twin(self, candidate: Candidate, wanted: Reference) -> str:
        """What to write instead, if the node has the image under the name that Podman gives to local builds.

        Nothing is suggested that the policies do not admit.
        """
        twin = rules.local_twin(wanted)
        if twin is None or not admission.is_admitted(twin, candidate.policy):
            return ""
        if await self.images.on_node(twin) is None:
            return ""
        return f"{twin} is on the node: write that if it is meant"


def _in_its_place(candidate: Candidate, problem: str, facts: ImageFacts) -> str:
    """The problem, with the key of the compose file that it is about: a stack has several images."""
    if candidate.stack is None:
        return problem
    agent = candidate.stack.agent
    if facts.user is None and problem == facts.user_problem and agent.user:
        return f"{FIELD}: services.{agent.name}.user: {problem}"
    reference = candidate.stack.references.get(agent.name)
    where = f"image: {reference}" if reference is not None else "build"
    return f"{FIELD}: services.{agent.name}.{where}: {problem}"
