"""Whether a namespace's runs would have credentials for Claude, in words that name nothing of anybody else's."""

from __future__ import annotations

from dataclasses import dataclass

from stromboli.errors import Refused, Waiting
from stromboli.observe import policy, references
from stromboli.observe.reads import ClusterReads
from stromboli.plan.refusal import invalid
from stromboli.reasons import Reason
from stromboli.settings import Settings


@dataclass(frozen=True, slots=True)
class ClaudeStatus:
    """Whether, and a sentence about it."""

    configured: bool
    message: str


async def status(cluster: ClusterReads, settings: Settings, namespace: str) -> ClaudeStatus:
    """How it is now. Raises Refused (there is no such namespace), ClusterUnavailable."""
    if not await cluster.has_namespace(namespace):
        raise invalid("the namespace", f"{namespace} does not exist")
    try:
        effective = await policy.effective(cluster, settings, namespace)
    except Refused as conflict:
        return ClaudeStatus(False, f"no run can start in the namespace {namespace}: {conflict.message}")
    try:
        await references.credentials(cluster, settings, effective)
    except Refused as refused:
        return ClaudeStatus(False, _refused(refused, namespace))
    except Waiting:
        return ClaudeStatus(
            False,
            f"the credentials for Claude that runs of the namespace {namespace} are to have are missing or cannot be "
            "read; an administrator has to put them where the policies or the operator's settings say they are",
        )
    return ClaudeStatus(True, f"runs of the namespace {namespace} have credentials for Claude")


def _refused(refused: Refused, namespace: str) -> str:
    if refused.reason is Reason.CredentialsMissing:
        return (
            f"there are no valid credentials for Claude for runs of the namespace {namespace}; an administrator can "
            "name a Secret with them in an AgentPolicy"
        )
    return f"no run can start in the namespace {namespace}: {refused.message}"
