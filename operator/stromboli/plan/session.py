"""Decides for a run in a session: the merged spec, whose turn it is, and which hooks still have to run. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from stromboli.errors import InvalidInput, Refused
from stromboli.grammar import duration, quantity, reference
from stromboli.models.agentrun import AgentRunSpec
from stromboli.models.agentsession import SessionTemplate
from stromboli.models.environment import Environment
from stromboli.models.fields import PullSecretName, Resources
from stromboli.models.lifecycle import INIT_HOOKS, Lifecycle
from stromboli.models.run import Run
from stromboli.plan import environments, volumes
from stromboli.plan.attempt import Hook, Records
from stromboli.plan.refusal import invalid
from stromboli.reasons import Reason

T = TypeVar("T")
ANOTHER = "name a new session, or fork this one"


@dataclass(frozen=True, order=True, slots=True)
class Place:
    """A run's place in its session's queue: by creation, and within one second by the version it was created at.

    `session` is the one that it runs in, which is another where it waits to copy this one. `waits` says that it has not
    got past the queue.
    """

    created: str
    ticket: int
    uid: str
    name: str
    session: str
    waits: bool = True


def merged(spec: AgentRunSpec, template: SessionTemplate | None, name: str) -> AgentRunSpec:
    """The run's spec, completed from its session's template. Raises Refused(InvalidSpec) if they differ."""
    if template is None:
        return spec
    found = {
        "image": _same(spec.image, template.image, "spec.image", name, _canonical),
        "image_pull_secrets": _secrets(spec.image_pull_secrets, template.image_pull_secrets, name),
        "environment": _environment(spec.environment, template.environment, name),
        "workdir": _same(spec.workdir, template.workdir, "spec.workdir", name, str),
        "volumes": _same(spec.volumes, template.volumes, "spec.volumes", name, _mounts),
        "lifecycle": _lifecycle(spec.lifecycle, template.lifecycle, name),
        "resources": _resources(spec.resources, template.resources, name),
    }
    return spec.model_copy(update=found)


def forked(spec: AgentRunSpec, template: SessionTemplate | None, name: str) -> AgentRunSpec:
    """The spec of a run that starts a fork of session `name`.

    The copy has the image's filesystem and a conversation that is stored by its working directory, so these are
    the parent's, and with them the environment, whose service has the image. The rest may be the fork's own. Raises
    Refused(InvalidSpec).
    """
    if template is None:
        return spec
    found = {
        "image": _same(spec.image, template.image, "spec.image", name, _canonical),
        "environment": _environment(spec.environment, template.environment, name),
        "workdir": _same(spec.workdir, template.workdir, "spec.workdir", name, str),
        "image_pull_secrets": spec.image_pull_secrets or template.image_pull_secrets,
        "volumes": spec.volumes or template.volumes,
        "lifecycle": template.lifecycle if spec.lifecycle is None or spec.lifecycle.is_empty else spec.lifecycle,
        "resources": template.resources if spec.resources in (None, Resources()) else spec.resources,
    }
    return spec.model_copy(update=found)


def template_of(spec: AgentRunSpec, image: str | None, memory: int | None, millicpus: int | None) -> SessionTemplate:
    """The template that the first run of a session fills in: what the run states, and what the policies give where it
    states nothing.

    `image` is None with an environment. `memory` is in bytes, `millicpus` in thousandths of a CPU.
    """
    stated = spec.resources or Resources()
    given = {"memory": memory, "cpus": f"{millicpus}m" if millicpus is not None else None}
    resources = stated.model_copy(update={name: has for name, has in given.items() if getattr(stated, name) is None})
    found = {
        "image": spec.image or image,
        "image_pull_secrets": spec.image_pull_secrets,
        "environment": spec.environment,
        "workdir": spec.workdir,
        "lifecycle": None if spec.lifecycle is None or spec.lifecycle.is_empty else spec.lifecycle,
        "volumes": spec.volumes or None,
        "resources": None if resources == Resources() else resources,
    }
    return SessionTemplate().model_copy(update=found)


def check_parent(spec: AgentRunSpec, forked_from: str | None) -> None:
    """An existing session is resumed; naming a parent that is not its own is a mistake. Raises Refused."""
    choice = spec.session
    if choice is None or choice.fork is None or choice.fork == forked_from:
        return
    said = f"is a fork of {forked_from}" if forked_from else "is no fork"
    raise invalid(
        "spec.session.fork", f"the session {choice.name} exists and {said}; leave fork out to resume it, or choose "
        "another name"
    )  # fmt: skip


def place_of(run: Run) -> Place:
    """A run's place in its session's queue."""
    ticket = (run.status.session.ticket if run.status.session else "") or run.version
    return Place(
        created=run.created,
        ticket=int(ticket) if ticket.isdigit() else 0,
        uid=run.uid,
        name=run.name,
        session=run.session,
        waits=run.status.reason in ("", Reason.Queued),
    )


def behind(own: Place, current: str | None, waiting: Iterable[Place], name: str) -> str | None:
    """Why the run has to wait for the session `name`, as a sentence; None if it is its turn.

    `waiting` are all runs that want the session and are neither finished nor being deleted, `current` is the UID that
    the session's status names. A current run that is not among them no longer uses the session.

    Only the next run's message names the run ahead of it. For all others the message would change, and their statuses
    would be written, whenever a run leaves the queue.
    """
    queue = sorted(waiting)
    first = next((other for other in queue if other.uid == current), queue[0] if queue else None)
    if first is None or first.uid == own.uid:
        return None
    others = (place for place in queue if place.uid not in (first.uid, own.uid))
    if any(other < own for other in others):
        return f"behind other runs in the queue of the session {name}"
    return f"behind the run {first.name} in the queue of the session {name}"


def hooks_hash(hooks: Iterable[Hook]) -> str:
    """A hash of a session's initial hooks."""
    said = [[hook.kind, hook.command] for hook in hooks if hook.kind in INIT_HOOKS]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def hooks_to_run(hooks: Iterable[Hook], initialized: bool) -> tuple[Hook, ...]:
    """The hooks to run: without the initial ones if these have succeeded in the container."""
    return tuple(hook for hook in hooks if not initialized or hook.kind not in INIT_HOOKS)


