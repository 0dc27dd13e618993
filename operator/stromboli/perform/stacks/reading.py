"""The files of a run's environment → its stack, as far as it can be judged without images. Blocking, like its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from stromboli.compose.document.load import load
from stromboli.compose.selection import Selected, select
from stromboli.compose.stack import ImageMount, Stack
from stromboli.compose.typed.read import typed
from stromboli.errors import ComposeProblem, NotPermitted, Unreadable
from stromboli.grammar.reference import Reference
from stromboli.models.environment import Environment
from stromboli.observe import stackpaths
from stromboli.observe.stacks import FIELD, Project
from stromboli.perform.stacks.prepared import Prepared
from stromboli.plan import admission
from stromboli.plan.policy import Effective
from stromboli.plan.refusal import invalid
from stromboli.plan.stack import aliases, builds, rules, trust
from stromboli.plan.stack.sources import Source

MOST_SECRETS = 4 * 1024 * 1024  # bytes of all services' copies together, which are on the tmpfs of all runs' secrets
LONGEST_SECRET = 512 * 1024  # bytes, as of a Secret's or ConfigMap's value


def prepared(project: Project, environment: Environment, policy: Effective) -> Prepared:
    """What the files of a project mean, if the policies allow it. Blocking. Raises ComposeProblem, Refused, Waiting,
    Unanswered.
    """
    document = load(project.sources, project.variables, project.files)
    stack = typed(document, project.files)
    try:
        selected = select(stack, environment.profiles or (), environment.service)
    except ComposeProblem as problem:
        if problem.key != "service":
            raise
        raise ComposeProblem(f"{FIELD}.service", problem.what) from problem
    selected = _overridden(selected, environment.images or {})
    notices = (*project.notices, *stack.notices, *rules.judge(stack, selected, policy.compose, policy.limits))
    notices = (*notices, *aliases.hidden_links(selected.services))
    trust.judge(selected, policy.env, policy.network)
    references = _references(stack, selected, environment, policy)
    sources = stackpaths.resolved(stack.services.values(), policy.volumes)
    used = {one.at for service in selected.services.values() for one in (*service.mounts, *service.secrets)}
    secrets = _secrets(selected, sources, project)
    return Prepared(
        stack, selected, references, {at: one for at, one in sources.items() if at in used}, secrets, notices
    )


def _overridden(selected: Selected, instead: Mapping[str, str]) -> Selected:
    """The same with the images that the run gives to services: nothing is built for these."""
    services = {
        name: replace(service, image=instead[name], build=None) if name in instead else service
        for name, service in selected.services.items()
    }
    return replace(selected, services=services)


def _references(stack: Stack, selected: Selected, environment: Environment, policy: Effective) -> dict[str, Reference]:
    """The images of the services that are on and not built, each of which the policies admit.

    Raises Refused, ComposeProblem.
    """
    instead = environment.images or {}
    for name in instead:
        if name not in stack.services:
            raise invalid(f"{FIELD}.images.{name}", f"the file has no service {name}")
    found = {}
    for name, service in selected.services.items():
        if builds.is_built(service, policy.compose, overridden=name in instead):
            continue
        if (text := instead.get(name)) is not None:
            found[name] = admission.admit(text, policy, f"{FIELD}.images.{name}")
        elif service.image is not None:
            found[name] = admission.admit(service.image, policy, f"{FIELD}: services.{name}.image")
    return found


def mounted(selected: Selected, policy: Effective) -> dict[str, Reference]:
    """The images that services mount, by their text, each of which the policies admit. Raises Refused."""
    mounts = (mount for service in selected.services.values() for mount in service.mounts)
    images = [mount for mount in mounts if isinstance(mount, ImageMount)]
    return {one.image: admission.admit(one.image, policy, f"{FIELD}: {one.at}.source") for one in images}


def _secrets(selected: Selected, sources: Mapping[str, Source], project: Project) -> dict[str, bytes]:
    """Raises ComposeProblem, NotPermitted."""
    found, size = {}, 0
    for service in selected.services.values():
        for secret in service.secrets:
            try:
                found[secret.source] = project.files.read(sources[secret.at].path, LONGEST_SECRET)
            except Unreadable as problem:
                kind = ComposeProblem if problem.permitted else NotPermitted
                raise kind(secret.at, f"{secret.source} {problem}") from problem
            size += len(found[secret.source])
            if size > MOST_SECRETS:
                what = f"is one too many: the secrets of all services have at most {MOST_SECRETS} bytes together"
                raise ComposeProblem(secret.mounted_at, what)
    return found
