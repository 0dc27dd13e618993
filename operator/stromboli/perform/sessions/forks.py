"""What a fork begins with, out of its parent's: its container's files, its conversation, and word of what is missing.

The caller holds both sessions (serial.py). Every step may be done again after it was cut short, and ends the same.
"""

from __future__ import annotations

import asyncio

from stromboli import naming
from stromboli.attempt.state import State
from stromboli.errors import Refused, Waiting
from stromboli.grammar import duration
from stromboli.kube.client import Cluster
from stromboli.models.agentsession import Filesystem
from stromboli.models.run import Run
from stromboli.models.session import Holder, Origin, Session
from stromboli.node.copy import Copier
from stromboli.node.resting import shape_of
from stromboli.observe.sessions import Queues
from stromboli.perform.candidate import Ready
from stromboli.perform.notify import Notifier
from stromboli.perform.sessions.onnode import OnNode
from stromboli.perform.sessions.report import SessionReporter
from stromboli.perform.sessions.turns import Turns
from stromboli.plan import forks as plan
from stromboli.reasons import EventReason, Reason
from stromboli.status import session as states

ROOM_LOOK = 30.0  # seconds between looks for room; Podman walks all that was written in the container each time


class Forks:
    """Makes the forks of this node."""

    def __init__(
        self,
        cluster: Cluster,
        on_node: OnNode,
        queues: Queues,
        turns: Turns,
        reporter: SessionReporter,
        notifier: Notifier,
    ) -> None:
        self._cluster = cluster
        self._on_node = on_node
        self._queues = queues
        self._turns = turns
        self._reporter = reporter
        self._notifier = notifier
        self._copier = Copier(on_node.podman, on_node.site)

    async def ensure(self, run: Run, session: Session, origin: Origin, ready: Ready) -> Session:
        """Ensure that the fork has a copy of its parent, whose turn the run takes for that; the fork as it is then.

        Raises Waiting, Refused(TimedOut) for a copy that takes longer than the run may, Conflict, ClusterUnavailable,
        NoSpace, PodmanError, PodmanUnavailable.
        """
        state = await asyncio.to_thread(self._on_node.site.folder(session.uid).read_state)
        if state.copy is None:
            await self._turns.release(await self._copy_in_time(run, session, origin, ready))
        return session if session.status.copied_from is not None else await self._copied(run, session, origin)

    async def _copy_in_time(self, run: Run, session: Session, origin: Origin, ready: Ready) -> Session:
        bound = ready.judged.request.timeout
        try:
            async with asyncio.timeout(bound):
                return await self._copy(run, session, origin, ready)
        except TimeoutError as error:
            raise Refused(
                Reason.TimedOut,
                f"copying the session {origin.name} took longer than the run's timeout of {duration.format(bound)}; "
                "raise spec.timeout",
            ) from error

    async def _copied(self, run: Run, session: Session, origin: Origin) -> Session:
        """Write down where the fork comes from: it needs its parent no more. Raises Conflict, ClusterUnavailable."""
        filesystem = _filesystem(self._on_node.site.folder(session.uid).read_state())
        status = states.copied(session.status, origin, naming.conversation(origin.uid), filesystem)
        written = await self._reporter.write(session, status)
        self._notifier.emit(session, EventReason.Forked, f"copied from the session {origin.name}")
        if filesystem is Filesystem.lost:
            self._notifier.emit(
                run,
                EventReason.FilesNotCopied,
                f"somebody removed the container of session {origin.name}: the fork begins with its conversation and "
                "the image's files, and its hooks run again",
            )
        return written

    async def _copy(self, run: Run, session: Session, origin: Origin, ready: Ready) -> Session:
        """Nobody uses the parent meanwhile."""
        uid = session.uid
        parent = await self._cluster.session_outline(session.namespace, origin.name)
        if parent is None or parent.uid != origin.uid:
            raise Waiting(
                Reason.WaitingForReference,
                f"the session {origin.name} was deleted before it was copied; delete the session "
                f"{session.name} as well, and fork another",
            )
        await self._queues.await_turn(run, parent, origin.name)
        if not parent.status.is_held_by(run.uid):
            taken = states.taken(parent.status, Holder(run.name, run.uid), self._reporter.moment(parent))
            parent = await self._reporter.write(parent, taken)
        labels = self._on_node.site.labels(uid, session.label)
        container, state = await self._on_node.resting.settled(origin.uid)
        copy = ""
        if container is not None and state.container == container.id:
            if why := await self._on_node.resting.unstartable(container.id, shape_of(container)):
                self._notifier.emit(
                    run,
                    EventReason.FilesNotCopied,
                    f"the container of session {origin.name} can never be started again ({why}, and Podman reads that "
                    "before a start): the fork begins with its conversation and the image's files",
                )
            else:
                await self._await_room(origin.name, container.name, naming.copy(uid))
                copy = await self._copier.filesystem(container.name, naming.copy(uid), labels)
        if await self._on_node.podman.volumes.inspect(naming.volume(origin.uid)) is not None:
            await self._copier.volume(naming.volume(origin.uid), naming.volume(uid), ready.image.id, labels)
        whole = State(copy=copy, copy_hooks=state.hooks, begun=state.begun, spent=state.spent, spent_before=state.spent)
        await asyncio.to_thread(self._on_node.site.folder(uid).write_state, whole)
        return parent

    async def _await_room(self, parent: str, container: str, copy: str) -> None:
        """A copy must not fill the node's disk. Raises Waiting, NotFound, PodmanError, PodmanUnavailable."""
        await self._copier.drop(copy)  # what an attempt that was cut short has left is in the way of the next
        size = await self._copier.size(container)
        free = await self._on_node.podman.free() if size >= plan.SMALL else None
        if lack := plan.lack_of_room(parent, size, free):
            raise Waiting(Reason.NodeOutOfDisk, f"{lack}; goes on when there is room", ROOM_LOOK)


def _filesystem(state: State) -> Filesystem:
    """What a fork has of its parent's files. Hooks that have succeeded without a container that has them were lost."""
    if state.copy:
        return Filesystem.copied
    return Filesystem.lost if state.copy_hooks is not None else Filesystem.not_begun
