"""The gates about a run's environment: its stack is one that the policies allow, with images that are on the node.

Everything that the file says is checked before any image is pulled, and everything is pulled before anything starts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from stromboli.compose.document.load import load
from stromboli.compose.problem import key
from stromboli.compose.selection import Selected, select
from stromboli.compose.stack import ImageMount, Service, Stack
from stromboli.compose.typed.read import typed
from stromboli.errors import ComposeProblem, NotPermitted, Refused, Unanswered, Unreadable, Waiting
from stromboli.grammar.reference import Reference
from stromboli.kube.client import Cluster
from stromboli.models.environment import Environment
from stromboli.node.images import Images
from stromboli.node.service_images import image_of
from stromboli.observe import hostfiles, stackpaths, stacks
from stromboli.observe.pullsecrets import PullSecrets
from stromboli.observe.stacks import Project
from stromboli.perform.candidate import Candidate
from stromboli.perform.stacks.prepared import Prepared, StackImages
from stromboli.plan import admission
from stromboli.plan.policy import Effective
from stromboli.plan.refusal import invalid
from stromboli.plan.stack import agent, aliases, commands, order, rules, supervision, trust
from stromboli.plan.stack.sources import Source
from stromboli.plan.verdict import GO_ON, Verdict
from stromboli.podman.images import ImageInfo
from stromboli.reasons import Reason

FIELD = stacks.FIELD
LONGEST_SECRET = 512 * 1024  # bytes, as of a Secret's or ConfigMap's value


@dataclass(frozen=True, slots=True)
class StackGates:
    """The gates of stacks on this node."""

    cluster: Cluster
    images: Images
    secrets: PullSecrets

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
            prepared = await hostfiles.in_time(_prepared, project, environment, policy)
        except Unanswered as problem:
            raise Waiting(Reason.WaitingForReference, f"{FIELD}: {problem}", 10.0) from problem
        except ComposeProblem as problem:
            raise refused(problem) from problem
        candidate.stack = prepared
        stated = candidate.spec.resources
        candidate.request = replace(
            agent.request(candidate.request, stated, prepared.agent),
            image=prepared.references.get(prepared.selected.agent),
        )
        return GO_ON

    async def services(self, candidate: Candidate) -> Verdict:
        """The images of all services are on the node."""
        stack = candidate.stack
        candidate.stack_images = None
        if stack is None:
            return GO_ON
        mounted = _mounted(stack.selected, candidate.policy)
        wanted = {str(one): one for one in (*stack.references.values(), *mounted.values())}
        found = await self._resolved(candidate, wanted)
        images = {name: found[str(one)] for name, one in stack.references.items()}
        for problem in unfit(stack.selected, images):
            raise refused(problem)
        candidate.stack_images = StackImages(images, {text: found[str(one)] for text, one in mounted.items()})
        return GO_ON

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
    return ComposeProblem(at, what, str(service.mark_of(at) or ""))


def _is_platform(stated: str, image: ImageInfo) -> bool:
    system, _, machine = stated.lower().partition("/")
    return system == image.os and machine.split("/")[0] in ("", image.architecture)


def _prepared(project: Project, environment: Environment, policy: Effective) -> Prepared:
    """Blocking. Raises ComposeProblem, Refused, Waiting, Unanswered."""
    document = load(project.sources, project.variables, project.files)
    stack = typed(document, project.files)
    try:
        selected = select(stack, environment.profiles or (), environment.service)
    except ComposeProblem as problem:
        if problem.key != "service":
            raise
        raise ComposeProblem(f"{FIELD}.service", problem.what) from problem
    notices = (*project.notices, *stack.notices, *rules.judge(stack, selected, policy.compose, policy.limits))
    notices = (*notices, *aliases.hidden_links(selected.services))
    trust.judge(selected, policy.env)
    references = _references(stack, selected, environment, policy)
    sources = stackpaths.resolved(stack.services.values(), policy.volumes)
    used = {one.at for service in selected.services.values() for one in (*service.mounts, *service.secrets)}
    secrets = _secrets(selected, sources, project)
    return Prepared(
        stack, selected, references, {at: one for at, one in sources.items() if at in used}, secrets, notices
    )


def _references(stack: Stack, selected: Selected, environment: Environment, policy: Effective) -> dict[str, Reference]:
    """The images of the services that are on, each of which the policies admit. Raises Refused, ComposeProblem."""
    instead = environment.images or {}
    for name in instead:
        if name not in stack.services:
            raise invalid(f"{FIELD}.images.{name}", f"the file has no service {name}")
    found = {}
    for name, service in selected.services.items():
        if (text := instead.get(name)) is not None:
            found[name] = admission.admit(text, policy, f"{FIELD}.images.{name}")
        elif service.image is not None:
            found[name] = admission.admit(service.image, policy, f"{FIELD}: services.{name}.image")
    return found


def _mounted(selected: Selected, policy: Effective) -> dict[str, Reference]:
    """The images that services mount, by their text, each of which the policies admit. Raises Refused."""
    mounts = (mount for service in selected.services.values() for mount in service.mounts)
    images = [mount for mount in mounts if isinstance(mount, ImageMount)]
    return {one.image: admission.admit(one.image, policy, f"{FIELD}: {one.at}.source") for one in images}


def _secrets(selected: Selected, sources: Mapping[str, Source], project: Project) -> dict[str, bytes]:
    """Raises ComposeProblem, NotPermitted."""
    found = {}
    for service in selected.services.values():
        for secret in service.secrets:
            try:
                found[secret.source] = project.files.read(sources[secret.at].path, LONGEST_SECRET)
            except Unreadable as problem:
                kind = ComposeProblem if problem.permitted else NotPermitted
                raise kind(secret.at, f"{secret.source} {problem}") from problem
    return found
