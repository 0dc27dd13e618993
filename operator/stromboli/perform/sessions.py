"""Taking a session's turn and leaving it, and what its container, its volume and its folder go through for that.

The turn is `status.currentRun`, taken by compare-and-swap on the object's version: whoever wrote first has it. It is
given back once Podman says that the session's container does not run, and not before. How the container is between two
runs is in resting.py.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from stromboli import naming
from stromboli.attempt import folder as folders
from stromboli.attempt.site import Site
from stromboli.errors import (
    Conflict,
    LocalFailure,
    PodmanError,
    PodmanUnavailable,
    Refused,
    Rejected,
    StromboliError,
)
from stromboli.kube.client import Cluster
from stromboli.models.objects import Object
from stromboli.models.run import Run
from stromboli.models.session import Holder, Session
from stromboli.node.cleanup import Cleaner
from stromboli.node.images import is_meant, local_name
from stromboli.node.resting import Resting
from stromboli.node.serial import SessionLocks
from stromboli.observe import sessions
from stromboli.observe.sessions import Held, Named, Queues
from stromboli.perform.candidate import Ready
from stromboli.perform.forks import Forks
from stromboli.perform.notify import Notifier
from stromboli.perform.resume import Resumption
from stromboli.perform.session_report import SessionReporter
from stromboli.plan import session as plan
from stromboli.plan.answer import Answer
from stromboli.podman.transport import Podman
from stromboli.reasons import Reason
from stromboli.status import session as states

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Turn:
    """A session's turn that a run has; `pinned` says that the session had an image before."""

    session: Session
    pinned: bool


