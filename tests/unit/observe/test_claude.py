"""Whether a namespace has credentials for Claude, said without the names of what they are in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stromboli import settings as configuration
from stromboli.errors import ClusterUnavailable, Refused
from stromboli.observe import claude
from stromboli.settings import Settings
from tests.support.fake_cluster import FakeCluster

NAMED: dict[str, Any] = {"credentials": {"secretRef": {"name": "claude-of-ops", "namespace": "vault"}}}


@pytest.fixture
def cluster() -> FakeCluster:
    made = FakeCluster()
    made.labels["team"] = {}
    return made


def settings(**environ: str) -> Settings:
    return configuration.load({"STROMBOLI_NAMESPACE": "operator", **environ})


def named(cluster: FakeCluster, name: str = "tests", **spec: Any) -> None:
    cluster.all_policies.append({"metadata": {"name": name, "uid": name}, "spec": spec})


async def test_the_policy_s_secret(cluster: FakeCluster) -> None:
    named(cluster, **NAMED)
    missing = await claude.status(cluster, settings(), "team")
    cluster.secrets["vault", "claude-of-ops"] = {"other": b"x"}
    empty = await claude.status(cluster, settings(), "team")
    cluster.secrets["vault", "claude-of-ops"] = {"ANTHROPIC_API_KEY": b"sk-hunter2"}
    there = await claude.status(cluster, settings(), "team")
    assert [found.configured for found in (missing, empty, there)] == [False, False, True]
    for found in (missing, empty, there):
        for word in ("claude-of-ops", "vault", "hunter2", "ANTHROPIC"):
            assert word not in found.message
    assert "are missing or cannot be read" in missing.message == empty.message


async def test_the_operator_s_file(cluster: FakeCluster, tmp_path: Path) -> None:
    file = tmp_path / "credentials.json"
    given = settings(STROMBOLI_AGENT_CREDENTIALS_FILE=str(file))
    found = await claude.status(cluster, given, "team")
    assert (found.configured, str(tmp_path) in found.message, file.name in found.message) == (False, False, False)
    file.write_text('{"claudeAiOauth": {"accessToken": "x"}}')
    assert (await claude.status(cluster, given, "team")).configured


async def test_nothing_is_configured(cluster: FakeCluster) -> None:
    found = await claude.status(cluster, settings(), "team")
    assert not found.configured
    assert "name a Secret with them in an AgentPolicy" in found.message


async def test_policies_that_do_not_agree(cluster: FakeCluster) -> None:
    named(cluster, "a", **NAMED)
    named(cluster, "b", credentials={"secretRef": {"name": "other"}})
    found = await claude.status(cluster, settings(), "team")
    assert not found.configured
    assert "set different values for credentials" in found.message
    assert "claude-of-ops" not in found.message


async def test_who_cannot_be_told(cluster: FakeCluster) -> None:
    with pytest.raises(Refused, match="no-such-namespace does not exist"):
        await claude.status(cluster, settings(), "no-such-namespace")
    cluster.away = True
    with pytest.raises(ClusterUnavailable):
        await claude.status(cluster, settings(), "team")
