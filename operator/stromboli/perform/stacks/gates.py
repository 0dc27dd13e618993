"""The gates about a run's environment: its stack is one that the policies allow, with images that are on the node.

Everything that the file says is checked before any image is pulled, and everything is pulled before anything starts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from stromboli.compose.problem import key
from stromboli.compose.selection import Selected
from stromboli.compose.stack import Service
from stromboli.errors import ComposeProblem, Conflict, NotPermitted, PodmanError, Refused, Unanswered, Waiting
from stromboli.grammar.reference import Reference
from stromboli.kube.client import Cluster
from stromboli.node.images import Images
from stromboli.node.service_images import image_of
from stromboli.node.stacks.builds import Order, StackBuilds
from stromboli.observe import hostfiles, stacks
from stromboli.observe.pullsecrets import PullSecrets
from stromboli.perform.candidate import Candidate
from stromboli.perform.sessions.objects import SessionObjects
from stromboli.perform.stacks import reading
from stromboli.perform.stacks.prepared import Prepared, StackImages
from stromboli.plan.stack import agent, commands, order, supervision
from stromboli.plan.verdict import GO_ON, Verdict
from stromboli.podman.images import ImageInfo
from stromboli.reasons import Reason

FIELD = stacks.FIELD
AT_ONCE = 2  # readings of files at a time


@dataclass(frozen=True, slots=True)
class StackGates:
    """The gates of stacks on this node."""

    cluster: Cluster
    images: Images
    secrets: PullSecrets
    builds: StackBuilds
    sessions: SessionObjects
    # A large file takes a second of a core, which the operator shares with all other runs.
    readings: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def stack(self, candidate: Candidate) -> Verdict:
        """The file, and whatever it names, can be read, is understood, and is allowed."""
        environment = candidate.request.environment
        candidate.stack = None
        if environment is None:
            return GO_ON
        run, policy = candidate.run, candidate.policy
        try:
            session = run.session or run.name
            project = await stacks.project(self.cluster, run.namespace, environment, policy, session)
            async with self.readings:
                found = await hostfiles.in_time(reading.prepared, project, environment, policy)
        except Unanswered as problem:
            raise Waiting(Reason.WaitingForReference, f"{FIELD}: {problem}", 10.0) from problem
        except ComposeProblem as problem:
            raise refused(problem) from problem
        candidate.stack = found
        stated = candidate.spec.resources
        candidate.request = replace(
            agent.request(candidate.request, stated, found.agent),
            image=found.references.get(found.selected.agent),
        )
        return GO_ON

    async def services(self, candidate: Candidate) -> Verdict:
        """The images of all services are on the node."""
        stack = candidate.stack
        candidate.stack_images = None
        if stack is None:
            return GO_ON
        mounted = reading.mounted(stack.selected, candidate.policy)
        wanted = {str(one): one for one in (*stack.references.values(), *mounted.values())}
        found = await self._resolved(candidate, wanted)
        images = {name: found[str(one)] for name, one in stack.references.items()}
        images |= await self._built(candidate, stack)
        for problem in unfit(stack.selected, images):
            raise refused(problem)
        candidate.stack_images = StackImages(images, {text: found[str(one)] for text, one in mounted.items()})
        return GO_ON

    async def _built(self, candidate: Candidate, stack: Prepared) -> dict[str, ImageInfo]:
        """The images that are built, once all others are there. Raises as `StackBuilds.built`, and Conflict."""
        run, policy, named = candidate.run, candidate.policy, candidate.named
        wanted = {name: one for name, one in stack.selected.services.items() if name not in stack.references}
        if not wanted:
            return {}
        if named is not None and named.obj is None:
            await self.sessions.begin(run, named, candidate.spec)
            raise Conflict(f"the session {named.name} was created: it is read again")
        session = named.obj.uid if named is not None and named.obj is not None else run.uid
        tenant = self.secrets.tenant(run.namespace, candidate.spec.image_pull_secrets, policy.pull_secrets)
        memory, cpus = policy.limits.memory, policy.limits.cpus

        async def resolve(image: Reference, _: str) -> ImageInfo:
            return await self.images.resolve(image, policy.pull_policy, run.uid, tenant)

        async def built(name: str, service: Service) -> ImageInfo:
            assert service.build is not None, "what has no image is built, or was refused"
            order = Order(
                session,
                name,
                service.build,
                policy,
                f"{run.namespace}/{run.session or run.name}",
                service.mark_of(service.build.at),
                memory=None if memory is None else memory.value,
                cpus=None if cpus is None else cpus.value,
            )
            made = await self.builds.built(order, resolve, run.uid)
            if (found := await self.images.by_id(made)) is None:
                raise PodmanError(f"the image of the service {name} was built and is not there")
            return found

        made = await asyncio.gather(*(built(*one) for one in wanted.items()), return_exceptions=True)
        for one in made:
            if isinstance(one, ComposeProblem):
                raise refused(one)
            if isinstance(one, BaseException):
                raise one
        return {name: one for name, one in zip(wanted, made, strict=True) if isinstance(one, ImageInfo)}

    async def _resolved(self, candidate: Candidate, wanted: Mapping[str, Reference]) -> dict[str, ImageInfo]:
        """All images, pulled side by side. Raises as `Images.resolve`."""
        run, policy = candidate.run, candidate.policy
        tenant = self.secrets.tenant(run.namespace, candidate.spec.image_pull_secrets, policy.pull_secrets)
        calls = (self.images.resolve(one, policy.pull_policy, run.uid, tenant) for one in wanted.values())
        found = await asyncio.gather(*calls, return_exceptions=True)
        for one in found:
            if isinstance(one, BaseException):
                raise one
        return {text: one for text, one in zip(wanted, found, strict=True) if isinstance(one, ImageInfo)}


def refused(problem: ComposeProblem) -> Refused:
    """What a problem of the file means for the run."""
    reason = Reason.PolicyViolation if isinstance(problem, NotPermitted) else Reason.InvalidSpec
    own = problem.key.startswith(FIELD)
    return Refused(reason, str(problem) if own else f"{FIELD}: {problem}")


def unfit(selected: Selected, images: Mapping[str, ImageInfo]) -> Iterator[ComposeProblem]:
    """What is wrong with the services in these images."""
    inherited = {name: image_of(image) for name, image in images.items()}
    for name, service in selected.services.items():
        image = images[name]
        if service.platform is not None and not _is_platform(service.platform, image):
            is_for = f"{image.os}/{image.architecture}"
            yield _problem(service, "platform", f"is {service.platform}, and the image is for {is_for}; leave it out")
        if name != selected.agent and commands.combined(service, inherited[name]).is_empty:
            yield _problem(service, "command", "is missing: neither the file nor the image says what to run")
    checked = supervision.checked(selected.services, inherited)
    for failure in order.without_check(selected.services, selected.agent, checked):
        yield ComposeProblem(failure.at, f"{failure.service} {failure.what}; give it a healthcheck")


def _problem(service: Service, name: str, what: str) -> ComposeProblem:
    at = key(("services", service.name, name))
    return ComposeProblem(at, what, service.where(at))


def _is_platform(stated: str, image: ImageInfo) -> bool:
    system, _, machine = stated.lower().partition("/")
    return system == image.os and machine.split("/")[0] in ("", image.architecture)
