"""Gets a session's container ready for a start: looks at what is on the node, and carries out what plan/resume.py
decides about it.

The caller holds the session's lock (serial.py). Every step is idempotent and may be repeated after an interruption.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from stromboli import naming
from stromboli.attempt.session_state import SessionState
from stromboli.errors import LabelsLost, Refused, Waiting
from stromboli.event_reasons import EventReason
from stromboli.models.run import Run
from stromboli.models.session import Session
from stromboli.node.pulls import is_meant, local_name
from stromboli.node.resting import shape_of
from stromboli.observe.sessions import Held
from stromboli.perform.candidate import Ready
from stromboli.perform.notify import Notifier
from stromboli.perform.sessions.onnode import OnNode
from stromboli.perform.sessions.report import SessionReporter
from stromboli.plan import resume as plan
from stromboli.plan.attempt import Conversation
from stromboli.plan.container import Shape
from stromboli.plan.resume import Found, Wanted, Warned
from stromboli.plan.session import hooks_hash
from stromboli.plan.stack import definitions
from stromboli.plan.verdict import Refuse, Wait
from stromboli.podman.container_state import ContainerState
from stromboli.reasons import ReadyReason, Reason


class Resumption:
    """Gets the containers of sessions ready for the next start."""

    def __init__(self, on_node: OnNode, reporter: SessionReporter, notifier: Notifier) -> None:
        self._podman = on_node.podman
        self._resting = on_node.resting
        self._reporter = reporter
        self._notifier = notifier

    async def held(self, run: Run, session: Session, ready: Ready) -> Held:
        """The session, ready for a start. Raises Refused, Waiting, ClusterUnavailable, Conflict, NoSpace, PodmanError,
        PodmanUnavailable, LocalFailure, OSError.
        """
        said, container = await self._decided(run, session.uid, f"session {session.name}", ready)
        if isinstance(said, plan.VolumeLost):
            await self._reporter.at(session, ReadyReason.VolumeLost, said.message)
            self._notifier.emit_reason(session, ReadyReason.VolumeLost, said.message, warning=True)
        return await self._carried_out(said, run, _held(session), container)

    async def alone(self, run: Run, ready: Ready) -> Held:
        """The run's own session, ready for a start: in the same container if an attempt has been at work in it.

        Raises as `held` does about the node.
        """
        own = Held(run.uid, retries=bool(run.retry_on))
        if not run.may_resume:
            return own
        said, container = await self._decided(run, run.uid, f"run {run.name}", ready)
        return await self._carried_out(said, run, own, container)

    async def _decided(
        self, run: Run, uid: str, label: str, ready: Ready
    ) -> tuple[plan.Settled, ContainerState | None]:
        """What becomes of the session's container, and that container."""
        judged = ready.judged
        definition = ready.blueprint.part.definition if ready.blueprint is not None else None
        hooks, files = hooks_hash(judged.request.hooks), bool(ready.taken.files)
        wanted = Wanted(ready.shape, judged.policy.limits, hooks, definition, files)
        found, container = await self._first(run, uid, label)
        said = plan.decide(found, wanted)
        while not isinstance(said, plan.Settled):
            if isinstance(said, plan.End):
                await self._resting.ended(uid)
                found, container = await self._first(run, uid, label)
            else:
                found = await self._completed(found, said)
            said = plan.decide(found, wanted)
        return said, container

    async def warn_of_moved_tag(self, run: Run, session: Session, ready: Ready) -> None:
        """Emit an event if the reference of the session's image now names another image.

        Raises PodmanError, PodmanUnavailable.
        """
        reference = ready.judged.request.image
        if reference is None:
            return
        now = await self._podman.images.inspect(local_name(reference))
        if now is not None and is_meant(now, reference) and now.id != ready.image.id:
            self._notifier.emit(
                run,
                EventReason.ImagePinned,
                f"{reference} now names another image; the session {session.name} goes on with "
                f"{ready.image.id[:12]}, which it began with",
            )

    async def _carried_out(self, said: plan.Settled, run: Run, held: Held, container: ContainerState | None) -> Held:
        match said:
            case Wait():
                raise Waiting(said.reason, said.message, said.delay)
            case Refuse():
                raise Refused(said.reason, said.message)
            case plan.VolumeLost():
                raise Refused(Reason.ContainerLost, said.refusal)
            case plan.Reuse():
                return replace(held, container=container, initialized=True)
            case plan.FromImage():
                await self._cleared(run, said.old, said.warnings)
                return held
            case plan.FromCopy():
                await self._cleared(run, said.old, said.warnings)
                return replace(held, base=said.copy, initialized=said.initialized)
            case _:
                assert_never(said)

    async def _cleared(self, run: Run, old: str | None, warnings: tuple[Warned, ...]) -> None:
        """Remove the old container, whose name the new one gets, and emit the warnings."""
        if old is not None:
            await self._podman.containers.remove(old)
        for warned in warnings:
            self._notifier.emit(run, warned.reason, warned.message)

    # --- lookups ---

    async def _first(self, run: Run, uid: str, label: str) -> tuple[Found, ContainerState | None]:
        """The session's container, and what its last attempt has left, which is read only if it is not running."""
        container = await self._resting.find(uid)
        if container is not None and container.alive:
            handed = self._resting.handed_to(uid).startswith(f"{run.uid}-")
            own = handed and not run.status.is_between_attempts
            kept = plan.Container(container.id, container.name, None, alive=True, own=own)
            return Found(uid, label, kept), container
        container, state = await self._resting.settled(uid)
        return _found(uid, label, container, state), container

    async def _completed(self, found: Found, at: plan.Check) -> Found:
        """`found`, completed by what the decision asks for."""
        match at:
            case plan.CheckVolume():
                volume = await self._podman.volumes.inspect(naming.volume(found.uid))
                return replace(found, volume=volume is not None)
            case plan.CheckContainer():
                return replace(found, problem=await self._resting.unstartable(at.container, at.shape))
            case plan.CheckCopy():
                return replace(found, copy_exists=await self._podman.images.inspect(at.image) is not None)
            case _:
                assert_never(at)


def _found(uid: str, label: str, container: ContainerState | None, state: SessionState) -> Found:
    return Found(
        uid,
        label,
        _container(container) if container is not None else None,
        initialized=state.container,
        begun=state.begun,
        copy=plan.Copy(state.copy, state.copy_hooks) if state.copy else None,
    )


def _container(container: ContainerState) -> plan.Container:
    definition = definitions.from_label(container.labels.get(naming.DEFINITION, ""))
    return plan.Container(container.id, container.name, _shape(container), definition=definition)


def _shape(container: ContainerState) -> Shape | None:
    """None if its label cannot be read; plan/ decides what that means."""
    try:
        return shape_of(container)
    except LabelsLost:
        return None


def _held(session: Session) -> Held:
    came = session.status.copied_from
    conversation = Conversation(session.status.conversation, came.conversation if came else None)
    return Held(session.uid, session.name, conversation)
