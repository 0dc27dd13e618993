"""What a local installation puts into its cluster and its settings: valid, and nothing that others contradict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from stromboli import settings
from stromboli.grammar import pattern, reference
from stromboli.local import policy
from stromboli.local.answers import Claude, Offline
from stromboli.local.policy import Images
from stromboli.models.agentpolicy import AgentPolicySpec, Network
from stromboli.observe.policy import base
from stromboli.plan.policy import Rules, combine
from tests.support.documents import DOCUMENTS, blocks, objects

ROOT = Path(__file__).parents[3]
SOCKET = Path("/home/s/standin/api.sock")
BUILT = Images("localhost/stromboli/agent:2.1.3", "localhost/stromboli/python:3.11")
PULLED = Images("ghcr.io/tomblancdev/stromboli-agent:latest", "docker.io/library/python:3.12-slim")
KEY = Claude("ANTHROPIC_API_KEY", "sk-very-secret", "https://gw")


def spec(answers: Claude | Offline, socket: Path | None) -> AgentPolicySpec:
    """The policy as it is once both of its halves were applied."""
    whole: dict[str, Any] = policy.created()["spec"] | policy.following(answers, socket)["spec"]
    return AgentPolicySpec.model_validate(whole)


def loaded(tmp_path: Path, agent: dict[str, Any]) -> settings.Settings:
    file = tmp_path / "settings.yaml"
    file.write_text(policy.render(agent))
    return settings.load({"HOME": "/home/me"}, file)


@pytest.mark.parametrize("answers", [Offline(), KEY], ids=["offline", "relay"])
def test_with_a_socket_agents_reach_it_and_nothing_else(answers: Claude | Offline) -> None:
    found = spec(answers, SOCKET)
    assert found.network is Network.none
    assert [(e.name, e.value) for e in found.env or []] == [("ANTHROPIC_UNIX_SOCKET", str(SOCKET))]


def test_without_one_they_have_a_network_and_the_gateways_address() -> None:
    found = spec(KEY, None)
    assert found.network is Network.bridge
    assert [(e.name, e.value) for e in found.env or []] == [("ANTHROPIC_BASE_URL", "https://gw")]
    assert spec(Claude("ANTHROPIC_API_KEY", "k"), None).env == []


def test_no_secret_is_in_the_policy_or_in_the_settings() -> None:
    assert "sk-very-secret" not in str(policy.following(KEY, None)) + policy.render(policy.found(BUILT))


@pytest.mark.parametrize(("images", "auto_pull"), [(BUILT, False), (PULLED, True)], ids=["built", "pulled"])
def test_the_settings_name_the_images(images: Images, auto_pull: bool, tmp_path: Path) -> None:
    found = loaded(tmp_path, policy.found(images))
    assert (f"{found.cli_image}:{found.cli_image_tag}", found.image) == (images.cli, images.base)
    assert found.auto_pull_cli is auto_pull
    assert found.warnings == ()


def test_a_cli_image_by_digest_has_no_tag() -> None:
    name = f"ghcr.io/o/agent@sha256:{'a' * 64}"
    found = policy.found(Images(name, BUILT.base))
    assert (found["cli_image"], "cli_image_tag" in found) == (name, False)


def test_what_was_stated_stays_until_it_is_stated_otherwise() -> None:
    before = {"allowed_image_patterns": "python:*", "image": "node:22", **policy.found(Images(PULLED.cli, "node:22"))}
    assert policy.stated(before, {}) == before
    assert policy.stated(before, {"image": "debian:12"})["image"] == "debian:12"
    assert "allowed_image_patterns" not in policy.stated(before, {"allowed_image_patterns": ""})


def test_an_image_that_was_built_for_want_of_another_is_looked_for_again() -> None:
    assert policy.stated(policy.found(BUILT), {}) == {"credentials_secret": "claude"}


@pytest.mark.parametrize("images", [BUILT, PULLED], ids=["built", "pulled"])
def test_the_default_image_is_allowed(images: Images) -> None:
    allowed = spec(Offline(), SOCKET).images
    assert allowed is not None
    parsed = reference.parse(images.base)
    assert any(pattern.parse(p).matches(parsed) for p in allowed.allowed or [])


@pytest.mark.parametrize("answers", [Offline(), KEY], ids=["offline", "online"])
def test_it_agrees_with_the_policies_in_the_guides(answers: Claude | Offline, tmp_path: Path) -> None:
    printed = [obj for path in DOCUMENTS for block in blocks(path) for obj in objects(block)]
    found = [AgentPolicySpec.model_validate(obj["spec"]) for obj in printed if obj["kind"] == "AgentPolicy"]
    assert found
    settled = base(loaded(tmp_path, policy.found(BUILT)))
    for theirs in found:
        combine([Rules("local", spec(answers, SOCKET)), Rules("theirs", theirs)], settled)


@pytest.mark.parametrize("answers", [Offline(), KEY], ids=["offline", "online"])
def test_it_agrees_with_the_policy_for_clusters(answers: Claude | Offline, tmp_path: Path) -> None:
    """`kubectl apply -k manifests/` on a local installation, which then narrows it and contradicts nothing."""
    shipped = AgentPolicySpec.model_validate(yaml.safe_load((ROOT / "manifests/policy.yaml").read_text())["spec"])
    other = {"secretRef": {"name": "of-another-name", "namespace": "elsewhere"}}
    theirs = AgentPolicySpec.model_validate({"defaults": {"image": "node:20"}, "credentials": other})
    local = Rules("local", spec(answers, SOCKET))
    settled = base(loaded(tmp_path, policy.found(BUILT)))
    alone = combine([local], settled)
    assert (alone.secret and alone.secret.name, alone.image) == ("claude", BUILT.base)
    with_shipped = combine([local, Rules("default", shipped)], settled)
    assert (with_shipped.secret and with_shipped.secret.name) == "claude"
    with_theirs = combine([local, Rules("theirs", theirs)], settled)
    assert (with_theirs.secret and with_theirs.secret.name) == "of-another-name"
    assert with_theirs.image == "docker.io/library/node:20"
