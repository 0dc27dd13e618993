"""The policy of a namespace, read at the moment that it counts."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from stromboli import settings as configuration
from stromboli.errors import ClusterUnavailable, Refused
from stromboli.models.agentpolicy import Network
from stromboli.observe import policy as observed
from stromboli.plan.policy import SETTINGS, Base
from stromboli.reasons import Reason
from tests.support.fake_cluster import FakeCluster, Object

SETTING = configuration.load({})


def _policy(name: str, **spec: Any) -> Object:
    return {"metadata": {"name": name, "uid": "u"}, "spec": spec}


@pytest.fixture
def cluster() -> FakeCluster:
    fake = FakeCluster()
    fake.labels = {"team": {"tier": "a"}, "other": {}}
    return fake


async def test_no_policy(cluster: FakeCluster) -> None:
    found = await observed.effective(cluster, SETTING, "team")
    assert found.allowlists == ()
    assert ("namespace", "team") in cluster.asked


async def test_only_the_policies_that_select_the_namespace(cluster: FakeCluster) -> None:
    cluster.all_policies = [
        _policy("all", images={"allowed": ["**"]}),
        _policy("a", namespaceSelector={"matchLabels": {"tier": "a"}}, network="none"),
        _policy("b", namespaceSelector={"matchLabels": {"tier": "b"}}, images={"allowed": ["b/*"]}),
    ]
    team = await observed.effective(cluster, SETTING, "team")
    assert [a.owner for a in team.allowlists] == ["AgentPolicy all"]
    assert team.network is Network.none
    assert (await observed.effective(cluster, SETTING, "other")).network is Network.bridge


async def test_the_settings_are_one_more(cluster: FakeCluster) -> None:
    cluster.all_policies = [_policy("a", images={"allowed": ["python:*"]})]
    settings = configuration.load({"STROMBOLI_AGENT_ALLOWED_IMAGE_PATTERNS": "python:3.*"})
    found = await observed.effective(cluster, settings, "team")
    assert [a.owner for a in found.allowlists] == [SETTINGS, "AgentPolicy a"]


@pytest.mark.parametrize(
    "spec",
    [
        {"images": {"alowed": ["python:*"]}},
        {"network": "host"},
        {"namespaceSelector": {"matchLabels": {"tier": "b"}}, "future": True},
        {"env": [{"name": "A", "value": "\0"}]},
        {"images": {"allowed": ["[z-a]"]}},
        {"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}},
    ],
)
async def test_a_policy_that_cannot_be_read_stops_every_run(cluster: FakeCluster, spec: dict[str, Any]) -> None:
    """It might forbid anything, wherever it holds."""
    cluster.all_policies = [_policy("sound"), _policy("odd", **spec)]
    with pytest.raises(Refused) as refusal:
        await observed.effective(cluster, SETTING, "team")
    assert refusal.value.reason is Reason.PolicyViolation
    assert refusal.value.message.startswith("AgentPolicy odd")
    assert "an administrator has to correct it" in refusal.value.message


async def test_that_nobody_answers_is_not_that_there_is_no_policy(cluster: FakeCluster) -> None:
    cluster.away = True
    with pytest.raises(ClusterUnavailable):
        await observed.effective(cluster, SETTING, "team")


async def test_a_policy_without_a_spec_says_nothing(cluster: FakeCluster) -> None:
    cluster.all_policies = [{"metadata": {"name": "a"}}]
    assert (await observed.effective(cluster, SETTING, "team")).allowlists == ()


async def test_it_is_read_anew_each_time(cluster: FakeCluster) -> None:
    await observed.effective(cluster, SETTING, "team")
    cluster.all_policies = [_policy("late", network="none")]
    assert (await observed.effective(cluster, SETTING, "team")).network is Network.none


def test_each_setting_arrives() -> None:
    environ = {
        "ALLOWED_IMAGE_PATTERNS": "python:*",
        "ALLOWED_VOLUMES": "/srv",
        "CLI_IMAGE": "a.example/c",
        "CLI_IMAGE_TAG": "v2",
        "AUTO_PULL_CLI": "false",
        "MOUNT_CLAUDE_CLI": "false",
        "IMAGE": "node",
        "CREDENTIALS_FILE": "/c.json",
        "CREDENTIALS_SECRET": "claude",
    }
    found = observed.base(configuration.load({f"STROMBOLI_AGENT_{k}": v for k, v in environ.items()}))
    assert found == Base(("python:*",), ("/srv",), "a.example/c", "v2", False, False, "node", True, "claude")
    assert len(environ) == len(fields(Base)), "a setting that no test knows"
