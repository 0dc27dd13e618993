"""Decides what a session's next run is started in, from what was found of the session on the node. Pure.

A session's container is started again if the session's initial hooks have succeeded in it, today's policies allow it
and a start of it can succeed. Otherwise it is rebuilt: from the copy that a fork began with, or from the run's image.
A session whose conversation is lost never runs again.

If the decision depends on something that has not been looked up yet, the next step is that lookup, and then another
decision. So a run that is refused anyway costs no further lookups, and no mount of a root file system.
"""

from __future__ import annotations

from dataclasses import dataclass

from stromboli import naming
from stromboli.event_reasons import EventReason
from stromboli.plan.container import Shape, labels_lost, misfit
from stromboli.plan.limits import Limits
from stromboli.plan.stack import definitions
from stromboli.plan.stack.definitions import Definition
from stromboli.plan.verdict import Refuse, Wait
from stromboli.reasons import Reason

OWN_RECHECK = 0.5  # seconds until a container that runs for the run itself is checked again


@dataclass(frozen=True, slots=True)
class Container:
    """The session's container. `alive` means that it may have processes, and `own` that those are of the attempt that
    is to be started. `shape` is None if its label cannot be read; `definition` is what the service in which
    the agent runs said when it was created, None without a stack.
    """

    id: str
    name: str
    shape: Shape | None
    alive: bool = False
    own: bool = False
    definition: Definition | None = None


@dataclass(frozen=True, slots=True)
class Copy:
    """The copy that a fork starts from: the image's ID, and the hash of the hooks that had succeeded in it."""

    image: str
    hooks: str | None


@dataclass(frozen=True, slots=True)
class Found:
    """What was found of a session; its `label`, such as "session fix-login", is for messages.

    `initialized` is the id of the container in which its initial hooks succeeded, None if they have in none. `begun`
    means that there may be a conversation on its volume.

    None if not looked up yet: whether the volume exists (`volume`), whether the copy's image does (`copy_exists`),
    and why Podman can never start the container again (`problem`, empty if it can).
    """

    uid: str
    label: str
    container: Container | None = None
    initialized: str | None = None
    begun: bool = False
    copy: Copy | None = None
    volume: bool | None = None
    problem: str | None = None
    copy_exists: bool | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the run asks for: the shape of its container, today's limits, the hash of its initial hooks, what its
    service says by now, None without a stack, and whether it has secret files.
    """

    shape: Shape
    limits: Limits
    hooks: str
    definition: Definition | None = None
    files: bool = False


@dataclass(frozen=True, slots=True)
class Warned:
    """A warning event on the run."""

    reason: EventReason
    message: str


@dataclass(frozen=True, slots=True)
class End:
    """The container runs although no run needs it: kill it, and look up everything again."""


@dataclass(frozen=True, slots=True)
class CheckVolume:
    """Check whether the session's volume exists, and decide again."""


@dataclass(frozen=True, slots=True)
class CheckContainer:
    """Check whether Podman can start the container again, and decide again."""

    container: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class CheckCopy:
    """Check whether this image exists, and decide again."""

    image: str


@dataclass(frozen=True, slots=True)
class VolumeLost:
    """The conversation is lost. `message` is the session's, `refusal` the run's."""

    message: str
    refusal: str


@dataclass(frozen=True, slots=True)
class Reuse:
    """Start the existing container."""


@dataclass(frozen=True, slots=True)
class FromImage:
    """Create a container from the run's image, after removing `old`, the ID of the existing one."""

    old: str | None
    warnings: tuple[Warned, ...] = ()


@dataclass(frozen=True, slots=True)
class FromCopy:
    """Create a container from the image `copy`, after removing `old`. `initialized` means that the initial hooks
    have succeeded in the copy, and are not run again.
    """

    old: str | None
    copy: str
    initialized: bool
    warnings: tuple[Warned, ...] = ()


Check = CheckVolume | CheckContainer | CheckCopy
Settled = Wait | Refuse | VolumeLost | Reuse | FromImage | FromCopy
Action = End | Check | Settled


def decide(found: Found, wanted: Wanted) -> Action:
    """The next step towards a container in which the run can be started."""
    container = found.container
    if container is not None and container.alive:
        return Wait(Reason.Starting, "its container is already running", OWN_RECHECK) if container.own else End()
    if found.begun and found.volume is None:
        return CheckVolume()
    if found.begun and not found.volume:
        return _volume_lost(found)
    if container is None or container.id != found.initialized:
        return _rebuild(found, wanted, f"somebody removed the container of {found.label}")
    return _judged(container, found, wanted)


def _judged(container: Container, found: Found, wanted: Wanted) -> Action:
    """Decide about a container in which the initial hooks have succeeded, by today's policies and its state."""
    if container.shape is None:
        return Refuse(Reason.PolicyViolation, labels_lost(container.name))
    if what := misfit(container.shape, wanted.shape, wanted.limits, files=wanted.files):
        what = f"the container of {found.label} {what}; begin a new session, or fork this one"
        return Refuse(Reason.PolicyViolation, what)
    if wanted.definition is not None and (why := definitions.changes(container.definition, wanted.definition)):
        return _rebuild(found, wanted, f"the service in which the agent of {found.label} runs has changed ({why})")
    if found.problem is None:
        return CheckContainer(container.id, container.shape)
    if not found.problem:
        return Reuse()
    return _rebuild(
        found,
        wanted,
        f"the container of {found.label} can never be started again after what a run did in it: "
        f"{found.problem}, which Podman reads before a start",
    )


def _volume_lost(found: Found) -> VolumeLost:
    message = f"Podman no longer has the volume {naming.volume(found.uid)}, so the conversation is lost"
    return VolumeLost(
        message,
        f"the {found.label} cannot continue: {message}; delete it (kubectl delete agent{found.label}), or name another",
    )


def _rebuild(found: Found, wanted: Wanted, lost: str) -> CheckCopy | FromImage | FromCopy:
    """Create a container. A warning says so, except for the first one of a session, which replaces none."""
    old = found.container.id if found.container is not None else None
    copy = found.copy
    if copy is None:
        return FromImage(old, _rebuilt(found, lost, "and its hooks run again"))
    if found.copy_exists is None:
        return CheckCopy(copy.image)
    if not found.copy_exists:
        return FromImage(old, (_copy_lost(found), *_rebuilt(found, lost, "and its hooks run again")))
    warnings = _rebuilt(found, lost, "from the copy that it began with")
    return FromCopy(old, copy.image, initialized=copy.hooks == wanted.hooks, warnings=warnings)


def _rebuilt(found: Found, lost: str, how: str) -> tuple[Warned, ...]:
    if found.initialized is None:
        return ()
    return (Warned(EventReason.ContainerRebuilt, f"{lost}: it is created again, {how}"),)


def _copy_lost(found: Found) -> Warned:
    return Warned(
        EventReason.FilesNotCopied,
        f"somebody removed the image {naming.copy(found.uid)}, which has the files that {found.label} was "
        "forked with: it begins with the image's files, and its hooks run again",
    )