def has_initialized(records: Records) -> bool:
    """Whether an attempt got past the session's initial hooks, which come first, and whose failure ends it."""
    return records.sent or any(step.hook not in INIT_HOOKS for step in records.steps)


def _same(stated: T | None, fixed: T | None, field: str, name: str, meaning: Callable[[Any], object]) -> T | None:
    if stated is None:
        return fixed
    try:
        if fixed is not None and meaning(stated) == meaning(fixed):
            return fixed
    except (InvalidInput, Refused):
        return stated  # it is malformed, and refused elsewhere
    said = f"has {_text(fixed)}" if fixed is not None else "has none"
    raise invalid(field, f"is {_text(stated)}, and the session {name} {said}; leave it out, or {ANOTHER}")


def _secrets(
    stated: list[PullSecretName] | None, fixed: list[PullSecretName] | None, name: str
) -> list[PullSecretName] | None:
    """They are no part of the container, so a run may add them where the template has none."""
    return _same(stated, fixed, "spec.imagePullSecrets", name, _names) if fixed else stated


def _lifecycle(stated: Lifecycle | None, fixed: Lifecycle | None, name: str) -> Lifecycle | None:
    if stated is None:
        return fixed
    have = fixed or Lifecycle()
    field = "spec.lifecycle"
    _same(stated.on_create_command, have.on_create_command, f"{field}.onCreateCommand", name, list)
    _same(stated.post_create, have.post_create, f"{field}.postCreate", name, list)
    _same(stated.post_start, have.post_start, f"{field}.postStart", name, list)
    _same(stated.hooks_timeout, have.hooks_timeout, f"{field}.hooksTimeout", name, duration.parse)
    return fixed


def _environment(stated: Environment | None, fixed: Environment | None, name: str) -> Environment | None:
    if stated is None or stated == fixed:
        return fixed
    if fixed is None:
        raise invalid("spec.environment", f"the session {name} has none; leave it out, or {ANOTHER}")
    found = environments.difference(stated, fixed, name)
    if found is None:
        return fixed
    field, how = found
    raise invalid(f"spec.environment.{field}", f"{how}; leave environment out, or {ANOTHER}")


def _resources(stated: Resources | None, fixed: Resources | None, name: str) -> Resources | None:
    if stated is None:
        return fixed
    have = fixed or Resources()
    field = "spec.resources"
    _same(stated.memory, have.memory, f"{field}.memory", name, quantity.memory_bytes)
    _same(stated.cpus, have.cpus, f"{field}.cpus", name, quantity.millicpus)
    _same(stated.cpu_shares, have.cpu_shares, f"{field}.cpuShares", name, int)
    _same(stated.pids, have.pids, f"{field}.pids", name, int)
    return fixed


def _canonical(text: str) -> str:
    return str(reference.parse(text))


def _mounts(texts: list[str]) -> object:
    return set(volumes.parse(texts))


def _names(secrets: list[PullSecretName]) -> object:
    return {secret.name for secret in secrets}


def _text(value: object) -> str:
    if isinstance(value, PullSecretName):
        return value.name
    return ", ".join(map(_text, value)) if isinstance(value, list) else str(value)
