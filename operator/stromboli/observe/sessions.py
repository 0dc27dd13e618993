"""The session that a run names: its object in the cluster, and whose turn it is.

Who waits for a session, and who is next, is known from the store. Before a run may go on, the runs ahead of it must all
be known: those that the API server lists are read once, for all runs that were created until then, however far the
watch is behind. Taking the turn is in perform/sessions/.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import ValidationError

from stromboli.errors import Elsewhere, Refused, Waiting
from stromboli.kube import outline
from stromboli.models.agentrun import AgentRunSpec, SessionChoice
from stromboli.models.agentsession import AgentSessionSpec, SessionTemplate
from stromboli.models.objects import Resource
from stromboli.models.run import Run
from stromboli.models.sentences import sentence
from stromboli.models.session import Origin, Session
from stromboli.observe import runs
from stromboli.observe.reads import ClusterReads
from stromboli.plan import session as plan
from stromboli.plan.attempt import Conversation
from stromboli.plan.session import Place
from stromboli.podman.container_state import ContainerState
from stromboli.reasons import ReadyReason, Reason
from stromboli.status.run import Moment
from stromboli.store import Store

LEAVING_RECHECK = 2.0  # seconds; it takes a fraction of one
QUEUED_RECHECK = 30.0  # seconds; a run that leaves a session wakes the others


@dataclass(frozen=True, slots=True)
class Held:
    """The session in which an attempt is started. `name` is None for a run's own session, whose `uid` is the run's.

    `container` is one that is started again, None if it has to be created; `base` is then the ID of the image to create
    it from, None for the run's own. `initialized` means that the initial hooks have succeeded in it. `retries` means
    that a run's own session may have several attempts in one container.
    """

    uid: str
    name: str | None = None
    conversation: Conversation | None = None
    container: ContainerState | None = None
    base: str | None = None
    initialized: bool = False
    retries: bool = False

    @property
    def stays(self) -> bool:
        """Whether its container may be started again, for another attempt or another run."""
        return self.name is not None or self.retries


@dataclass(frozen=True, slots=True)
class Named:
    """A session by name: its object if it exists, the object of the session that it forks, and the run's spec completed
    from the session.
    """

    name: str
    obj: Session | None
    parent: Session | None
    spec: AgentRunSpec

    @property
    def pinned(self) -> str | None:
        """The ID of the image that the session, or its parent, began with."""
        obj = self.obj or self.parent
        return (obj.status.image if obj else "") or None


class Leaving(Waiting):
    """A run that has ended still holds the session: its container must have ended before the next run can have it."""

    def __init__(self, uid: str, run: str, session: str) -> None:
        message = f"behind the run {run}, which is leaving the session {session}"
        super().__init__(Reason.Queued, message, LEAVING_RECHECK)
        self.uid = uid


def origin(session: Session) -> Origin | None:
    """The origin of a session that is a fork, or None. Raises Refused(InvalidSpec)."""
    found = _spec(session).forked_from
    return None if found is None else Origin(found.name, found.uid)


def moment(obj: Resource, node: str) -> Moment:
    """Now, for a status of the object."""
    return Moment(datetime.now(UTC), node, obj.generation)


async def named(cluster: ClusterReads, run: Run, spec: AgentRunSpec, choice: SessionChoice) -> Named:
    """Look up the session. Raises Refused(InvalidSpec), Waiting, ClusterUnavailable."""
    obj = await cluster.session(run.namespace, choice.name)
    if obj is not None:
        _usable(obj)
        found = origin(obj)
        plan.check_parent(spec, found.name if found else None)
        template = _template(obj)
        if template is not None:
            return Named(choice.name, obj, None, plan.merged(spec, template, choice.name))
        return Named(choice.name, obj, None, spec)
    if choice.fork is None:
        return Named(choice.name, None, None, spec)
    parent = await cluster.session(run.namespace, choice.fork)
    if parent is None:
        raise Waiting(
            Reason.WaitingForReference,
            f"spec.session.fork: the namespace has no AgentSession {choice.fork} yet; goes on when there is one",
        )
    _usable(parent)
    return Named(choice.name, None, parent, plan.forked(spec, _template(parent), choice.fork))


class Queues:
    """The queues of sessions."""

    def __init__(self, cluster: ClusterReads, store: Store) -> None:
        self._cluster = cluster
        self._store = store

    async def await_turn(self, run: Run, session: Session | None, name: str) -> None:
        """Raises Waiting(Queued) if another run holds the session or is ahead in its queue; ClusterUnavailable.

        A run that forks the session is in its queue until it has the copy.
        """
        await self._check(run, session, name)
        if not self._store.is_complete(run.namespace, name, plan.place_of(run)):
            await self._complete(run.namespace, name)
            await self._check(run, session, name)

    async def await_turn_again(self, run: Run) -> None:
        """Like `await_turn`, for a run that has been Queued before, as far as the store knows its queue.

        The session itself is not read for a run behind one that was started, which holds the session until its end.
        """
        for name in run.sessions:
            if await self._wants(run.namespace, plan.place_of(run), name):
                ahead = await self._ahead(run, name)
                if any(self._was_started(place) for place in ahead):
                    _wait_behind(run, None, ahead, name)
                await self._check(run, await self._cluster.session_outline(run.namespace, name), name)

    async def _check(self, run: Run, session: Session | None, name: str) -> None:
        waiting = await self._ahead(run, name)
        current = session.status.current_run if session is not None else None
        if session is not None and current is not None and current.uid not in {run.uid, *(p.uid for p in waiting)}:
            later = next((p for p in self._store.queue(run.namespace, name) if p.uid == current.uid), None)
            if later is None or not await self._wants(run.namespace, later, name):
                raise Leaving(session.uid, current.name, name)
            waiting.append(later)
        _wait_behind(run, current.uid if current is not None else None, waiting, name)

    async def _ahead(self, run: Run, name: str) -> list[Place]:
        """The first two runs ahead of this one in the queue, which are enough to know what it waits for."""
        own, found = plan.place_of(run), list[Place]()
        for place in self._store.queue(run.namespace, name):
            if place.uid == own.uid:
                continue
            if place > own or len(found) == 2:
                break
            if await self._wants(run.namespace, place, name):
                found.append(place)
        return found

    def _was_started(self, place: Place) -> bool:
        found = self._store.get(place.uid)
        return found is not None and bool(found.status.attempts)

    async def _wants(self, namespace: str, place: Place, session: str) -> bool:
        """Whether a run needs the session: to run in it, or to copy it for a fork that has no copy yet."""
        if place.session == session:
            return True
        fork = await self._cluster.session_outline(namespace, place.session)
        return fork is None or (fork.parent == session and fork.status.copied_from is None)

    async def _complete(self, namespace: str, name: str) -> None:
        """Read the runs in the queue that the watch has not reported yet.

        One of them may be next: then it is woken here, since its event will report nothing new.
        """
        known = self._store.queue(namespace, name)
        heads = await self._cluster.run_heads(namespace, name)
        unread = [head for head in heads if not head.is_being_deleted and not self._store.has_read(head)]
        for head in unread:
            await runs.read(self._cluster, self._store, head.uid, head.namespace, head.name)
        self._store.completed(namespace, name, known)
        if unread:
            self._store.wake_next(namespace, name)


def _wait_behind(run: Run, current: str | None, waiting: Iterable[Place], name: str) -> None:
    """Raises Waiting(Queued) if one of those comes before the run. `current` is the UID of the one that holds it."""
    own = plan.place_of(run)
    if behind := plan.behind(own, current, [own, *waiting], name):
        raise Waiting(Reason.Queued, behind, QUEUED_RECHECK)


async def was_deleted(cluster: ClusterReads, run: Run) -> bool:
    """Whether the session that the run holds was deleted. Raises ClusterUnavailable."""
    has = run.status.session
    if has is None:
        return False
    found = await cluster.session_outline(run.namespace, has.name)
    return found is None or found.uid != has.uid or found.is_being_deleted


def check_node(session: Session, node: str) -> None:
    """Raises Elsewhere for a session on another node, whose operator is responsible for the run."""
    if session.status.node not in ("", node):
        raise Elsewhere(f"the session {session.name} is on node {session.status.node}")


def _usable(session: Session) -> None:
    if (size := outline.size(session.spec)) > outline.MAX_SPEC:
        raise Refused(
            Reason.InvalidSpec,
            f"the spec of AgentSession {session.name} is {size} bytes of JSON, and at most {outline.MAX_SPEC} leave "
            "room for a status; name another session",
        )
    if session.is_being_deleted or session.status.reason == ReadyReason.Expired:
        raise Waiting(Reason.Queued, f"the session {session.name} is being deleted; the run goes on once it is gone")


def _template(session: Session) -> SessionTemplate | None:
    return _spec(session).template


def _spec(session: Session) -> AgentSessionSpec:
    """Raises Refused(InvalidSpec)."""
    try:
        return AgentSessionSpec.model_validate(session.spec)
    except ValidationError as e:
        raise Refused(Reason.InvalidSpec, f"the AgentSession {session.name} cannot be read: {sentence(e)}") from e
