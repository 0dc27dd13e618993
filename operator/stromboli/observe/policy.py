"""The policy of a namespace, read from the API server when it is needed.

A watch may lag behind the run that the policy applies to, so each start is checked against a fresh, complete LIST
(a few milliseconds); the watch of AgentPolicies only wakes waiting runs.
"""

from __future__ import annotations

import asyncio

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
