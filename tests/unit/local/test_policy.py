"""What the demo applies: valid by the CRDs' own models, and never the key in the open."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from stromboli.grammar import pattern, reference
from stromboli.local.policy import Images, Offline, RealAPI, answers, objects
from stromboli.models.agentpolicy import AgentPolicySpec, Network, PullPolicy
from stromboli.plan.policy import Base, Policy, combine

SOCKET = Path("/home/s/standin/api.sock")
BUILT = Images("localhost/stromboli/agent:2.1.3", "localhost/stromboli/python:3.11")
PULLED = Images("ghcr.io/tomblancdev/stromboli-agent:latest", "docker.io/library/python:3.12-slim")


def spec(images: Images, source: RealAPI | Offline) -> AgentPolicySpec:
    return AgentPolicySpec.model_validate(objects(images, source)[-1]["spec"])


def secret(source: RealAPI | Offline) -> dict[str, Any]:
    return next(o for o in objects(BUILT, source) if o["kind"] == "Secret")


def test_who_answers() -> None:
    assert answers({}, SOCKET) == Offline(SOCKET)
    assert answers({"ANTHROPIC_API_KEY": ""}, SOCKET) == Offline(SOCKET)
    assert answers({"ANTHROPIC_API_KEY": "k"}, SOCKET) == RealAPI("k")
    gateway = {"ANTHROPIC_API_KEY": "k", "ANTHROPIC_BASE_URL": "https://gw"}
    assert answers(gateway, SOCKET) == RealAPI("k", "https://gw")


def test_offline_agents_reach_the_socket_and_nothing_else() -> None:
    policy = spec(BUILT, Offline(SOCKET))
    assert policy.network is Network.none
    assert policy.env is not None
    assert [(e.name, e.value) for e in policy.env] == [("ANTHROPIC_UNIX_SOCKET", str(SOCKET))]


def test_with_a_key_agents_reach_the_api() -> None:
    policy = spec(BUILT, RealAPI("k", "https://gw"))
    assert policy.network is Network.bridge
    assert policy.env is not None
    assert [(e.name, e.value) for e in policy.env] == [("ANTHROPIC_BASE_URL", "https://gw")]


def test_the_key_lies_in_the_secret_that_the_policy_names_and_nowhere_else() -> None:
    held = secret(RealAPI("sk-very-secret"))
    assert base64.b64decode(held["data"]["ANTHROPIC_API_KEY"]) == b"sk-very-secret"
    credentials = spec(BUILT, RealAPI("sk-very-secret")).credentials
    assert credentials is not None
    assert (credentials.secret_ref.name, credentials.secret_ref.namespace) == (
        held["metadata"]["name"],
        held["metadata"]["namespace"],
    )
    others = [o for o in objects(BUILT, RealAPI("sk-very-secret")) if o is not held and o["kind"] != "Secret"]
    assert "sk-very-secret" not in str(others)


@pytest.mark.parametrize(
    ("images", "pull"), [(BUILT, PullPolicy.Never), (PULLED, PullPolicy.IfNotPresent)], ids=["built", "pulled"]
)
def test_the_cli_image(images: Images, pull: PullPolicy) -> None:
    cli = spec(images, Offline(SOCKET)).cli
    assert cli is not None
    assert f"{cli.image}:{cli.tag}" == images.cli
    assert cli.pull is pull


def test_a_cli_image_by_digest_has_no_tag() -> None:
    name = f"ghcr.io/o/agent@sha256:{'a' * 64}"
    cli = spec(Images(name, BUILT.base), Offline(SOCKET)).cli
    assert cli is not None
    assert (cli.image, cli.tag) == (name, None)


@pytest.mark.parametrize("images", [BUILT, PULLED], ids=["built", "pulled"])
def test_the_default_image_is_allowed(images: Images) -> None:
    policy = spec(images, Offline(SOCKET))
    assert policy.images is not None
    assert policy.images.allowed is not None
    assert policy.defaults is not None
    assert policy.defaults.image == images.base
    parsed = reference.parse(images.base)
    assert any(pattern.parse(p).matches(parsed) for p in policy.images.allowed)


@pytest.mark.parametrize("source", [Offline(SOCKET), RealAPI("k")])
def test_no_run_of_the_demo_is_without_a_bound(source: RealAPI | Offline) -> None:
    """But for memory and cpus, of which a ceiling would be every run's limit."""
    found = spec(BUILT, source)
    limits = combine([Policy("local", found)], Base(cli_image="c")).limits
    assert None not in (limits.pids, limits.timeout, limits.max_turns, limits.max_budget_usd)
    assert limits.memory is limits.cpus is None
