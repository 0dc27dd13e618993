"""The session that a run names: what there is of it in the cluster, and whose turn it is there.

Whoever the store says is behind another waits. Before a run may go on, the queue is what the API server says at that
moment: which runs there are, and each as of its newest version. Taking the turn is in perform/sessions.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from stromboli.errors import Elsewhere, Refused, Waiting
from stromboli.kube import outline
from stromboli.kube.client import MAX_SPEC, Cluster
from stromboli.models.agentrun import AgentRunSpec, SessionChoice
from stromboli.models.agentsession import AgentSessionSpec, SessionTemplate
from stromboli.models.sentences import sentence
from stromboli.observe import runs
from stromboli.plan import session as plan
from stromboli.plan.attempt import Conversation
from stromboli.plan.session import Place
from stromboli.podman.containers import ContainerState
from stromboli.reasons import ReadyReason, Reason
from stromboli.status.run import Moment, is_being_deleted
from stromboli.status.session import holder_of, ready_reason
from stromboli.store import Store

Object = dict[str, Any]
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
    obj: Object | None
    parent: Object | None
    spec: AgentRunSpec

    @property
    def pinned(self) -> str | None:
        """The id of the image that the session, or what it is a fork of, began with."""
        obj = self.obj or self.parent
        return ((obj or {}).get("status") or {}).get("imageID") or None


class Leaving(Waiting):
    """A run that is over still has the session: its container has to be seen to before the next may have it."""

    def __init__(self, uid: str, run: str, session: str) -> None:
        super().__init__(Reason.Queued, f"behind the run {run}, which is leaving the session {session}", LEAVING_LOOK)
        self.uid = uid


@dataclass(frozen=True, slots=True)
class Origin:
    """The session that one is a fork of, as its spec says from its creation on."""

    name: str
    uid: str


def origin(session: Mapping[str, Any]) -> Origin | None:
    """What a session is a fork of, if it is one. Raises Refused(InvalidSpec)."""
    found = _spec(session).forked_from
    return None if found is None else Origin(found.name, found.uid)


def is_fork_of(session: Mapping[str, Any], name: str) -> bool:
    """Whether a session is a fork of the one with that name."""
    return ((session.get("spec") or {}).get("forkedFrom") or {}).get("name") == name


def moment(session: Mapping[str, Any], node: str) -> Moment:
    """Now, for what is written of a session."""
    return Moment(datetime.now(UTC), node, session["metadata"].get("generation", 0))


async def named(cluster: Cluster, run: Mapping[str, Any], spec: AgentRunSpec, choice: SessionChoice) -> Named:
    """What there is of the session. Raises Refused(InvalidSpec), Waiting, ClusterUnavailable."""
    namespace = run["metadata"]["namespace"]
    obj = await cluster.session(namespace, choice.name)
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
    parent = await cluster.session(namespace, choice.fork)
    if parent is None:
        raise Waiting(
            Reason.WaitingForReference,
            f"spec.session.fork: the namespace has no AgentSession {choice.fork} yet; goes on when there is one",
        )
    _usable(parent)
    return Named(choice.name, None, parent, plan.forked(spec, _template(parent), choice.fork))


class Queues:
    """Whose turn it is in a session."""

    def __init__(self, cluster: Cluster, store: Store) -> None:
        self._cluster = cluster
        self._store = store

    async def await_turn(self, run: Mapping[str, Any], session: Mapping[str, Any] | None, name: str) -> None:
        """Raises Waiting(Queued) where others have the session, or come before; ClusterUnavailable.

        A run that forks the session stands in its queue until it has the copy.
        """
        namespace = run["metadata"]["namespace"]
        await self._check(run, session, name, self._store.queue(namespace, name))
        heads = await self._cluster.run_heads(namespace, name)
        there = {head["uid"] for head in heads if not head.get("deletionTimestamp")}
        await self._read([head for head in heads if head["uid"] in there])
        await self._check(run, session, name, [p for p in self._store.queue(namespace, name) if p.uid in there])

    async def await_turn_again(self, run: Mapping[str, Any]) -> None:
        """What `await_turn` does, for a run that has been Queued already: all that it needs is known here."""
        namespace = run["metadata"]["namespace"]
        for name in plan.sessions_of(run):
            if await self._wants(namespace, plan.place_of(run), name):
                session = await self._cluster.session_outline(namespace, name)
                await self._check(run, session, name, self._store.queue(namespace, name))

    async def _check(
        self, run: Mapping[str, Any], session: Mapping[str, Any] | None, name: str, queue: Iterable[Place]
    ) -> None:
        meta = run["metadata"]
        waiting = [place for place in queue if await self._wants(meta["namespace"], place, name)]
        holder = holder_of(session) if session is not None else None
        here = {meta["uid"], *(place.uid for place in waiting)}
        if session is not None and holder is not None and holder.uid not in here:
            raise Leaving(session["metadata"]["uid"], holder.name, name)
        behind = plan.behind(plan.place_of(run), holder.uid if holder else None, waiting, name)
        if behind is not None:
            raise Waiting(Reason.Queued, behind, QUEUED_LOOK)

    async def _wants(self, namespace: str, place: Place, session: str) -> bool:
        """Whether a run is to have the session: to run in it, or to copy it to one that has no copy yet."""
        if place.session == session:
            return True
        fork = await self._cluster.session_outline(namespace, place.session)
        return fork is None or (is_fork_of(fork, session) and not (fork.get("status") or {}).get("forkedFrom"))

    async def _read(self, heads: Iterable[Mapping[str, Any]]) -> None:
        """The runs of which the watch has not told yet."""
        for head in heads:
            if not self._store.has_read(head):
                await runs.read(self._cluster, self._store, head["uid"], head["namespace"], head["name"])


def check_node(session: Mapping[str, Any], node: str) -> None:
    """Raises Elsewhere for a session that another node has: its operator has the run."""
    has = (session.get("status") or {}).get("node")
    if has and has != node:
        raise Elsewhere(f"the session {session['metadata']['name']} is on node {has}")


def _usable(session: Mapping[str, Any]) -> None:
    name = session["metadata"]["name"]
    if (size := outline.size(session.get("spec") or {})) > MAX_SPEC:
        raise Refused(
            Reason.InvalidSpec,
            f"the spec of AgentSession {name} is {size} bytes of JSON, and at most {MAX_SPEC} leave room for a status; "
            "name another session",
        )
    if is_being_deleted(session) or ready_reason(session.get("status") or {}) == ReadyReason.Expired:
        raise Waiting(Reason.Queued, f"the session {name} is being deleted; the run goes on once it is gone")


def _template(session: Mapping[str, Any]) -> SessionTemplate | None:
    return _spec(session).template


def _spec(session: Mapping[str, Any]) -> AgentSessionSpec:
    """Raises Refused(InvalidSpec)."""
    try:
        return AgentSessionSpec.model_validate(session.get("spec") or {})
    except ValidationError as e:
        raise Refused(
            Reason.InvalidSpec, f"the AgentSession {session['metadata']['name']} cannot be read: {sentence(e)}"
        ) from e