class Sessions:
    """The sessions of this node."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        podman: Podman,
        site: Site,
        node: str,
        cleaner: Cleaner,
        notifier: Notifier,
        locks: SessionLocks,
        queues: Queues,
    ) -> None:
        self._cluster = cluster
        self._podman = podman
        self._site = site
        self._node = node
        self._cleaner = cleaner
        self._notifier = notifier
        self._locks = locks
        self._resting = Resting(podman, site, cleaner)
        self._forks = Forks(
            cluster=cluster,
            podman=podman,
            site=site,
            node=node,
            notifier=notifier,
            queues=queues,
            resting=self._resting,
        )
        self._resumption = Resumption(podman, self._resting, SessionReporter(cluster, node), notifier)
        self._names: dict[str, tuple[str, str]] = {}
        self._unmeasured: set[str] = set()

    async def take(self, run: Run, named: Named, ready: Ready) -> Turn:
        """Have the session's turn for this run, the session made if it is not there.

        May be repeated. Raises Conflict where somebody was quicker, Refused, ClusterUnavailable, Rejected.
        """
        session = named.obj or await self._create(run, named, ready)
        session = await self._with_template(session, ready)
        return Turn(await self._acquire(session, run, ready), pinned=named.pinned is not None)

    @asynccontextmanager
    async def holding(self, run: Run, turn: Turn, ready: Ready) -> AsyncIterator[Held]:
        """Inside the block the session's things on the node are this run's alone, and ready for a start.

        Raises Conflict where the session was deleted, or the turn given back, by the time they are; Refused, Waiting,
        ClusterUnavailable, NoSpace, PodmanError, PodmanUnavailable.
        """
        uid = turn.session.uid
        parent = None if turn.session.status.copied_from else sessions.origin(turn.session)
        async with self._locks.hold(uid, *([parent.uid] if parent else ())):
            session = await self._still(turn.session, run)
            if parent is not None:
                if (await asyncio.to_thread(self._site.folder(uid).read_state)).copy is None:
                    await self._vacated(await self._forks.copy(run, session, parent, ready))
                if session.status.copied_from is None:
                    session = await self._forks.copied(run, session, parent)
            if turn.pinned:
                await self._tell_of_a_moved_tag(run, session, ready)
            yield await self._resumption.held(run, session, ready)

    def see(self, session: Object) -> str:
        """There is this session; its UID."""
        self._names[session.uid] = (session.namespace, session.name)
        return session.uid

    def forget(self, uid: str) -> None:
        """There is no such session any more."""
        self._names.pop(uid, None)
        self._unmeasured.discard(uid)

    async def find(self, uid: str) -> Session | None:
        """A session by its UID; None where there is none any more. Raises ClusterUnavailable."""
        if uid not in self._names:  # its event has not come yet
            async for session in self._cluster.sessions():
                self.see(session)
        found = await self._cluster.session_outline(*self._names[uid]) if uid in self._names else None
        if found is None or found.uid != uid:
            self.forget(uid)
            return None
        return found

    async def leave(self, run: Run) -> None:
        """A run has ended: its session is free for the next. Raises as `vacate`: then upkeep does it."""
        failure: StromboliError | None = None
        for name in run.sessions:
            session = await self._cluster.session_outline(run.namespace, name)
            if session is None or not session.status.is_held_by(run.uid):
                continue
            try:
                await self.vacate(session.uid, run.namespace, name, run.uid)
            except (PodmanError, PodmanUnavailable) as error:  # the other one is not kept for that
                failure = error
        if failure is not None:
            raise failure

    async def vacate(self, uid: str, namespace: str, name: str, run_uid: str) -> None:
        """The run that has the session needs it no more: end the container, then write it down.

        In this order, and one at a time: until it is written, no other run takes the session. Without effect where
        that run does not have it any more. A container that may still run keeps the turn: PodmanError or
        PodmanUnavailable is raised, the session's condition says so, and it is to be tried again. What else Podman
        cannot do now is done by whoever takes the session next. Raises ClusterUnavailable.
        """
        async with self._locks.hold(uid):
            session = await self._cluster.session_outline(namespace, name)
            if session is None or session.uid != uid or not session.status.is_held_by(run_uid):
                return
            await self._end(session)
            await self._vacated(session)

    async def end(self, uid: str) -> None:
        """See that a session's container does not run. Raises PodmanError, PodmanUnavailable: then it may."""
        async with self._locks.hold(uid):
            await self._resting.ended(uid)

    async def measure(self, session: Session) -> bool:
        """Look how much disk a session takes, once after each run in it; whether its status was written for that.

        Raises ClusterUnavailable, Conflict.
        """
        uid, size = session.uid, None
        if uid not in self._unmeasured:
            return False
        try:
            size = await self._resting.size(uid, session.status.image)
        except (PodmanError, PodmanUnavailable, LocalFailure, OSError) as error:
            log.warning("session %s: how much disk it takes is not known: %s", session.name, error)
        if size is not None and size != session.status.size:
            await self._cluster.write_status(session, states.measured(session.status, size))
            self._unmeasured.discard(uid)
            return True
        self._unmeasured.discard(uid)
        return False

    async def left_by(self, run_uid: str) -> None:
        """A run is deleted: end what it has going in sessions that outlive it, and take its attempts out of them.

        Raises ClusterUnavailable, PodmanError, PodmanUnavailable, OSError.
        """
        for uid in await asyncio.to_thread(folders.sessions_of, self._site.home, run_uid) - {run_uid}:
            if (session := await self.find(uid)) is not None:
                await self.vacate(uid, session.namespace, session.name, run_uid)
                async with self._locks.hold(uid):
                    for attempt in self._site.folder(uid).attempts_of(run_uid):
                        await self._cleaner.without_attempt(run_uid, attempt)

    async def costed(self, uid: str, attempt: str, answer: Answer) -> Answer:
        """An attempt's answer with its own cost: the CLI counts a conversation's, over all of its runs.

        May be repeated for an attempt.
        """
        folder = self._site.folder(uid)
        async with self._locks.hold(uid):
            try:
                state = await asyncio.to_thread(folder.read_state)
            except LocalFailure as error:
                log.warning("the cost of attempt %s includes those before it: %s", attempt, error)
                return answer
            before = state.spent_before if state.spent_by == attempt else state.spent
            new = replace(state, spent=max(answer.cost_usd, before), spent_before=before, spent_by=attempt)
            if new != state and folder.path.exists():  # else the session was deleted, and nothing of it is to stay
                await asyncio.to_thread(folder.write_state, new)
        return replace(answer, cost_usd=max(answer.cost_usd - before, 0.0))

    # --- taking ---

    async def _create(self, run: Run, named: Named, ready: Ready) -> Session:
        spec: dict[str, Any] = {"template": _template(ready)}
        if named.parent is not None:
            spec["forkedFrom"] = {"name": named.parent.name, "uid": named.parent.uid}
        try:
            made = await self._cluster.create_session(run.namespace, named.name, spec)
        except Rejected as e:
            raise Refused(Reason.InvalidSpec, f"spec.session: the session {named.name} cannot be made: {e}") from e
        self._notifier.tell(made, "Created", f"made for the run {run.name}")
        return made

    async def _with_template(self, session: Session, ready: Ready) -> Session:
        if session.spec.get("template") is not None:  # also an empty one: it is filled, with nothing
            return session
        return await self._cluster.write_spec(session, {**session.spec, "template": _template(ready)})

    async def _acquire(self, session: Session, run: Run, ready: Ready) -> Session:
        """`currentRun` is this run. Raises Conflict."""
        if session.status.is_held_by(run.uid) and session.status.conversation:
            return session
        holder, conversation = Holder(run.name, run.uid), naming.conversation(session.uid)
        moment = sessions.moment(session, self._node)
        new = states.begun(session.status, holder, conversation, ready.image.id, moment)
        return await self._cluster.write_status(session, new)

    async def _still(self, session: Session, run: Run) -> Session:
        """The session as it is now, whose turn the run still has. Raises Conflict, ClusterUnavailable."""
        found = await self._cluster.session_outline(session.namespace, session.name)
        if found is None or found.uid != session.uid or found.is_being_deleted:
            raise Conflict(f"the session {session.name} was deleted meanwhile")
        if not found.status.is_held_by(run.uid):
            raise Conflict(f"the run does not have the session {session.name} any more")
        return found

    async def _end(self, session: Session) -> None:
        """See that the session's container does not run, or say that it may."""
        try:
            await self._resting.ended(session.uid)
        except (PodmanError, PodmanUnavailable) as error:
            status, holder = session.status, session.status.holder
            message = f"the run {holder.name if holder else ''} is over, but its container may still run: {error}"
            new = states.leaving(status, f"{message}; tried again soon", sessions.moment(session, self._node))
            if new != status:
                try:
                    await self._cluster.write_status(session, new)
                except Conflict:
                    log.info("session %s has changed meanwhile", session.name)
            raise

    async def _vacated(self, session: Session) -> None:
        """Its container has ended: see to what it leaves, and write down that nobody has the session."""
        uid, name, status = session.uid, session.name, session.status
        try:
            kept = await self._resting.rest(uid)
            if kept is None:
                status = states.without_container(status)
            else:
                status = states.with_container(status, kept.container, kept.hooks, kept.at)
        except (PodmanError, PodmanUnavailable, LocalFailure, OSError) as error:
            log.warning("session %s: how its container is, is looked at later: %s", name, error)
        self._unmeasured.add(uid)
        try:
            await self._cluster.write_status(session, states.released(status, sessions.moment(session, self._node)))
        except Conflict:
            log.info("session %s has changed meanwhile", name)

    async def _tell_of_a_moved_tag(self, run: Run, session: Session, ready: Ready) -> None:
        reference = ready.judged.request.image
        now = await self._podman.images.inspect(local_name(reference))
        if now is not None and is_meant(now, reference) and now.id != ready.image.id:
            self._notifier.tell(
                run,
                "ImagePinned",
                f"{reference} is another image by now; the session {session.name} goes on with "
                f"{ready.image.id[:12]}, with which it began",
            )


def _template(ready: Ready) -> dict[str, Any]:
    request = ready.judged.request
    return plan.template_of(ready.judged.spec, str(request.image), request.memory, request.cpus)
