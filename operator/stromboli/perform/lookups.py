"""The gates that look something up for a run: in its spec, in the cluster, and in files of the node that it names."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from pydantic import ValidationError

from stromboli.errors import Conflict, Oversized, Refused
from stromboli.kube.client import Cluster
from stromboli.models.agentrun import AgentRunSpec
from stromboli.models.run import Run
from stromboli.models.sentences import sentence
from stromboli.observe import hostpaths, llm_gateway, references, sessions
from stromboli.observe.policy import Policies
from stromboli.observe.schemas import Schemas
from stromboli.perform.candidate import Candidate
from stromboli.plan import request
from stromboli.plan.refusal import invalid
from stromboli.plan.verdict import GO_ON, Verdict
from stromboli.reasons import Reason
from stromboli.settings import Settings


def parse(run: Run) -> AgentRunSpec:
    """The typed spec. Raises Refused(InvalidSpec)."""
    try:
        return AgentRunSpec.model_validate(run.spec)
    except ValidationError as e:
        raise Refused(Reason.InvalidSpec, sentence(e)) from e


@dataclass(frozen=True, slots=True)
class Lookups:
    """The lookups for the runs of this node."""

    cluster: Cluster
    settings: Settings
    schemas: Schemas
    current: Policies

    @asynccontextmanager
    async def whole(self, run: Run) -> AsyncIterator[Run]:
        """The run with its whole spec. Raises Conflict if it has changed, Refused, Waiting."""
        if run.is_whole:
            yield run
            return
        try:
            async with self.cluster.whole_run(run.namespace, run.name) as found:
                if found is None or found.uid != run.uid or found.status != run.status:
                    raise Conflict(f"{run.name} has changed since it was read")
                self.current.forget(run.uid)  # there may have been no room for the whole run for a while
                yield found
        except Oversized as error:
            raise invalid(
                "spec",
                f"{error}; put a long prompt or compose file into a ConfigMap "
                "(spec.promptFrom, spec.environment.configMapKeyRef)",
            ) from error

    async def spec(self, candidate: Candidate) -> Verdict:
        """The spec is valid, alone and together with its session's template."""
        candidate.spec, candidate.named = parse(candidate.run), None
        if candidate.spec.session is not None:
            found = await sessions.named(self.cluster, candidate.run, candidate.spec, candidate.spec.session)
            candidate.spec, candidate.named = found.spec, found
        return GO_ON

    async def policies(self, candidate: Candidate) -> Verdict:
        """Every policy of the namespace allows it now."""
        candidate.policy = await self.current.effective(candidate.run.uid, candidate.run.namespace)
        candidate.request = request.build(candidate.spec, candidate.policy)
        candidate.timeout = candidate.request.timeout
        return GO_ON

    async def schema(self, candidate: Candidate) -> Verdict:
        """The JSON schema is one that the CLI accepts."""
        claude = candidate.request.claude
        if claude.json_schema is not None:
            text = await self.schemas.prepared(claude.json_schema, candidate.run.namespace)
            claude = claude.model_copy(update={"json_schema": text})
            candidate.request = replace(candidate.request, claude=claude)
        return GO_ON

    async def volumes(self, candidate: Candidate) -> Verdict:
        """The host folders exist, and their real paths are allowed."""
        candidate.volumes = await hostpaths.resolve(candidate.request, candidate.policy)
        return GO_ON

    async def llm_gateway(self, candidate: Candidate) -> Verdict:
        """The socket of the LLM gateway exists."""
        socket = candidate.request.gateway_socket
        candidate.gateway = await llm_gateway.folder(socket, self.settings.podman_socket)
        return GO_ON

    async def prompt(self, candidate: Candidate) -> Verdict:
        """The ConfigMap or Secret with the prompt exists."""
        candidate.prompt = await references.prompt(self.cluster, candidate.run.namespace, candidate.spec)
        return GO_ON

    async def credentials(self, candidate: Candidate) -> Verdict:
        """The credentials that the policies name exist."""
        candidate.credentials = await references.credentials(self.cluster, self.settings, candidate.policy)
        return GO_ON

    async def taken(self, candidate: Candidate) -> Verdict:
        """The ConfigMaps and Secrets of its variables and files exist, and may become such."""
        namespace, spec = candidate.run.namespace, candidate.spec
        candidate.taken = await references.taken(self.cluster, namespace, spec, candidate.policy)
        return GO_ON
