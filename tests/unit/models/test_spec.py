"""What a spec may be before anything else is known, and the sentences of what it may not."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from stromboli.models.agentpolicy import AgentPolicySpec
from stromboli.models.agentrun import AgentRunSpec, AgentRunStatus
from stromboli.models.sentences import sentence

NUL = "has a NUL character in it; take it out"


def _refused(model: type[Any], **fields: Any) -> str:
    with pytest.raises(ValidationError) as refusal:
        model.model_validate(fields)
    return sentence(refusal.value)


def _stack(**fields: Any) -> dict[str, Any]:
    return {"environment": {"type": "compose", **fields}}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"promt": "x"}, "spec.promt: Extra inputs are not permitted"),
        ({"prompt": ""}, "spec.prompt: String should have at least 1 character"),
        ({"prompt": 5}, "spec.prompt: Input should be a valid string"),
        ({"prompt": "x" * (1024 * 1024 + 1)}, "spec.prompt: String should have at most 1048576 characters"),
        ({"prompt": "a\0b"}, f"spec.prompt: {NUL}"),
        ({"workdir": "/a\0"}, f"spec.workdir: {NUL}"),
        ({"env": [{"name": "A"}, {"name": "B", "value": "\0"}]}, f"spec.env[1].value: {NUL}"),
        ({"env": [{"value": "x"}]}, "spec.env[0].name: Field required"),
        ({"claude": {"model": "so\0nnet"}}, f"spec.claude.model: {NUL}"),
        ({"claude": {"systemPrompt": "\0"}}, f"spec.claude.systemPrompt: {NUL}"),
        ({"claude": {"addDirs": ["/a", "b"]}}, "spec.claude.addDirs[1]: is relative; write an absolute path"),
        ({"claude": {"pluginDirs": ["/a\0"]}}, f"spec.claude.pluginDirs[0]: {NUL}"),
        ({"resources": {"cpus": True}}, "spec.resources.cpus: is not a number of cpus; write 2, 0.5 or 500m"),
        ({"resources": {"cpus": {"a": 1}}}, "spec.resources.cpus: is not a number of cpus; write 2, 0.5 or 500m"),
        ({"claude": {"permissionMode": "yolo"}}, "spec.claude.permissionMode: Input should be 'acceptEdits', 'auto'"),
        ({"claude": {"maxTurns": 0}}, "spec.claude.maxTurns: Input should be greater than or equal to 1"),
        ({"claude": {"maxBudgetUSD": 0}}, "spec.claude.maxBudgetUSD: Input should be greater than 0"),
        ({"claude": {"maxBudgetUSD": float("nan")}}, "spec.claude.maxBudgetUSD: Input should be"),
        ({"claude": {"outputFormat": "json"}}, "spec.claude.outputFormat: Extra inputs are not permitted"),
        ({"resources": {"memory": 1.5}}, "spec.resources.memory: "),
        ({"resources": {"pids": 1}}, "spec.resources.pids: Input should be greater than or equal to 16"),
        ({"resources": {"cpuShares": 1}}, "spec.resources.cpuShares: "),
        ({"promptFrom": {"secretKeyRef": {"name": "A", "key": "k"}}}, "spec.promptFrom.secretKeyRef.name: "),
        ({"environment": {"inline": "x"}}, "spec.environment.type: Field required"),
        ({"environment": {"type": "helm"}}, "spec.environment.type: Input should be 'compose'"),
        (_stack(path="/a\0"), f"spec.environment.path: {NUL}"),
        (_stack(inline="a\0"), f"spec.environment.inline: {NUL}"),
        (_stack(inline="x" * (1024 * 1024 + 1)), "spec.environment.inline: String should have at most 1048576"),
        (_stack(profiles=["a\0"]), f"spec.environment.profiles[0]: {NUL}"),
        (_stack(env=[{"name": "A"}, {"name": "A"}]), "spec.environment.env: A is given twice; keep one"),
        (_stack(env=[{"name": "A", "value": "\0"}]), f"spec.environment.env[0].value: {NUL}"),
        (_stack(images={"d b": "x"}), "spec.environment.images: has a key that is not the name of a service"),
        (_stack(images={"x" * 254: "x"}), "spec.environment.images: has a key that is not the name of a service"),
        ({"volumes": ["/a:/b"] * 65}, "spec.volumes: List should have at most 64 items"),
    ],
)
def test_a_run_that_is_not_well_formed(fields: dict[str, Any], said: str) -> None:
    assert _refused(AgentRunSpec, **fields).startswith(said)


def test_a_branch_of_a_union_is_no_part_of_the_path() -> None:
    assert _refused(AgentRunSpec, resources={"memory": [1]}).startswith("spec.resources.memory: Input should be")


def test_more_problems_than_one_are_counted() -> None:
    assert _refused(AgentRunSpec, a=1, b=2, c=3).endswith("(and 2 more)")


def test_no_value_is_repeated_in_the_sentence() -> None:
    assert "hunter2" not in _refused(AgentRunSpec, prompt=["hunter2"])


def test_another_root_may_be_named() -> None:
    with pytest.raises(ValidationError) as refusal:
        AgentPolicySpec.model_validate({"x": 1})
    assert sentence(refusal.value, "AgentPolicy a").startswith("AgentPolicy a.x: ")


def test_half_a_surrogate_pair_is_refused() -> None:
    assert _refused(AgentRunSpec, prompt="\ud800").startswith("spec.prompt: ")


@pytest.mark.parametrize("text", ["é", "🦊" * 10, "\u202e", "a\nb\ttab", "\x01"])
def test_text_of_any_script_is_a_prompt(text: str) -> None:
    assert AgentRunSpec.model_validate({"prompt": text}).prompt == text


def test_a_prompt_of_a_mebibyte_is_one() -> None:
    assert AgentRunSpec.model_validate({"prompt": "x" * 1024 * 1024}).prompt is not None


def test_a_document_may_not_be_nested_without_end() -> None:
    deep: dict[str, Any] = {}
    for _ in range(400):
        deep = {"a": deep}
    assert _refused(AgentRunSpec, claude={"settings": deep}) == "spec.claude.settings.a.a.a.a: is nested too deeply"


def test_bare_numbers_of_yaml_are_quantities() -> None:
    resources = AgentRunSpec.model_validate({"resources": {"memory": 536870912, "cpus": 2}}).resources
    assert resources is not None
    assert (resources.memory, resources.cpus) == (536870912, 2)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"network": "host"}, "spec.network: Input should be 'bridge' or 'none'"),
        ({"images": {"pullPolicy": "always"}}, "spec.images.pullPolicy: "),
        ({"credentials": {}}, "spec.credentials.secretRef: Field required"),
        ({"volumes": {"allowed": [{"readOnly": True}]}}, "spec.volumes.allowed[0].path: Field required"),
        (
            {"compose": {"capabilities": ["NET_ADMIN", "NET_ADMINS"]}},
            "spec.compose.capabilities[1]: is not a capability",
        ),
        ({"compose": {"maxServices": 0}}, "spec.compose.maxServices: Input should be greater than or equal to 1"),
        ({"compose": {"allowPort": True}}, "spec.compose.allowPort: Extra inputs"),
        ({"cli": {"path": "bin\0"}}, f"spec.cli.path: {NUL}"),
        ({"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "in"}]}}, "spec.namespaceSelector."),
    ],
)
def test_a_policy_that_is_not_well_formed(fields: dict[str, Any], said: str) -> None:
    assert _refused(AgentPolicySpec, **fields).startswith(said)


def test_specs_do_not_change() -> None:
    spec = AgentRunSpec.model_validate({"prompt": "x"})
    with pytest.raises(ValidationError, match="frozen"):
        spec.prompt = "y"  # type: ignore[misc]


def test_names_on_the_wire_are_camel_case_with_their_exceptions() -> None:
    status = AgentRunStatus.model_validate(
        {
            "attempts": [{"number": 1, "container": "c", "bootID": "b"}],
            "usage": {"costUSD": 0.5, "cacheReadTokens": 1},
        }
    )
    assert status.attempts[0].boot_id == "b"
    assert status.usage is not None
    assert status.usage.cost_usd == 0.5
