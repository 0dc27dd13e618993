"""The policy of a namespace, read from the API server when it is needed.

A watch may lag behind the run that the policy applies to, so each start is checked against a fresh, complete LIST
(a few milliseconds); the watch of AgentPolicies only wakes waiting runs. The LIST may begin before it is needed, beside
other reads of the same pass.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import ValidationError

from stromboli.errors import Refused
from stromboli.models.agentpolicy import AgentPolicySpec
from stromboli.models.policy import Policy
from stromboli.models.sentences import sentence
from stromboli.observe.reads import ClusterReads
from stromboli.plan import policy as policies
from stromboli.plan.policy import Base, Effective, Rules
from stromboli.reasons import Reason
from stromboli.settings import Settings


def base(settings: Settings) -> Base:
    """The operator's settings, as an additional policy."""
    return Base(
        allowed_image_patterns=settings.allowed_image_patterns,
        allowed_volumes=settings.allowed_volumes,
        cli_image=settings.cli_image,
        cli_image_tag=settings.cli_image_tag,
        auto_pull_cli=settings.auto_pull_cli,
        mount_claude_cli=settings.mount_claude_cli,
        image=settings.image,
        credentials_file=settings.credentials_file is not None,
        credentials_secret=settings.credentials_secret,
    )


async def effective(cluster: ClusterReads, settings: Settings, namespace: str) -> Effective:
    """The combined policy of a namespace now. Raises Refused(PolicyViolation), ClusterUnavailable."""
    found, labels = await asyncio.gather(cluster.policies(), cluster.namespace_labels(namespace))
    parsed = [parse(policy) for policy in found]
    return policies.combine([p for p in parsed if policies.selects(p, labels)], base(settings))


class Policies:
    """The combined policies for the runs of this operator."""

    def __init__(self, cluster: ClusterReads, settings: Settings) -> None:
        self._cluster = cluster
        self._settings = settings
        self._ahead: dict[str, asyncio.Task[Effective]] = {}  # by the UID of the run

    @asynccontextmanager
    async def ahead(self, uid: str, namespace: str) -> AsyncIterator[None]:
        """Begin to read the policy for a run, which may ask for it inside the block. Nothing is begun twice."""
        if uid in self._ahead:
            yield
            return
        task = self._ahead[uid] = asyncio.create_task(effective(self._cluster, self._settings, namespace))
        try:
            yield
        finally:
            self.forget(uid)
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()  # nobody may have asked for it

    def forget(self, uid: str) -> None:
        """What was begun for the run is too old by now."""
        self._ahead.pop(uid, None)

    async def effective(self, uid: str, namespace: str) -> Effective:
        """The policy for a run, as it was no earlier than at the beginning of `ahead`. Raises as `effective`."""
        task = self._ahead.pop(uid, None)
        return await (task if task is not None else effective(self._cluster, self._settings, namespace))


def parse(policy: Policy) -> Rules:
    """The rules of a policy. Raises Refused(PolicyViolation).

    An invalid policy might forbid anything, so it stops every run (fail closed).
    """
    try:
        return Rules(policy.name, AgentPolicySpec.model_validate(policy.spec))
    except ValidationError as e:
        raise Refused(
            Reason.PolicyViolation,
            f"AgentPolicy {policy.name} cannot be read ({sentence(e)}); an administrator has to correct it",
        ) from e
