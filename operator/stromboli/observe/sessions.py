"""The session that a run names: what there is of it in the cluster, and whose turn it is there.

Whoever the store says is behind another waits. Before a run may go on, the queue is what the API server says at that
moment: which runs there are, and each as of its newest version. Taking the turn is in perform/sessions/.
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
from stromboli.models.objects import Object, Resource
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

LEAVING_LOOK = 2.0  # seconds; it takes a fraction of one
QUEUED_LOOK = 30.0  # seconds; whoever leaves a session has the others woken


@dataclass(frozen=True, slots=True)
class Held:
    """The session in which an attempt is made. `name` is None for a run's own, whose `uid` is the run's.

    `container` is one that is started again, None where it has to be made; `base` is then the id of the image to
    make it of, None for the run's own. `initialized` says that the hooks of the beginning have succeeded in it.
    """

    uid: str
    name: str | None = None
    conversation: Conversation | None = None
    container: ContainerState | None = None
    base: str | None = None
    initialized: bool = False


@dataclass(frozen=True, slots=True)
class Named:
    """A session by name: its object if there is one, the object that it is to be a copy of, and the run's spec with
    what the session has.
    """

    name: str
    obj: Session | None
    parent: Session | None
    spec: AgentRunSpec

    @property
    def pinned(self) -> str | None:
        """The id of the image that the session, or what it is a fork of, began with."""
        obj = self.obj or self.parent
        return (obj.status.image if obj else "") or None


class Leaving(Waiting):
    """A run that is over still has the session: its container has to be seen to before the next may have it."""

    def __init__(self, uid: str, run: str, session: str) -> None:
        super().__init__(Reason.Queued, f"behind the run {run}, which is leaving the session {session}", LEAVING_LOOK)
        self.uid = uid


def origin(session: Session) -> Origin | None:
    """What a session is a fork of, if it is one. Raises Refused(InvalidSpec)."""
    found = _spec(session).forked_from
    return None if found is None else Origin(found.name, found.uid)


def moment(obj: Resource, node: str) -> Moment:
    """Now, for what is written of an object."""
    return Moment(datetime.now(UTC), node, obj.generation)


async def named(cluster: ClusterReads, run: Run, spec: AgentRunSpec, choice: SessionChoice) -> Named:
    """What there is of the session. Raises Refused(InvalidSpec), Waiting, ClusterUnavailable."""
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
    """Whose turn it is in a session."""

    def __init__(self, cluster: ClusterReads, store: Store) -> None:
        self._cluster = cluster
        self._store = store

    async def await_turn(self, run: Run, session: Session | None, name: str) -> None:
        """Raises Waiting(Queued) where others have the session, or come before; ClusterUnavailable.

        A run that forks the session stands in its queue until it has the copy.
        """
        await self._check(run, session, name, self._store.queue(run.namespace, name))
        heads = await self._cluster.run_heads(run.namespace, name)
        there = {head.uid for head in heads if not head.is_being_deleted}
        await self._read([head for head in heads if head.uid in there])
        await self._check(run, session, name, [p for p in self._store.queue(run.namespace, name) if p.uid in there])

    async def await_turn_again(self, run: Run) -> None:
        """What `await_turn` does, for a run that has been Queued already: all that it needs is known here."""
        for name in run.sessions:
            if await self._wants(run.namespace, plan.place_of(run), name):
                session = await self._cluster.session_outline(run.namespace, name)
                await self._check(run, session, name, self._store.queue(run.namespace, name))

    async def _check(self, run: Run, session: Session | None, name: str, queue: Iterable[Place]) -> None:
        waiting = [place for place in queue if await self._wants(run.namespace, place, name)]
        holder = session.status.holder if session is not None else None
        here = {run.uid, *(place.uid for place in waiting)}
        if session is not None and holder is not None and holder.uid not in here:
            raise Leaving(session.uid, holder.name, name)
        behind = plan.behind(plan.place_of(run), holder.uid if holder else None, waiting, name)
        if behind is not None:
            raise Waiting(Reason.Queued, behind, QUEUED_LOOK)

    async def _wants(self, namespace: str, place: Place, session: str) -> bool:
        """Whether a run is to have the session: to run in it, or to copy it to one that has no copy yet."""
        if place.session == session:
            return True
        fork = await self._cluster.session_outline(namespace, place.session)
        return fork is None or (fork.parent == session and fork.status.copied_from is None)

    async def _read(self, heads: Iterable[Object]) -> None:
        """The runs of which the watch has not told yet."""
        for head in heads:
            if not self._store.has_read(head):
                await runs.read(self._cluster, self._store, head.uid, head.namespace, head.name)


async def was_deleted(cluster: ClusterReads, run: Run) -> bool:
    """Whether the session that the run has was deleted under it. Raises ClusterUnavailable."""
    has = run.status.session
    if has is None:
        return False
    found = await cluster.session_outline(run.namespace, has.name)
    return found is None or found.uid != has.uid or found.is_being_deleted


def check_node(session: Session, node: str) -> None:
    """Raises Elsewhere for a session that another node has: its operator has the run."""
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
