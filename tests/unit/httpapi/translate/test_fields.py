"""httpapi/translate/fields.py: a field of an AgentRun, in a request's names."""

from __future__ import annotations

import pytest

from stromboli.httpapi.shapes.run import ClaudeOptions as Asked
from stromboli.httpapi.shapes.run import Lifecycle, PodmanOptions, RunRequest
from stromboli.httpapi.translate import fields
from stromboli.models.claude import ClaudeOptions


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("spec.prompt", "prompt"),
        ("spec.image", "podman.image"),
        ("spec.workdir", "workdir"),
        ("spec.volumes[3]", "podman.volumes[3]"),
        ("spec.env", "podman.secrets_env"),
        ("spec.env[0]", "podman.secrets_env.A"),
        ("spec.env[1].name", "podman.secrets_env.B"),
        ("spec.env[2].valueFrom.secretKeyRef", "podman.secrets_env"),
        ("spec.lifecycle.onCreateCommand[0]", "podman.lifecycle.on_create_command[0]"),
        ("spec.lifecycle", "podman.lifecycle"),
        ("spec.environment.path", "podman.environment.path"),
        ("spec.session.name", "claude.session_id"),
        ("spec.claude", "claude"),
        ("spec.claude.maxBudgetUSD", "claude.max_budget_usd"),
        ("spec.claude.mcpConfigs[1].mcpServers", "claude.mcp_configs[1].mcpServers"),
        ("spec.claude.agents.myAgent.env", "claude.agents.myAgent.env"),
        ("spec.resources.cpuShares", "podman.cpu_shares"),
        ("spec.timeout", "podman.timeout"),
        ("spec.notify.url", "webhook_url"),
        ("spec.retryOn[0]", ""),
        ("spec", ""),
        ("status.phase", ""),
        ("", ""),
    ],
)
def test_a_path(path: str, found: str) -> None:
    assert fields.of_request(path, ("A", "B")) == found


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("spec.image: is odd: very", ("podman.image", "is odd: very")),
        ("spec.claude.agents.a: b: is odd", ("claude.agents.a", "b: is odd")),
        ("spec.claude.settings: has\ntwo lines", ("claude.settings", "has\ntwo lines")),
        ("spec: give exactly one", ("", "give exactly one")),
        ("the image spec.image: no", ("", "the image spec.image: no")),
        ("", ("", "")),
    ],
)
def test_a_message(said: str, found: tuple[str, str]) -> None:
    assert fields.sentence(said) == found


def test_every_option_has_the_name_of_its_field() -> None:
    for model, prefix, inside in (
        (Asked, "spec.claude.", "claude."),
        (Lifecycle, "spec.lifecycle.", "podman.lifecycle."),
    ):
        own = ClaudeOptions.model_fields if model is Asked else {}
        for name in model.model_fields:
            alias = own[name].alias if name in own else None
            if alias is not None:
                assert fields.of_request(prefix + alias) == inside + name
    assert RunRequest.model_fields.keys() >= {"prompt", "workdir", "webhook_url", "claude", "podman"}
    assert PodmanOptions.model_fields.keys() >= {"image", "volumes", "secrets_env", "lifecycle", "environment"}
