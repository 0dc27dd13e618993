"""Ensures the AgentSession that a run names: the first run creates it, with a template taken from its own spec."""

from __future__ import annotations

from stromboli.errors import Refused, Rejected
from stromboli.event_reasons import EventReason
from stromboli.kube import objects
from stromboli.kube.client import Cluster
from stromboli.models.agentrun import AgentRunSpec
from stromboli.models.agentsession import AgentSessionSpec, Parent, SessionTemplate
from stromboli.models.run import Run
from stromboli.models.session import Session
from stromboli.observe.sessions import Named
from stromboli.perform.candidate import Ready
from stromboli.perform.notify import Notifier
from stromboli.plan import session as plan
from stromboli.reasons import Reason


class SessionObjects:
    """Creates AgentSessions, and sets their templates."""

    def __init__(self, cluster: Cluster, notifier: Notifier) -> None:
        self._cluster = cluster
        self._notifier = notifier

    async def ensure(self, run: Run, named: Named, ready: Ready) -> Session:
        """Ensure the session's object, with a template. Raises Conflict, Refused, ClusterUnavailable."""
        session = named.obj or await self._create(run, named, _template(ready))
        if session.spec.get("template") is not None:  # an empty one counts: it was set to nothing
            return session
        return await self._cluster.write_spec(session, objects.filled(session, _template(ready)))

    async def begin(self, run: Run, named: Named, spec: AgentRunSpec) -> None:
        """Create the object of a session with a stack before the run's turn: what is built belongs to it.

        Raises Refused, ClusterUnavailable.
        """
        await self._create(run, named, plan.template_of(spec, None, None, None))

    async def _create(self, run: Run, named: Named, template: SessionTemplate) -> Session:
        parent = Parent(name=named.parent.name, uid=named.parent.uid) if named.parent is not None else None
        spec = AgentSessionSpec(template=template, forked_from=parent)
        try:
            created = await self._cluster.create_session(run.namespace, named.name, spec)
        except Rejected as e:
            raise Refused(Reason.InvalidSpec, f"spec.session: the session {named.name} cannot be created: {e}") from e
        self._notifier.emit(created, EventReason.Created, f"created for the run {run.name}")
        return created


def _template(ready: Ready) -> SessionTemplate:
    request = ready.judged.request
    if ready.stack is not None:  # its image and its limits are the service's, whose file may change
        return plan.template_of(ready.judged.spec, None, None, None)
    return plan.template_of(ready.judged.spec, str(request.image), request.memory, request.cpus)
