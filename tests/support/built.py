"""Policies and builds for tests of what stacks build."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from stromboli.compose.stack import Build
from stromboli.grammar import pattern, reference
from stromboli.models.agentpolicy import Network, PullPolicy
from stromboli.plan.compose_rules import Bound, ComposeRules, Switch
from stromboli.plan.limits import Limits
from stromboli.plan.policy import CLI, Allowlist, Effective, VolumeList

AT = "services.db.build"


def policy(
    folder: Path | None = None,
    *,
    allowed: Sequence[str] = (),
    network: Network = Network.none,
    timeout: float = 60.0,
) -> Effective:
    """Builds are allowed, of this folder; and of images with these patterns, by default of all."""
    rules = replace(
        ComposeRules(),
        build=Switch("compose.allowBuild", on=True, owner="AgentPolicy p"),
        build_timeout=Bound("compose.buildTimeout", timeout, f"{timeout:.0f}s", "AgentPolicy p"),
    )
    return Effective(
        allowlists=(Allowlist("AgentPolicy p", tuple(map(pattern.parse, allowed))),) if allowed else (),
        require_digest=None,
        pull_policy=PullPolicy.IfNotPresent,
        cli=CLI(reference.parse("localhost/cli:1"), PullPolicy.IfNotPresent, "bin/claude"),
        image=None,
        memory=None,
        cpus=None,
        timeout=600.0,
        limits=Limits(),
        volumes=() if folder is None else (VolumeList("AgentPolicy p", ((str(folder), True),)),),
        network=network,
        env={},
        secret=None,
        compose=rules,
    )


def build(context: Path | None = None, **fields: object) -> Build:
    """A build of that folder."""
    given = {"dockerfile": f"{context}/Dockerfile"} if context is not None and "dockerfile_inline" not in fields else {}
    return Build(at=AT, context=None if context is None else str(context), **{**given, **fields})  # type: ignore[arg-type]
