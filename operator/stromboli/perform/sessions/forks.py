"""Makes forks: copies a parent's container files and conversation, with an event about what could not be copied.

Copying takes time in proportion to the parent's size. So a job does it (node/jobs.py), which holds the locks of both
sessions (serial.py), while the run waits for the job's end. Every step is idempotent and may be repeated after an
interruption; the fork's state records only what is complete.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from stromboli import naming
from stromboli.attempt.session_state import SessionState
from stromboli.errors import LocalFailure, PodmanError, PodmanUnavailable, Refused, Waiting
from stromboli.event_reasons import EventReason
from stromboli.grammar import duration
from stromboli.models.agentsession import Filesystem
from stromboli.models.run import Run
from stromboli.models.session import Origin, Session
from stromboli.node.copy import Copier
from stromboli.node.jobs import Job, Jobs, to_its_end
from stromboli.node.resting import shape_of
from stromboli.perform.candidate import Ready
from stromboli.perform.notify import Notifier
from stromboli.perform.sessions.onnode import OnNode
from stromboli.perform.sessions.parents import Parents
from stromboli.perform.sessions.report import SessionReporter
from stromboli.perform.sessions.turns import Turns
from stromboli.plan import forks as plan
from stromboli.plan.verdict import Wait
from stromboli.reasons import Reason
from stromboli.status import session as session_status

log = logging.getLogger(__name__)

ROOM_RECHECK = 30.0  # seconds between checks for disk space; each time, Podman walks the container's writable layer
COPY_RECHECK = 30.0  # seconds between checks of a copy in progress, whose end wakes the run


@dataclass(frozen=True, slots=True)
class Copying:
    """Identifies a copy: of the session `parent`, to the session `fork`, for the run `run`. All three are UIDs."""

    fork: str
    parent: str
    run: str


class Forks:
    """Makes the forks of this node."""

    def __init__(
        self,
        on_node: OnNode,
        parents: Parents,
        turns: Turns,
        reporter: SessionReporter,
        notifier: Notifier,
        jobs: Jobs[Copying, None],
    ) -> None:
        self._on_node = on_node
        self._parents = parents
        self._turns = turns
        self._reporter = reporter
        self._notifier = notifier
        self._jobs = jobs
        self._copier = Copier(on_node.podman, on_node.site)

    def under_way(self, run: str) -> Wait | None:
        """The wait for the copy that is being made for the run of this UID, if there is one."""
        jobs = (self._jobs.find(key) for key in self._jobs if key.run == run)
        return next((_wait(job) for job in jobs if job is not None and not job.is_over), None)

    async def ensure(self, run: Run, session: Session, origin: Origin, ready: Ready) -> None:
        """Ensure that the fork has a copy of its parent. The caller holds the lock of neither session.

        Raises Waiting while the copy is being made, and whatever made it fail: Waiting, Conflict, ClusterUnavailable,
        NoSpace, PodmanError, PodmanUnavailable, and Refused(TimedOut) for a copy that takes longer than the run's
        timeout. After a failure, the next call starts the copy again.
        """
        key = Copying(session.uid, origin.uid, run.uid)
        job = self._jobs.find(key)
        if job is None:
            if (await asyncio.to_thread(self._state, session.uid)).copy is not None:
                return
            image, bound = ready.image.id, ready.judged.request.timeout
            job = self._jobs.start(key, lambda _: self._made(run, session, origin, image, bound))
            job.progress = f"copying the session {origin.name}"
            job.waiting.add(run.uid)
        if not job.is_over:
            wait = _wait(job)
            raise Waiting(wait.reason, wait.message, wait.delay)
        self._jobs.drop(key)
        job.result()

    async def break_off(self, uid: str) -> set[str]:
        """The run or fork of this UID has ended or was deleted: cancel the copies that are being made for it, and
        remove what is incomplete. Returns the UIDs of the sessions whose turns the run may still have because of them.
        """
        found = [key for key in self._jobs if uid in (key.run, key.fork)]
        for key in found:
            await self._jobs.break_off(key)
            async with self._on_node.locks.hold(key.fork):
                await self._undo(key.fork)
        return {session for key in found for session in (key.fork, key.parent)}

    async def tidy(self, uid: str) -> None:
        """No run has the fork's turn, and it has no copy: remove what a killed operator left incomplete, and what
        Podman completed after the copy had been cancelled.
        """
        async with self._on_node.locks.hold(uid):
            await self._undo(uid)

    async def written(self, run: Run, session: Session, origin: Origin) -> Session:
        """Record in the status where the fork comes from: from now on it does not need its parent.

        Raises Conflict, ClusterUnavailable.
        """
        filesystem = _filesystem(await asyncio.to_thread(self._state, session.uid))
        status = session_status.copied(session.status, origin, naming.conversation(origin.uid), filesystem)
        written = await self._reporter.write(session, status)
        self._notifier.emit(session, EventReason.Forked, f"copied from the session {origin.name}")
        if filesystem is Filesystem.lost:
            self._notifier.emit(
                run,
                EventReason.FilesNotCopied,
                f"the container of session {origin.name} was removed: the fork begins with that session's conversation "
                "and the image's files, and the hooks run again",
            )
        return written

    async def _made(self, run: Run, session: Session, origin: Origin, image: str, bound: float) -> None:
        """The job. It holds both sessions' locks. `image` is the id of the image that the run starts in."""
        async with self._on_node.locks.hold(session.uid, origin.uid):
            session = await self._turns.still(session, run)
            parent = await self._parents.taken(run, session, origin)
            try:
                async with asyncio.timeout(bound):
                    await self._copy(run, session, origin, image)
            except TimeoutError as error:
                await self._undo(session.uid)
                raise Refused(
                    Reason.TimedOut,
                    f"copying the session {origin.name} took longer than the run's timeout of "
                    f"{duration.format(bound)}; raise spec.timeout",
                ) from error
            await self._turns.release(parent)
            await self.written(run, session, origin)

    async def _copy(self, run: Run, session: Session, origin: Origin, image: str) -> None:
        uid = session.uid
        labels = self._on_node.site.labels(naming.agent(uid), session.label)
        container, state = await self._on_node.resting.settled(origin.uid)
        copy = ""
        if container is not None and state.container == container.id:
            if why := await self._on_node.resting.unstartable(container.id, shape_of(container)):
                self._notifier.emit(
                    run,
                    EventReason.FilesNotCopied,
                    f"the container of session {origin.name} can never be started again ({why}, and Podman reads that "
                    "before a start): the fork begins with that session's conversation and the image's files",
                )
            else:
                await self._await_room(origin.name, container.name, naming.copy(uid))
                copy = await self._copier.filesystem(container.name, naming.copy(uid), labels)
        if await self._on_node.podman.volumes.inspect(naming.volume(origin.uid)) is not None:
            await self._copier.volume(naming.volume(origin.uid), naming.volume(uid), image, labels)
        whole = SessionState(
            copy=copy, copy_hooks=state.hooks, begun=state.begun, spent=state.spent, spent_before=state.spent
        )
        own = self._on_node.site.folder(uid)
        await asyncio.to_thread(own.inherit_given, self._on_node.site.folder(origin.uid))
        await to_its_end(asyncio.to_thread(own.write_state, whole))

    async def _await_room(self, parent: str, container: str, copy: str) -> None:
        """Ensure that the copy would not fill the disk. Raises Waiting, NotFound, PodmanError, PodmanUnavailable."""
        await self._copier.drop(copy)  # an interrupted copy may have left an image, which takes space
        size = await self._copier.size(container)
        free = await self._on_node.podman.free() if size >= plan.SMALL else None
        if lack := plan.lack_of_room(parent, size, free):
            raise Waiting(Reason.NodeOutOfDisk, f"{lack}; goes on when there is room", ROOM_RECHECK)

    async def _undo(self, uid: str) -> None:
        """Remove what was copied for a fork, unless it is complete. The caller holds the fork's lock."""
        try:
            if (await asyncio.to_thread(self._state, uid)).copy is None:
                await self._copier.drop_helper(uid)
                await self._on_node.cleaner.start_over(uid)
                await self._copier.drop(naming.copy(uid))
        except (PodmanError, PodmanUnavailable, LocalFailure, OSError) as error:
            log.warning(
                "the incomplete copy for session %s could not be removed; the next copy or the session's deletion "
                "removes it: %s",
                uid,
                error,
            )

    def _state(self, uid: str) -> SessionState:
        return self._on_node.site.folder(uid).read_state()


def _wait(job: Job[None]) -> Wait:
    return Wait(Reason.Starting, job.progress, COPY_RECHECK)


def _filesystem(state: SessionState) -> Filesystem:
    """What a fork has of its parent's files. If hooks succeeded but there is no copy, the parent's files are lost."""
    if state.copy:
        return Filesystem.copied
    return Filesystem.lost if state.copy_hooks is not None else Filesystem.not_begun
